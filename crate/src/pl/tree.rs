//! [`Tree`]: a dendrogram from a linkage matrix in scipy's form.

use super::canvas::{Canvas, Rect};
use super::palette::Color;
use crate::error::{Error, Result};

/// A hierarchical clustering, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    /// The two clusters that each step joins (below `n`: a leaf; else step − n), and its height.
    steps: Vec<(usize, usize, f64)>,
    /// The leaves from one end to the other, as scipy's `dendrogram` orders them.
    pub leaves: Vec<usize>,
}

/// Where a tree has its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    /// Leaves below, root above.
    Down,
    /// Leaves on the right, root on the left.
    Right,
    /// Leaves on the left, root on the right.
    Left,
}

impl Tree {
    /// From the rows (cluster, cluster, distance, size) of scipy's linkage matrix.
    pub fn new(linkage: &[[f64; 4]]) -> Result<Tree> {
        let n = linkage.len() + 1;
        let wrong = |k: usize, reason: &str| {
            Err(Error::data(format!("row {k} of the linkage matrix"), reason.to_string()))
        };
        let mut used = vec![false; n + linkage.len()];
        let mut steps = Vec::with_capacity(linkage.len());
        for (k, row) in linkage.iter().enumerate() {
            let mut pair = [0; 2];
            for (p, &v) in pair.iter_mut().zip(&row[..2]) {
                if !(v >= 0.0 && v < (n + k) as f64 && v.fract() == 0.0) {
                    return wrong(k, "names a cluster that does not exist at that step");
                }
                *p = v as usize;
                if std::mem::replace(&mut used[*p], true) {
                    return wrong(k, "joins a cluster that was joined before");
                }
            }
            if !row[2].is_finite() {
                return wrong(k, "has a distance that is not a finite number");
            }
            steps.push((pair[0], pair[1], row[2]));
        }
        // Without recursion: a chain of thousands of clusters is as deep as it is long.
        let mut leaves = Vec::with_capacity(n);
        let mut stack = vec![n + steps.len() - 1];
        while let Some(node) = stack.pop() {
            match node.checked_sub(n) {
                Some(step) => stack.extend([steps[step].1, steps[step].0]),
                None => leaves.push(node),
            }
        }
        Ok(Tree { steps, leaves })
    }

    /// Draws it into `area`; `at` has the place of each leaf from one end to the other, along the
    /// side where the leaves are.
    pub fn draw(&self, canvas: &mut Canvas, area: Rect, toward: Toward, at: &[f64], color: Color) {
        let n = self.steps.len() + 1;
        let mut place = vec![0.0; n + self.steps.len()];
        let mut height = vec![0.0; n + self.steps.len()];
        for (k, &leaf) in self.leaves.iter().enumerate() {
            place[leaf] = at.get(k).copied().unwrap_or(0.0);
        }
        let width = if n > 150 { 0.6 } else { 1.2 };
        let highest = self.steps.iter().map(|s| s.2).fold(0.0, f64::max);
        let unit = if highest > 0.0 { 1.0 / (1.03 * highest) } else { 0.0 };
        let to = |along: f64, h: f64| {
            let t = (h * unit).clamp(0.0, 1.0);
            match toward {
                Toward::Down => (along, area.y1 - t * area.height()),
                Toward::Right => (area.x1 - t * area.width(), along),
                Toward::Left => (area.x0 + t * area.width(), along),
            }
        };
        for (k, &(a, b, h)) in self.steps.iter().enumerate() {
            place[n + k] = (place[a] + place[b]) / 2.0;
            height[n + k] = h;
            // Of thousands of leaves most are closer than can be seen.
            if (place[a] - place[b]).abs() < 0.75 {
                continue;
            }
            // One straight line at a time: those are moved onto whole pixels and stay sharp.
            let corners = [
                to(place[a], height[a]),
                to(place[a], h),
                to(place[b], h),
                to(place[b], height[b]),
            ];
            for pair in corners.windows(2) {
                canvas.line([pair[0], pair[1]], width, color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_in_scipys_order() {
        // scipy.cluster.hierarchy.linkage([[0.], [4.], [1.], [10.], [5.5]], "average"), and
        // dendrogram(…)["leaves"] is [3, 0, 2, 1, 4].
        let z = [
            [0.0, 2.0, 1.0, 2.0],
            [1.0, 4.0, 1.5, 2.0],
            [5.0, 6.0, 4.25, 4.0],
            [3.0, 7.0, 7.375, 5.0],
        ];
        assert_eq!(Tree::new(&z).unwrap().leaves, [3, 0, 2, 1, 4]);
        assert_eq!(Tree::new(&[]).unwrap().leaves, [0]);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for bad in [
            vec![[0.0, 0.0, 1.0, 2.0]],
            vec![[0.0, 2.0, 1.0, 2.0]],
            vec![[0.0, 1.5, 1.0, 2.0]],
            vec![[0.0, 1.0, f64::NAN, 2.0]],
            vec![[0.0, 1.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]],
        ] {
            assert!(Tree::new(&bad).unwrap_err().to_string().contains("linkage"));
        }
    }

    #[test]
    fn a_chain_of_many_thousands_is_no_problem() {
        let n = 50_000;
        let row = |k: usize| {
            let first = if k == 0 { 0 } else { n + k - 1 };
            [first as f64, (k + 1) as f64, k as f64, (k + 2) as f64]
        };
        let z: Vec<_> = (0..n - 1).map(row).collect();
        assert_eq!(Tree::new(&z).unwrap().leaves.len(), n);
    }
}
