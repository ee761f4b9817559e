//! Denser grids of spots.
//!
//! Spots lie on a grid of columns and rows; the denser grid adds points between them. Where a point lies
//! on the image follows from the slide itself: an affine map from (column, row) to pixels, fitted to its
//! spots, so that any resolution, spacing and rotation is right. The published code adds constants in
//! pixels, which hold for the authors' slides; see [`Dense::published_pixels`].

use crate::anndata::AnnData;
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use std::collections::HashSet;

/// How spots lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// Rows set off by half a spacing, as of Visium: columns count in half spacings, so that column and
    /// row of a spot are both even or both odd.
    Hex,
    /// Rows and columns at equal distance, as of Spatial Transcriptomics and Visium HD.
    Square,
}

/// What is added to column and row, in the order of the published code.
const HEX: [[f64; 2]; 8] = [
    [0.0, 0.0],
    [1.0, 0.0],
    [0.5, 0.5],
    [-0.5, 0.5],
    [0.5, -0.5],
    [-0.5, -0.5],
    [-1.0, 0.0],
    [0.0, 1.0],
];
/// The pixels that the published code adds.
const HEX_PIXELS: [[f64; 2]; 8] = [
    [0.0, 0.0],
    [68.0, 0.0],
    [34.0, 60.0],
    [-34.0, 60.0],
    [34.0, -60.0],
    [-34.0, -60.0],
    [-68.0, 0.0],
    [0.0, 120.0],
];
const SQUARE: [[f64; 2]; 4] = [[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]];

/// Points of a denser grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// Column and row of each point, fractions included.
    pub centers: Vec<[f64; 2]>,
    /// Its position (x, y) on the image.
    pub pixels: Array2<f64>,
    /// The spot that it belongs to.
    pub source: Vec<usize>,
    /// Whether it is that spot itself.
    pub is_spot: Vec<bool>,
}

impl Grid {
    /// The grid on which spots at these columns and rows lie.
    pub fn detect(centers: &[[f64; 2]]) -> Grid {
        let even = |c: &[f64; 2]| (c[0] + c[1]).rem_euclid(2.0) == 0.0;
        let alike = centers.iter().filter(|c| even(c)).count();
        // Of a square grid about half; of a hexagonal one all, or none.
        if centers.len() > 1 && (alike == centers.len() || alike == 0) {
            Grid::Hex
        } else {
            Grid::Square
        }
    }
}

/// Column and row of every spot: `obs["array_col"]` and `obs["array_row"]`.
pub(super) fn centers(adata: &AnnData) -> Result<Vec<[f64; 2]>> {
    let numbers = |name: &str| -> Result<Vec<f64>> {
        let column = adata.obs_column(name)?;
        let values = column.to_f64().ok_or_else(|| {
            Error::data(format!("obs[\"{name}\"]"), "must hold numbers, the place in the array")
        })?;
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let reason = format!("holds no number for spot `{}`", adata.obs.names()[i]);
            return Err(Error::data(format!("obs[\"{name}\"]"), reason));
        }
        Ok(values)
    };
    let (columns, rows) = (numbers("array_col")?, numbers("array_row")?);
    Ok(columns.into_iter().zip(rows).map(|(c, r)| [c, r]).collect())
}

impl Dense {
    /// A grid `factor` times as dense: 4 or 8 for [`Grid::Hex`], 4 for [`Grid::Square`].
    ///
    /// Points come as the published code has them: all spots, then all spots moved by the first
    /// displacement, and so on; of points at the same column and row of a square grid the first stays.
    ///
    /// # Errors
    /// [`Error::Parameter`] for another factor, [`Error::Shape`] when positions do not match,
    /// [`Error::Data`] when columns and rows do not explain where spots lie on the image.
    pub fn new(
        centers: &[[f64; 2]],
        pixels: ArrayView2<f64>,
        grid: Grid,
        factor: usize,
    ) -> Result<Dense> {
        let shifts = displacements(grid, factor)?;
        let map = Affine::fit(centers, pixels)?;
        let moved: Vec<[f64; 2]> = shifts.iter().map(|s| map.direction(*s)).collect();
        Ok(Dense::by(centers, pixels, shifts, &moved))
    }

    /// The grid of the published code for Visium, in pixels too: constants of the authors' slides.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless the factor is 4 or 8, [`Error::Shape`] when positions do not match.
    pub fn published_pixels(
        centers: &[[f64; 2]],
        pixels: ArrayView2<f64>,
        factor: usize,
    ) -> Result<Dense> {
        let shifts = displacements(Grid::Hex, factor)?;
        check_shape(centers, pixels)?;
        Ok(Dense::by(centers, pixels, shifts, &HEX_PIXELS[..factor]))
    }

    fn by(
        centers: &[[f64; 2]],
        pixels: ArrayView2<f64>,
        shifts: &[[f64; 2]],
        moved: &[[f64; 2]],
    ) -> Dense {
        let once = shifts == SQUARE;
        let mut seen = HashSet::new();
        let (mut out, mut positions) = (Vec::new(), Vec::new());
        let (mut source, mut is_spot) = (Vec::new(), Vec::new());
        for (k, (shift, pixel)) in shifts.iter().zip(moved).enumerate() {
            for (i, c) in centers.iter().enumerate() {
                let center = [c[0] + shift[0], c[1] + shift[1]];
                if once && !seen.insert(center.map(f64::to_bits)) {
                    continue;
                }
                out.push(center);
                positions.extend([pixels[[i, 0]] + pixel[0], pixels[[i, 1]] + pixel[1]]);
                source.push(i);
                is_spot.push(k == 0);
            }
        }
        let pixels = Array2::from_shape_vec((out.len(), 2), positions).unwrap_or_default();
        Dense { centers: out, pixels, source, is_spot }
    }
}

fn displacements(grid: Grid, factor: usize) -> Result<&'static [[f64; 2]]> {
    match (grid, factor) {
        (Grid::Hex, 4 | 8) => Ok(&HEX[..factor]),
        (Grid::Square, 4) => Ok(&SQUARE),
        (Grid::Hex, _) => Err(Error::parameter("factor", factor, "must be 4 or 8 on a hex grid")),
        (Grid::Square, _) => Err(Error::parameter("factor", factor, "must be 4 on a square grid")),
    }
}

fn check_shape(centers: &[[f64; 2]], pixels: ArrayView2<f64>) -> Result<()> {
    if pixels.dim() == (centers.len(), 2) {
        return Ok(());
    }
    let expected = format!("{} × 2", centers.len());
    Err(Error::shape("positions of spots", expected, format!("{:?}", pixels.dim())))
}

/// pixel = origin + across · column + down · row.
struct Affine {
    across: [f64; 2],
    down: [f64; 2],
}

/// How far spots may lie from where their columns and rows put them, in distances between spots.
const MOST_OFF: f64 = 0.25;

impl Affine {
    /// By least squares over all spots.
    fn fit(centers: &[[f64; 2]], pixels: ArrayView2<f64>) -> Result<Affine> {
        check_shape(centers, pixels)?;
        let n = centers.len() as f64;
        let mean = |of: &dyn Fn(usize) -> f64| (0..centers.len()).map(of).sum::<f64>() / n;
        let c0 = [mean(&|i| centers[i][0]), mean(&|i| centers[i][1])];
        let p0 = [mean(&|i| pixels[[i, 0]]), mean(&|i| pixels[[i, 1]])];
        let (mut cc, mut cr, mut rr) = (0.0, 0.0, 0.0);
        let (mut cp, mut rp) = ([0.0; 2], [0.0; 2]);
        for (i, center) in centers.iter().enumerate() {
            let (c, r) = (center[0] - c0[0], center[1] - c0[1]);
            (cc, cr, rr) = (cc + c * c, cr + c * r, rr + r * r);
            for k in 0..2 {
                let p = pixels[[i, k]] - p0[k];
                cp[k] += c * p;
                rp[k] += r * p;
            }
        }
        let det = cc * rr - cr * cr;
        if det.is_nan() || det <= 1e-9 * cc * rr {
            let reason = "all spots lie in one row or column: the directions of a denser grid cannot \
                          be told";
            return Err(Error::data("array_col and array_row", reason));
        }
        let across = [0, 1].map(|k| (cp[k] * rr - rp[k] * cr) / det);
        let down = [0, 1].map(|k| (rp[k] * cc - cp[k] * cr) / det);
        let map = Affine { across, down };
        let step = [across, down].iter().map(|v| v[0].hypot(v[1])).fold(f64::INFINITY, f64::min);
        let off = |i: usize| {
            let d = map.direction([centers[i][0] - c0[0], centers[i][1] - c0[1]]);
            (pixels[[i, 0]] - p0[0] - d[0]).hypot(pixels[[i, 1]] - p0[1] - d[1])
        };
        let rms = mean(&|i| off(i) * off(i)).sqrt();
        if rms.is_nan() || rms > MOST_OFF * step {
            let reason = format!(
                "do not explain obsm[\"spatial\"]: spots lie {rms:.1} pixels from where their columns \
                 and rows put them, which are {step:.1} pixels apart; do they belong to one slide?"
            );
            return Err(Error::data("array_col and array_row", reason));
        }
        Ok(map)
    }

    /// The pixels of a displacement in columns and rows.
    fn direction(&self, shift: [f64; 2]) -> [f64; 2] {
        [0, 1].map(|k| self.across[k] * shift[0] + self.down[k] * shift[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Visium-like slide: 100 pixels between spots, rotated by `angle`.
    fn hex(angle: f64) -> (Vec<[f64; 2]>, Array2<f64>) {
        let centers: Vec<[f64; 2]> =
            (0..8).flat_map(|r| (0..6).map(move |c| [(2 * c + r % 2) as f64, r as f64])).collect();
        let place = |c: &[f64; 2]| {
            let (x, y) = (50.0 * c[0], 100.0 * 0.75f64.sqrt() * c[1]);
            [x * angle.cos() - y * angle.sin() + 900.0, x * angle.sin() + y * angle.cos() + 700.0]
        };
        let pixels: Vec<f64> = centers.iter().flat_map(place).collect();
        let n = centers.len();
        (centers, Array2::from_shape_vec((n, 2), pixels).unwrap())
    }

    #[test]
    fn points_lie_where_the_slide_puts_them_for_any_rotation() {
        for angle in [0.0, 0.3, 2.0] {
            let (centers, pixels) = hex(angle);
            assert_eq!(Grid::detect(&centers), Grid::Hex);
            let dense = Dense::new(&centers, pixels.view(), Grid::Hex, 8).unwrap();
            let n = centers.len();
            assert_eq!((dense.centers.len(), dense.pixels.nrows()), (8 * n, 8 * n));
            for k in 1..8 {
                let (from, to) = (dense.pixels.row(0), dense.pixels.row(k * n));
                let distance = (to[0] - from[0]).hypot(to[1] - from[1]);
                // Half a spacing to the side; half of that and half a row; a row.
                let expected = [50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 100.0 * 0.75f64.sqrt()][k - 1];
                assert!((distance - expected).abs() < 1e-6, "{k}: {distance}");
                assert_eq!(dense.source[k * n], 0);
            }
            assert!(dense.is_spot.iter().take(n).all(|&s| s) && !dense.is_spot[n]);
        }
    }

    #[test]
    fn points_of_a_square_grid_come_once() {
        let centers: Vec<[f64; 2]> =
            (0..4).flat_map(|r| (0..3).map(move |c| [c as f64, r as f64])).collect();
        assert_eq!(Grid::detect(&centers), Grid::Square);
        let pixels: Vec<f64> = centers.iter().flat_map(|c| [c[0] * 200.0, c[1] * 200.0]).collect();
        let pixels = Array2::from_shape_vec((12, 2), pixels).unwrap();
        let dense = Dense::new(&centers, pixels.view(), Grid::Square, 4).unwrap();
        assert_eq!(dense.centers.len(), 48);
        assert_eq!(dense.pixels.row(12).to_vec(), [0.0, 100.0]);
        // Spots already half a step apart: the points between them are spots themselves.
        let fine: Vec<[f64; 2]> = centers.iter().map(|c| [c[0] / 2.0, c[1] / 2.0]).collect();
        let dense = Dense::new(&fine, pixels.view(), Grid::Square, 4).unwrap();
        assert_eq!(dense.centers.len(), 4 * 5);
    }

    #[test]
    fn what_cannot_be_made_denser_is_named() {
        let (centers, pixels) = hex(0.0);
        let error = |c: &[[f64; 2]], p: ArrayView2<f64>, grid, factor| {
            Dense::new(c, p, grid, factor).unwrap_err().to_string()
        };
        assert!(error(&centers, pixels.view(), Grid::Hex, 3).contains("4 or 8"));
        assert!(error(&centers, pixels.view(), Grid::Square, 8).contains("must be 4"));
        assert!(error(&centers[1..], pixels.view(), Grid::Hex, 4).contains("47 × 2"));
        let line: Vec<[f64; 2]> = (0..48).map(|i| [i as f64, 3.0]).collect();
        assert!(error(&line, pixels.view(), Grid::Hex, 4).contains("one row or column"));
        let mixed: Vec<[f64; 2]> =
            centers.iter().rev().copied().skip(1).chain([[0.0, 0.0]]).collect();
        let turned: Vec<[f64; 2]> =
            mixed.iter().enumerate().map(|(i, c)| [c[0], centers[i * 7 % 48][1]]).collect();
        assert!(error(&turned, pixels.view(), Grid::Hex, 4).contains("do not explain"));
    }
}
