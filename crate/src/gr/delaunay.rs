//! The edges of a Delaunay triangulation, the same whatever the order in which a triangulator
//! meets the points.
//!
//! `spade` triangulates with exact predicates. Points on one circle have several triangulations
//! that are all right; here their polygon is always cut from its point of lowest index.

use crate::error::{Error, Result};
use robust::{Coord, incircle};
use spade::{DelaunayTriangulation, HasPosition, InsertionError, Point2, Triangulation};
use std::collections::HashMap;

struct Site {
    position: Point2<f64>,
    index: u32,
}

impl HasPosition for Site {
    type Scalar = f64;
    fn position(&self) -> Point2<f64> {
        self.position
    }
}

/// Both directions of every edge, sorted. Of points at one place the first takes part, the others
/// have no edge; points on a line make a path.
pub(super) fn edges(points: &[[f64; 2]]) -> Result<Vec<(u32, u32)>> {
    let mut order: Vec<u32> = (0..points.len() as u32).collect();
    // −0 and 0 are one place: adding 0 makes them one number.
    let key = |i: u32| points[i as usize].map(|x| x + 0.0);
    order.sort_unstable_by(|&a, &b| {
        let (p, q) = (key(a), key(b));
        p[0].total_cmp(&q[0]).then(p[1].total_cmp(&q[1])).then(a.cmp(&b))
    });
    order.dedup_by(|later, first| key(*later) == key(*first));
    let site = |&i: &u32| Site { position: Point2::new(key(i)[0], key(i)[1]), index: i };
    let mesh = DelaunayTriangulation::<Site>::bulk_load(order.iter().map(site).collect());
    let mesh = mesh.map_err(|e| {
        let reason = match e {
            InsertionError::TooSmall => "a coordinate is too near 0 (below 1e-43)",
            InsertionError::TooLarge => "a coordinate is too large (above 1e60)",
            InsertionError::NAN => "a coordinate is not a number",
        };
        Error::data("coordinates of a Delaunay triangulation", reason)
    })?;

    let mut group: Vec<u32> = (0..mesh.num_all_faces() as u32).collect();
    let coord = |p: Point2<f64>| Coord { x: p.x, y: p.y };
    for edge in mesh.undirected_edges() {
        let (a, b) = (edge.as_directed(), edge.as_directed().rev());
        let (Some(left), Some(right)) = (a.face().as_inner(), b.face().as_inner()) else {
            continue;
        };
        let [p, q, r] = left.positions().map(coord);
        let Some(opposite) = b.opposite_position() else { continue };
        if incircle(p, q, r, coord(opposite)) == 0.0 {
            let (x, y) = (
                root(&mut group, left.fix().index() as u32),
                root(&mut group, right.fix().index() as u32),
            );
            group[x.max(y) as usize] = x.min(y);
        }
    }

    let mut pairs = Vec::with_capacity(6 * order.len());
    let mut both = |i: u32, j: u32| pairs.extend([(i, j), (j, i)]);
    for edge in mesh.undirected_edges() {
        let faces = [edge.as_directed(), edge.as_directed().rev()].map(|e| e.face().as_inner());
        let same = match faces {
            [Some(f), Some(g)] => {
                let (f, g) = (f.fix().index() as u32, g.fix().index() as u32);
                root(&mut group, f) == root(&mut group, g)
            }
            _ => false,
        };
        if !same {
            let [p, q] = edge.vertices().map(|v| v.data().index);
            both(p, q);
        }
    }
    let mut polygons: HashMap<u32, Vec<u32>> = HashMap::new();
    for face in mesh.inner_faces() {
        let of = root(&mut group, face.fix().index() as u32);
        polygons.entry(of).or_default().extend(face.vertices().map(|v| v.data().index));
    }
    for corners in polygons.into_values().filter(|c| c.len() > 3) {
        let first = *corners.iter().min().expect("a polygon has corners");
        for &corner in corners.iter().filter(|&&c| c != first) {
            both(first, corner);
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    Ok(pairs)
}

/// The representative of the group of faces that `face` belongs to.
fn root(group: &mut [u32], mut face: u32) -> u32 {
    while group[face as usize] != face {
        let parent = group[face as usize];
        group[face as usize] = group[parent as usize];
        face = parent;
    }
    face
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_square_grid_is_cut_from_the_lowest_corner() {
        let points: Vec<[f64; 2]> = (0..9).map(|i| [(i % 3) as f64, (i / 3) as f64]).collect();
        let e = edges(&points).unwrap();
        // 12 sides and 4 diagonals, each twice.
        assert_eq!(e.len(), 32);
        for (corner, opposite) in [(0, 4), (1, 5), (3, 7), (4, 8)] {
            assert!(e.contains(&(corner, opposite)), "{corner}");
        }
    }

    #[test]
    fn the_order_of_the_points_changes_nothing_but_their_numbers() {
        let mut rng = Rng::new(3);
        let points: Vec<[f64; 2]> = (0..500).map(|_| [rng.normal(), rng.normal()]).collect();
        let mut order: Vec<usize> = (0..points.len()).collect();
        rng.shuffle(&mut order);
        let shuffled: Vec<[f64; 2]> = order.iter().map(|&i| points[i]).collect();
        let mut back: Vec<(u32, u32)> = edges(&shuffled)
            .unwrap()
            .iter()
            .map(|&(i, j)| (order[i as usize] as u32, order[j as usize] as u32))
            .collect();
        back.sort_unstable();
        let e = edges(&points).unwrap();
        assert_eq!(e, back);
        // Every circle through three corners of a triangle is empty.
        let coord = |i: u32| Coord { x: points[i as usize][0], y: points[i as usize][1] };
        let joined = |i, j| e.binary_search(&(i, j)).is_ok();
        for &(i, j) in e.iter().filter(|(i, j)| i < j).take(100) {
            let third = |k: &u32| *k != i && *k != j && joined(i, *k) && joined(j, *k);
            let empty = (0..500u32).filter(third).filter(|&k| {
                let ccw = robust::orient2d(coord(i), coord(j), coord(k)) > 0.0;
                let (a, b) = if ccw { (i, j) } else { (j, i) };
                (0..500).all(|l| incircle(coord(a), coord(b), coord(k), coord(l)) <= 0.0)
            });
            assert!(empty.count() >= 1, "{i} {j}");
        }
    }

    #[test]
    fn lines_duplicates_and_few_points_are_defined() {
        assert!(edges(&[]).unwrap().is_empty());
        assert!(edges(&[[1.0, 2.0]]).unwrap().is_empty());
        assert_eq!(edges(&[[1.0, 2.0], [3.0, 2.0]]).unwrap(), [(0, 1), (1, 0)]);
        let line: Vec<[f64; 2]> = [3.0, 0.0, 2.0, 1.0].map(|x| [x, 2.0 * x]).to_vec();
        assert_eq!(edges(&line).unwrap(), [(0, 2), (1, 3), (2, 0), (2, 3), (3, 1), (3, 2)]);
        let twice = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-0.0, 0.0], [1.0, 0.0]];
        let e = edges(&twice).unwrap();
        assert_eq!(e, [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
        assert!(edges(&[[f64::INFINITY, 0.0], [0.0, 1.0]]).is_err());
    }

    #[test]
    fn twelve_points_on_a_circle_are_a_fan() {
        // Exactly on one circle: all whole points with x² + y² = 25.
        let circle = [
            [3, 4],
            [4, 3],
            [5, 0],
            [4, -3],
            [3, -4],
            [0, -5],
            [-3, -4],
            [-4, -3],
            [-5, 0],
            [-4, 3],
            [-3, 4],
            [0, 5],
        ];
        let points: Vec<[f64; 2]> = circle.iter().map(|p| p.map(f64::from)).collect();
        let e = edges(&points).unwrap();
        let from_first = e.iter().filter(|(i, _)| *i == 0).count();
        assert_eq!((from_first, e.len()), (11, 2 * (12 + 9)));
    }
}
