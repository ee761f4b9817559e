//! [`SpotGrid`]: where spots lie on a grid of whole numbers, and which of them share a window.

use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::linalg::knn;
use ndarray::ArrayView2;
use std::collections::HashMap;

/// Positions of a window on either side of its middle: windows are 7 × 7.
const REACH: i64 = 3;

/// A row and a column for each spot, at most one spot in each place.
#[derive(Debug, Clone, PartialEq)]
pub struct SpotGrid {
    /// `None` for a spot that has no place.
    places: Vec<Option<(i64, i64)>>,
}

/// The windows of chosen spots: for each middle the spots inside, by their position in the choice.
pub(super) struct Windows {
    starts: Vec<usize>,
    spots: Vec<u32>,
}

impl SpotGrid {
    /// Spots whose rows and columns are known, e.g. Visium's `array_row` and `array_col`.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many columns as rows; [`Error::Data`] when two spots
    /// are in the same place.
    pub fn new(rows: &[i64], columns: &[i64]) -> Result<SpotGrid> {
        if rows.len() != columns.len() {
            return Err(Error::shape("columns of spots", rows.len(), columns.len()));
        }
        let mut seen = HashMap::new();
        for (i, place) in rows.iter().zip(columns).enumerate() {
            if let Some(first) = seen.insert(place, i) {
                let reason = format!(
                    "spots {first} and {i} are both in row {}, column {}; take one slide at a time",
                    place.0, place.1
                );
                return Err(Error::data("grid of spots", reason));
            }
        }
        let places = rows.iter().zip(columns).map(|(&r, &c)| Some((r, c))).collect();
        Ok(SpotGrid { places })
    }

    /// Spots at any coordinates (n × 2: x, y), moved to the nearest place of a square grid that
    /// starts at the smallest x and y and whose step is the median distance of a spot to its nearest
    /// neighbour. Where several come to the same place, the one nearest to it stays, the first of
    /// equals; the others have none.
    ///
    /// # Errors
    /// [`Error::Shape`] for coordinates that are not n × 2; [`Error::Data`] with fewer than two
    /// spots, when most lie on one another, or when a coordinate is not finite.
    pub fn rasterised(coordinates: ArrayView2<f64>) -> Result<SpotGrid> {
        let (n, d) = coordinates.dim();
        if d != 2 {
            return Err(Error::shape("columns of coordinates", 2, d));
        }
        if n < 2 {
            let reason = format!("need at least two spots, found {n}");
            return Err(Error::data("coordinates", reason));
        }
        let mut nearest: Vec<f64> = knn(coordinates, 2)?.1.column(1).to_vec();
        let step = *nearest.select_nth_unstable_by(n / 2, f64::total_cmp).1;
        if step == 0.0 {
            let reason = "most spots lie on one another, so the step of a grid cannot be told";
            return Err(Error::data("coordinates", reason));
        }
        let start = coordinates.fold_axis(ndarray::Axis(0), f64::INFINITY, |a, b| a.min(*b));
        let mut taken: HashMap<(i64, i64), (f64, usize)> = HashMap::new();
        for (i, at) in coordinates.rows().into_iter().enumerate() {
            let (x, y) = ((at[0] - start[0]) / step, (at[1] - start[1]) / step);
            let away = (x - x.round()).powi(2) + (y - y.round()).powi(2);
            let best = taken.entry((y.round() as i64, x.round() as i64)).or_insert((away, i));
            if away < best.0 {
                *best = (away, i);
            }
        }
        let mut places = vec![None; n];
        taken.into_iter().for_each(|(place, (_, i))| places[i] = Some(place));
        Ok(SpotGrid { places })
    }

    /// The grid of a slide: `array_row` and `array_col` where `obs` has them, else the coordinates
    /// [rasterised](SpotGrid::rasterised).
    ///
    /// # Errors
    /// As [`new`](SpotGrid::new) and `rasterised`; [`Error::MissingKey`] when there are no
    /// coordinates either, [`Error::Data`] when rows or columns are not whole numbers.
    pub fn of(adata: &AnnData) -> Result<SpotGrid> {
        if !adata.obs.contains("array_row") || !adata.obs.contains("array_col") {
            return SpotGrid::rasterised(adata.spatial()?.slice(ndarray::s![.., ..2]));
        }
        let whole = |name: &str| -> Result<Vec<i64>> {
            let numbers = adata.obs_column(name)?.to_f64().unwrap_or_default();
            let fits = |x: &f64| x.fract() == 0.0 && x.abs() < 9e15;
            if numbers.len() != adata.n_obs() || !numbers.iter().all(fits) {
                let reason = "must hold whole numbers; remove it to use the coordinates instead";
                return Err(Error::data(format!("obs column `{name}`"), reason));
            }
            Ok(numbers.into_iter().map(|x| x as i64).collect())
        };
        SpotGrid::new(&whole("array_row")?, &whole("array_col")?)
    }

    /// Number of spots, those without a place included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no spots.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The windows around the chosen spots that lie wholly inside the bounding box of these and hold
    /// at least two of them.
    pub(super) fn windows(&self, chosen: &[usize]) -> Windows {
        let place = |(i, &spot): (usize, &usize)| self.places[spot].map(|(r, c)| (r, c, i as u32));
        let mut places: Vec<(i64, i64, u32)> =
            chosen.iter().enumerate().filter_map(place).collect();
        places.sort_unstable();
        let range = |of: fn(&(i64, i64, u32)) -> i64| {
            let all = || places.iter().map(of);
            all().min().unwrap_or(0).saturating_add(REACH)
                ..=all().max().unwrap_or(0).saturating_sub(REACH)
        };
        let (rows, columns) = (range(|p| p.0), range(|p| p.1));
        let mut out = Windows { starts: vec![0], spots: Vec::new() };
        for &(r, c, _) in places.iter().filter(|p| rows.contains(&p.0) && columns.contains(&p.1)) {
            let before = out.spots.len();
            for row in r - REACH..=r + REACH {
                let first = places.partition_point(|p| (p.0, p.1) < (row, c - REACH));
                let inside = places[first..].iter();
                let inside = inside.take_while(|p| p.0 == row && p.1 <= c + REACH);
                out.spots.extend(inside.map(|p| p.2));
            }
            if out.spots.len() - before < 2 {
                out.spots.truncate(before);
            } else {
                out.starts.push(out.spots.len());
            }
        }
        out
    }
}

impl Windows {
    /// The spots of each window.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.starts.windows(2).map(|w| &self.spots[w[0]..w[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use ndarray::{Array2, array};

    #[test]
    fn coordinates_move_to_the_nearest_place() {
        // Steps of 100, a little off; the last two come to one place, where the nearer one stays.
        let at = array![
            [1000.0, 50.0],
            [1100.0, 52.0],
            [1203.0, 50.0],
            [998.0, 150.0],
            [1101.0, 149.0],
            [1210.0, 170.0],
            [1200.0, 151.0]
        ];
        let grid = SpotGrid::rasterised(at.view()).unwrap();
        let place = |r, c| Some((r, c));
        let expected =
            [place(0, 0), place(0, 1), place(0, 2), place(1, 0), place(1, 1), None, place(1, 2)];
        assert_eq!(grid.places, expected);
    }

    #[test]
    fn a_slide_has_its_array_or_its_coordinates() {
        let x = Array2::<f32>::zeros((4, 1));
        let mut adata = AnnData::new(x, Frame::with_len(4), Frame::with_len(1)).unwrap();
        assert!(SpotGrid::of(&adata).unwrap_err().to_string().contains("spatial"));
        let place = array![[0f64, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]];
        adata.obsm.insert("spatial".into(), place.into());
        let grid = SpotGrid::of(&adata).unwrap();
        assert_eq!(grid, SpotGrid::new(&[0, 0, 1, 1], &[0, 1, 0, 1]).unwrap());
        adata.obs.insert("array_row", vec![7i64, 7, 9, 9]).unwrap();
        adata.obs.insert("array_col", vec![1f64, 2.0, 1.0, 2.0]).unwrap();
        let grid = SpotGrid::of(&adata).unwrap();
        assert_eq!(grid, SpotGrid::new(&[7, 7, 9, 9], &[1, 2, 1, 2]).unwrap());
        adata.obs.insert("array_col", vec![1.0, 2.5, f64::NAN, 2.0]).unwrap();
        let e = SpotGrid::of(&adata).unwrap_err().to_string();
        assert!(e.contains("`array_col`: must hold whole numbers"), "{e}");
        adata.obs.insert("array_col", vec![1i64, 1, 1, 2]).unwrap();
        let e = SpotGrid::of(&adata).unwrap_err().to_string();
        assert!(e.contains("spots 0 and 1 are both in row 7, column 1"), "{e}");
    }

    #[test]
    fn bad_places_are_refused_and_far_ones_are_not_allocated() {
        assert!(SpotGrid::new(&[1], &[1, 2]).is_err());
        assert!(SpotGrid::rasterised(array![[1.0, 2.0]].view()).is_err());
        assert!(SpotGrid::rasterised(array![[1.0], [2.0]].view()).is_err());
        assert!(SpotGrid::rasterised(array![[1.0, f64::NAN], [2.0, 2.0]].view()).is_err());
        let e = SpotGrid::rasterised(Array2::zeros((3, 2)).view()).unwrap_err().to_string();
        assert!(e.contains("lie on one another"), "{e}");
        let far = SpotGrid::new(&[i64::MIN, 0, 1, i64::MAX], &[i64::MIN, 0, 1, i64::MAX]).unwrap();
        assert_eq!(far.windows(&[0, 1, 2, 3]).iter().len(), 2);
    }
}
