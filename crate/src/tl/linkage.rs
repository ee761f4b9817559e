//! Hierarchical clustering of a few things by their distances, and how its tree is drawn: scipy's
//! `linkage` and `dendrogram`.

use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};

/// How the distance of two clusters follows from those of what they were made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linkage {
    /// The smallest.
    Single,
    /// The largest; what scanpy uses.
    #[default]
    Complete,
    /// The mean over all pairs (UPGMA).
    Average,
    /// The mean over both clusters (WPGMA).
    Weighted,
    /// The growth of the sum of squares; distances must be Euclidean.
    Ward,
    /// That of the centres; distances must be Euclidean.
    Centroid,
    /// As centroid, both clusters counting alike.
    Median,
}

impl Linkage {
    /// scipy's name.
    pub fn name(self) -> &'static str {
        match self {
            Linkage::Single => "single",
            Linkage::Complete => "complete",
            Linkage::Average => "average",
            Linkage::Weighted => "weighted",
            Linkage::Ward => "ward",
            Linkage::Centroid => "centroid",
            Linkage::Median => "median",
        }
    }

    /// The distance of i to the union of x and y, by Lance and Williams.
    fn joined(self, xi: f64, yi: f64, xy: f64, nx: f64, ny: f64, ni: f64) -> f64 {
        match self {
            Linkage::Single => xi.min(yi),
            Linkage::Complete => xi.max(yi),
            Linkage::Average => (nx * xi + ny * yi) / (nx + ny),
            Linkage::Weighted => 0.5 * (xi + yi),
            Linkage::Ward => {
                let t = 1.0 / (nx + ny + ni);
                let sum = (ni + nx) * t * xi * xi + (ni + ny) * t * yi * yi - ni * t * xy * xy;
                sum.max(0.0).sqrt()
            }
            Linkage::Centroid => {
                let sum = nx * xi * xi + ny * yi * yi - nx * ny * xy * xy / (nx + ny);
                (sum / (nx + ny)).max(0.0).sqrt()
            }
            Linkage::Median => (0.5 * (xi * xi + yi * yi) - 0.25 * xy * xy).max(0.0).sqrt(),
        }
    }
}

/// A merge of two clusters; the k-th one makes cluster n + k. A row of scipy's linkage matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The cluster with the smaller number.
    pub left: usize,
    /// The other one.
    pub right: usize,
    /// Their distance.
    pub distance: f64,
    /// How many things both hold.
    pub size: usize,
}

/// The merges of a hierarchical clustering of n things by their distances (n × n, of which the part
/// above the diagonal is read), the same and in the same order as `scipy.cluster.hierarchy.linkage`
/// 1.17 makes them: by nearest-neighbour chains where these are right, O(n²). Distances below 0 are
/// taken as they are, as there.
///
/// # Errors
/// [`Error::Shape`] when the distances are not square, [`Error::Data`] with fewer than two things or
/// a distance that is not finite.
pub fn linkage(distances: ArrayView2<f64>, method: Linkage) -> Result<Vec<Link>> {
    let (n, m) = distances.dim();
    if n != m {
        return Err(Error::shape("distances", format!("{n} × {n}"), format!("{n} × {m}")));
    }
    if n < 2 {
        return Err(Error::data("things to cluster", "need at least two"));
    }
    let mut d = Array2::<f64>::zeros((n, n));
    for i in 0..n {
        for j in 0..i {
            d[[i, j]] = distances[[j, i]];
            d[[j, i]] = distances[[j, i]];
        }
    }
    if d.iter().any(|v| !v.is_finite()) {
        return Err(Error::data("distances", "hold NaN or infinity"));
    }
    Ok(match method {
        Linkage::Single => in_order(n, by_spanning_tree(&d)),
        Linkage::Centroid | Linkage::Median => by_closest_pair(d, method),
        _ => in_order(n, by_chain(d, method)),
    })
}

/// Merges as (thing, thing, distance), by Prim's minimum spanning tree.
fn by_spanning_tree(d: &Array2<f64>) -> Vec<(usize, usize, f64)> {
    let n = d.nrows();
    let mut merged = vec![false; n];
    let mut nearest = vec![f64::INFINITY; n];
    let mut x = 0;
    (1..n)
        .map(|_| {
            merged[x] = true;
            let (mut best, mut y) = (f64::INFINITY, x);
            for i in (0..n).filter(|&i| !merged[i]) {
                nearest[i] = nearest[i].min(d[[x, i]]);
                if nearest[i] < best {
                    (best, y) = (nearest[i], i);
                }
            }
            let merge = (x, y, best);
            x = y;
            merge
        })
        .collect()
}

/// Merges by chains of nearest neighbours (Benzécri, 1982; Murtagh, 1983).
fn by_chain(mut d: Array2<f64>, method: Linkage) -> Vec<(usize, usize, f64)> {
    let n = d.nrows();
    let mut size = vec![1usize; n];
    let mut chain: Vec<usize> = Vec::with_capacity(n);
    let mut merges = Vec::with_capacity(n - 1);
    for _ in 1..n {
        if chain.is_empty() {
            chain.extend((0..n).find(|&i| size[i] > 0));
        }
        let (x, y, distance) = loop {
            let x = chain[chain.len() - 1];
            // The one before is preferred among equals, or the chain could run in a circle.
            let before = chain.len().checked_sub(2).map(|i| chain[i]);
            let (mut y, mut best) = before.map_or((x, f64::INFINITY), |b| (b, d[[x, b]]));
            for i in (0..n).filter(|&i| size[i] > 0 && i != x) {
                if d[[x, i]] < best {
                    (y, best) = (i, d[[x, i]]);
                }
            }
            if before == Some(y) {
                break (x.min(y), x.max(y), best);
            }
            chain.push(y);
        };
        chain.truncate(chain.len() - 2);
        merges.push((x, y, distance));
        unite(&mut d, &mut size, (x, y), method);
    }
    merges
}

/// Makes y the union of x and y, and x nothing.
fn unite(d: &mut Array2<f64>, size: &mut [usize], (x, y): (usize, usize), method: Linkage) {
    let (nx, ny) = (size[x] as f64, size[y] as f64);
    let distance = d[[x, y]];
    size[y] += size[x];
    size[x] = 0;
    for i in 0..size.len() {
        if size[i] > 0 && i != y {
            let new = method.joined(d[[i, x]], d[[i, y]], distance, nx, ny, size[i] as f64);
            d[[i, y]] = new;
            d[[y, i]] = new;
        }
    }
}

/// Merges the closest pair until one is left, for methods under which a merge may come closer to
/// others than its parts were.
fn by_closest_pair(mut d: Array2<f64>, method: Linkage) -> Vec<Link> {
    let n = d.nrows();
    let mut size = vec![1usize; n];
    let mut id: Vec<usize> = (0..n).collect();
    // The nearest of those after each.
    let nearest = |d: &Array2<f64>, size: &[usize], i: usize| {
        let mut best = (f64::INFINITY, i);
        for j in (i + 1..n).filter(|&j| size[j] > 0) {
            if d[[i, j]] < best.0 {
                best = (d[[i, j]], j);
            }
        }
        best
    };
    let mut best: Vec<(f64, usize)> = (0..n).map(|i| nearest(&d, &size, i)).collect();
    (0..n - 1)
        .map(|k| {
            let mut x = usize::MAX;
            for i in (0..n).filter(|&i| size[i] > 0) {
                if x == usize::MAX || best[i].0 < best[x].0 {
                    x = i;
                }
            }
            let (distance, y) = best[x];
            let (left, right) = (id[x].min(id[y]), id[x].max(id[y]));
            unite(&mut d, &mut size, (x, y), method);
            id[y] = n + k;
            for i in (0..n).filter(|&i| size[i] > 0) {
                if i == y || best[i].1 == x || best[i].1 == y {
                    best[i] = nearest(&d, &size, i);
                } else if i < y && d[[i, y]] < best[i].0 {
                    best[i] = (d[[i, y]], y);
                }
            }
            Link { left, right, distance, size: size[y] }
        })
        .collect()
}

/// Merges by rising distance, with the clusters numbered as they come to be.
fn in_order(n: usize, mut merges: Vec<(usize, usize, f64)>) -> Vec<Link> {
    merges.sort_by(|a, b| a.2.total_cmp(&b.2));
    let mut parent: Vec<usize> = (0..2 * n - 1).collect();
    let mut size = vec![1usize; 2 * n - 1];
    let mut out = Vec::with_capacity(n - 1);
    for (k, (x, y, distance)) in merges.into_iter().enumerate() {
        let mut root = |mut i: usize| {
            while parent[i] != i {
                parent[i] = parent[parent[i]];
                i = parent[i];
            }
            i
        };
        let (a, b) = (root(x), root(y));
        (parent[a], parent[b]) = (n + k, n + k);
        size[n + k] = size[a] + size[b];
        out.push(Link { left: a.min(b), right: a.max(b), distance, size: size[n + k] });
    }
    out
}

/// How the tree of a clustering is drawn, as `scipy.cluster.hierarchy.dendrogram`.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// For each merge, from the left and below: x of the four corners of its bracket; leaf i of the
    /// drawing stands at 10 i + 5.
    pub icoord: Vec<[f64; 4]>,
    /// For each merge: y of the four corners.
    pub dcoord: Vec<[f64; 4]>,
    /// The things in the order in which they stand.
    pub leaves: Vec<usize>,
    /// matplotlib's colour of each bracket: `C0` above 0.7 of the height of the tree, below a colour
    /// for each branch.
    pub color_list: Vec<String>,
    /// The colour of the bracket above each leaf.
    pub leaves_color_list: Vec<String>,
}

/// Lays the tree of `merges` out; that of none is a single leaf.
pub fn draw_tree(merges: &[Link]) -> Drawing {
    let n = merges.len() + 1;
    let height = merges.iter().map(|m| m.distance).fold(0.0, f64::max);
    let mut d = Drawing {
        icoord: Vec::new(),
        dcoord: Vec::new(),
        leaves: Vec::new(),
        color_list: Vec::new(),
        leaves_color_list: vec![String::new(); n],
    };
    // (cluster, left edge, whether its left and its right branch are done), without recursion: a
    // chain of single linkage is as deep as it is long.
    enum Step {
        Visit(usize),
        Color(usize),
        Close(usize),
    }
    let mut todo = vec![Step::Visit(2 * n - 2)];
    // x and y of the tops of what is drawn.
    let mut tops: Vec<(f64, f64)> = Vec::new();
    let (mut next_color, mut below) = (0usize, false);
    let mut colors = vec![String::new(); merges.len()];
    while let Some(step) = todo.pop() {
        match step {
            Step::Visit(i) if i < n => {
                tops.push((10.0 * d.leaves.len() as f64 + 5.0, 0.0));
                d.leaves.push(i);
            }
            Step::Visit(i) => {
                let m = merges[i - n];
                todo.push(Step::Close(i - n));
                todo.push(Step::Visit(m.right));
                todo.push(Step::Color(i - n));
                todo.push(Step::Visit(m.left));
            }
            Step::Color(k) => {
                let limit = 0.7 * height;
                if merges[k].distance >= limit || limit <= 0.0 {
                    if below {
                        next_color = (next_color + 1) % 9;
                    }
                    below = false;
                    colors[k] = "C0".into();
                } else {
                    below = true;
                    colors[k] = format!("C{}", next_color + 1);
                }
            }
            Step::Close(k) => {
                let (right, left) = (tops.pop(), tops.pop());
                let (Some(left), Some(right)) = (left, right) else { continue };
                let h = merges[k].distance;
                d.icoord.push([left.0, left.0, right.0, right.0]);
                d.dcoord.push([left.1, h, h, right.1]);
                d.color_list.push(colors[k].clone());
                tops.push(((left.0 + right.0) / 2.0, h));
            }
        }
    }
    for ((x, y), color) in d.icoord.iter().zip(&d.dcoord).zip(&d.color_list) {
        for (x, _) in x.iter().zip(y).filter(|(x, y)| **y == 0.0 && *x % 10.0 == 5.0) {
            d.leaves_color_list[(*x as usize - 5) / 10] = color.clone();
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use ndarray::array;

    #[test]
    fn a_known_tree() {
        // scipy 1.17: linkage([1, 4, 5, 3, 4, 1], method), things 0 … 3.
        let d = array![[0., 1., 4., 5.], [1., 0., 3., 4.], [4., 3., 0., 1.], [5., 4., 1., 0.]];
        for (method, top) in [
            (Linkage::Single, 3.0),
            (Linkage::Complete, 5.0),
            (Linkage::Average, 4.0),
            (Linkage::Weighted, 4.0),
            (Linkage::Centroid, 4.0),
            (Linkage::Median, 4.0),
        ] {
            let m = linkage(d.view(), method).unwrap();
            let pairs: Vec<_> = m.iter().map(|m| (m.left, m.right, m.size)).collect();
            assert_eq!(pairs, [(0, 1, 2), (2, 3, 2), (4, 5, 4)], "{method:?}");
            assert!((m[2].distance - top).abs() < 1e-12, "{method:?}");
        }
        let drawing = draw_tree(&linkage(d.view(), Linkage::Complete).unwrap());
        assert_eq!(drawing.leaves, [0, 1, 2, 3]);
        assert_eq!(drawing.icoord[2], [10.0, 10.0, 30.0, 30.0]);
        assert_eq!(drawing.dcoord[2], [1.0, 5.0, 5.0, 1.0]);
        assert_eq!(drawing.color_list, ["C1", "C2", "C0"]);
        assert_eq!(drawing.leaves_color_list, ["C1", "C1", "C2", "C2"]);
    }

    #[test]
    fn chains_find_what_always_merging_the_closest_pair_finds() {
        let mut rng = Rng::new(4);
        let x = Array2::from_shape_simple_fn((40, 3), || rng.normal());
        let d = Array2::from_shape_fn((40, 40), |(i, j)| {
            (&x.row(i) - &x.row(j)).mapv(|v| v * v).sum().sqrt()
        });
        let methods = [
            Linkage::Single,
            Linkage::Complete,
            Linkage::Average,
            Linkage::Weighted,
            Linkage::Ward,
        ];
        for method in methods {
            let (a, b) = (linkage(d.view(), method).unwrap(), by_closest_pair(d.clone(), method));
            for (a, b) in a.iter().zip(&b) {
                assert_eq!((a.left, a.right, a.size), (b.left, b.right, b.size), "{method:?}");
                assert!((a.distance - b.distance).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn equal_distances_and_bad_ones() {
        let equal = Array2::from_elem((5, 5), 0.0);
        let m = linkage(equal.view(), Linkage::Complete).unwrap();
        assert_eq!(draw_tree(&m).color_list, ["C0"; 4]);
        let below = array![[0., -2., 1.], [-2., 0., 1.], [1., 1., 0.]];
        let m = linkage(below.view(), Linkage::Complete).unwrap();
        assert_eq!([m[0].distance, m[1].distance], [-2., 1.]);
        let leaf = draw_tree(&[]);
        assert_eq!((leaf.leaves, leaf.icoord.len(), leaf.color_list.len()), (vec![0], 0, 0));
        assert!(linkage(array![[0.0]].view(), Linkage::Ward).is_err());
        assert!(linkage(array![[0.0, f64::NAN], [f64::NAN, 0.0]].view(), Linkage::Single).is_err());
        assert!(linkage(array![[0.0, 1.0]].view(), Linkage::Single).is_err());
    }
}
