//! The convex hull of points in the plane, its area, and random points within it.

use crate::error::{Error, Result};
use crate::rng::Rng;

/// A convex polygon, corners counter-clockwise.
pub(super) struct Hull {
    corners: Vec<[f64; 2]>,
}

fn cross(o: [f64; 2], a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])
}

impl Hull {
    /// The hull of `points` (Andrew's monotone chain).
    pub fn of(points: &[[f64; 2]]) -> Result<Hull> {
        let mut sorted = points.to_vec();
        sorted.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
        sorted.dedup();
        let chain = |points: &mut dyn Iterator<Item = [f64; 2]>| {
            let mut corners: Vec<[f64; 2]> = Vec::new();
            for p in points {
                while let [.., a, b] = corners[..] {
                    if cross(a, b, p) > 0.0 {
                        break;
                    }
                    corners.pop();
                }
                corners.push(p);
            }
            corners.pop();
            corners
        };
        let mut corners = chain(&mut sorted.iter().copied());
        corners.extend(chain(&mut sorted.iter().rev().copied()));
        let hull = Hull { corners };
        if hull.corners.len() < 3 || hull.area() <= 0.0 {
            let reason = "all spots lie on one line (or at one place), which has no area";
            return Err(Error::data("coordinates", reason));
        }
        Ok(hull)
    }

    /// Its area.
    pub fn area(&self) -> f64 {
        let o = self.corners[0];
        self.corners.windows(2).map(|w| cross(o, w[0], w[1])).sum::<f64>() / 2.0
    }

    /// `n` points spread evenly over it: in each of its triangles by area, so that a thin hull
    /// costs no more than a round one.
    pub fn random(&self, n: usize, rng: &mut Rng) -> Vec<[f64; 2]> {
        let o = self.corners[0];
        let mut total = 0.0;
        let up_to: Vec<f64> = self
            .corners
            .windows(2)
            .map(|w| {
                total += cross(o, w[0], w[1]);
                total
            })
            .collect();
        let one = |_| {
            let area = rng.uniform() * total;
            let t = up_to.partition_point(|&a| a <= area).min(up_to.len() - 1);
            let (a, b) = (self.corners[t], self.corners[t + 1]);
            let (mut u, mut v) = (rng.uniform(), rng.uniform());
            if u + v > 1.0 {
                (u, v) = (1.0 - u, 1.0 - v);
            }
            let at = |d: usize| o[d] + u * (a[d] - o[d]) + v * (b[d] - o[d]);
            [at(0), at(1)]
        };
        (0..n).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_and_points_of_a_triangle() {
        let points = [[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [1.0, 0.5], [2.0, 0.0], [0.0, 0.0]];
        let hull = Hull::of(&points).unwrap();
        assert_eq!((hull.area(), hull.corners.len()), (4.0, 3));
        let inside = hull.random(2000, &mut Rng::new(1));
        assert!(
            inside
                .iter()
                .all(|p| p[0] >= 0.0 && p[1] >= 0.0 && p[0] / 4.0 + p[1] / 2.0 <= 1.0 + 1e-12)
        );
        let mean = inside.iter().map(|p| p[0]).sum::<f64>() / 2000.0;
        assert!((mean - 4.0 / 3.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn a_line_has_no_area() {
        assert!(Hull::of(&[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]).is_err());
        assert!(Hull::of(&[[0.0, 0.0]]).is_err());
        assert!(Hull::of(&[]).is_err());
    }
}
