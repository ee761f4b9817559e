//! Texture of a picture: grey-level co-occurrence (Haralick et al., 1973) and the Fourier spectrum.
//!
//! ```text
//! picture ─ channel (height × width bytes) ─┬─ pairs of pixels at an offset ─ Glcm ─ six properties
//!                                           └─ FFT of rows, then of columns ─ log(|F| + 1)
//! ```
//!
//! What is computed here is what `skimage.feature.graycomatrix` and `graycoprops` (256 levels,
//! symmetric, normalised) and numpy's `fft2` compute.

use super::Image;
use crate::error::{Error, Result};
use ndarray::{Array2, Array3, ArrayView2};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// The order in which the colours of a picture are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as OpenCV reads files. Code that never converts them feeds this order.
    Bgr,
}

impl Channels {
    /// Which channel of an [`Image`] is the `k`-th.
    pub(super) fn source(self, k: usize) -> usize {
        match self {
            Channels::Rgb => k,
            Channels::Bgr => 2 - k,
        }
    }
}

impl Image {
    /// One channel (0 red, 1 green, 2 blue), height × width.
    ///
    /// # Panics
    /// When `channel` is above 2.
    pub fn channel(&self, channel: usize) -> Array2<u8> {
        assert!(channel < 3, "an RGB picture has channels 0, 1 and 2");
        let values = self.pixels.iter().skip(channel).step_by(3).copied().collect();
        Array2::from_shape_vec((self.height, self.width), values).expect("one byte a pixel")
    }
}

/// The names of the properties of [`Glcm::properties`], in their order.
pub const GLCM_PROPERTIES: [&str; 6] =
    ["contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM"];

/// The steps (rows, columns) to the partner of a pixel at 0, 45, 90 and 135 degrees, as
/// scikit-image rounds them.
pub fn glcm_offsets(distance: usize) -> [(isize, isize); 4] {
    let d = distance as isize;
    // cos 45° · d, rounded.
    let diagonal = (std::f64::consts::FRAC_1_SQRT_2 * distance as f64).round() as isize;
    [(0, d), (diagonal, diagonal), (d, 0), (diagonal, -diagonal)]
}

/// Sums over a symmetric grey-level co-occurrence matrix, kept as whole numbers.
///
/// The matrix itself never exists: all properties but two depend on a pair of pixels alone, and the
/// sum of the squared counts grows by a known amount whenever a count does. So the work is that of
/// one look at each pair, not of 256 × 256 cells.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Glcm {
    /// Number of pairs; each counts twice, as (i, j) and (j, i).
    pairs: u64,
    /// Pairs by their difference |i - j|: Σ d², Σ d, Σ 1 / (1 + d²).
    squares: u64,
    differences: u64,
    homogeneity: f64,
    /// Over pairs: Σ (i + j), Σ (i² + j²), Σ i j.
    sum: u64,
    sum_squares: u64,
    products: u64,
    /// Σ over cells of the squared count.
    counts_squared: u64,
}

/// Counts of pairs of levels, all zero between uses.
#[derive(Debug, Clone)]
pub struct GlcmScratch(Vec<u32>);

impl Default for GlcmScratch {
    fn default() -> Self {
        GlcmScratch(vec![0; 256 * 256])
    }
}

impl Glcm {
    /// The pairs of pixels of `plane` at `offset` (rows, columns) from each other.
    pub fn new(
        plane: ArrayView2<u8>,
        offset: (isize, isize),
        GlcmScratch(counts): &mut GlcmScratch,
    ) -> Glcm {
        let mut glcm = Glcm::default();
        let mut by_difference = [0u64; 256];
        for_pairs(plane, offset, |i, j| {
            let (i, j) = (u64::from(i), u64::from(j));
            by_difference[i.abs_diff(j) as usize] += 1;
            glcm.sum += i + j;
            glcm.sum_squares += i * i + j * j;
            glcm.products += i * j;
            // A pair of different levels raises two cells by 1, one of equal levels its cell by 2;
            // (n + 1)² - n² = 2 n + 1 and (2 n + 2)² - (2 n)² = 4 (2 n + 1).
            let count = &mut counts[cell(i, j)];
            glcm.counts_squared += (2 * u64::from(*count) + 1) * if i == j { 4 } else { 2 };
            *count += 1;
        });
        for_pairs(plane, offset, |i, j| counts[cell(i.into(), j.into())] = 0);
        for (d, &n) in by_difference.iter().enumerate() {
            let d = d as u64;
            glcm.pairs += n;
            glcm.squares += n * d * d;
            glcm.differences += n * d;
            glcm.homogeneity += n as f64 / (1 + d * d) as f64;
        }
        glcm
    }

    /// Contrast Σ P (i - j)², dissimilarity Σ P |i - j|, homogeneity Σ P / (1 + (i - j)²), energy
    /// √ASM, correlation (1 where all pixels are equal) and angular second moment ASM = Σ P².
    ///
    /// Without a pair all are 0 but the correlation, which is 1.
    pub fn properties(&self) -> [f64; 6] {
        let n = self.pairs.max(1) as f64;
        // With two entries a pair: (2n)² times the variance and the covariance of the levels.
        // Whole numbers, so that equal pixels have exactly none.
        let (entries, sum) = (2 * i128::from(self.pairs), i128::from(self.sum));
        let variance = entries * i128::from(self.sum_squares) - sum * sum;
        let covariance = entries * 2 * i128::from(self.products) - sum * sum;
        let correlation = if variance == 0 { 1.0 } else { covariance as f64 / variance as f64 };
        let asm = self.counts_squared as f64 / (4.0 * n * n);
        let (contrast, dissimilarity) = (self.squares as f64 / n, self.differences as f64 / n);
        [contrast, dissimilarity, self.homogeneity / n, asm.sqrt(), correlation, asm]
    }
}

/// The place of an unordered pair of levels.
fn cell(i: u64, j: u64) -> usize {
    (i.min(j) * 256 + i.max(j)) as usize
}

/// Calls `f` with the levels of every pixel that has a partner at `offset`, and of the partner.
fn for_pairs(plane: ArrayView2<u8>, (down, right): (isize, isize), mut f: impl FnMut(u8, u8)) {
    let (height, width) = plane.dim();
    let (rows, columns) = (down.unsigned_abs(), right.unsigned_abs());
    if rows >= height || columns >= width {
        return;
    }
    let start = |step: isize| if step < 0 { step.unsigned_abs() } else { 0 };
    let part = |row, column| {
        plane.slice_move(ndarray::s![row..row + height - rows, column..column + width - columns])
    };
    let first = part(start(down), start(right));
    let second = part(start(-down), start(-right));
    for (a, b) in first.rows().into_iter().zip(second.rows()) {
        a.iter().zip(b).for_each(|(&i, &j)| f(i, j));
    }
}

/// Co-occurrence features of a picture, channel × property × angle (3 × 6 × 4).
///
/// 256 levels, distance 1, angles 0, 45, 90 and 135 degrees, symmetric and normalised; the
/// properties are those of [`GLCM_PROPERTIES`]. Flattened, and with [`Channels::Bgr`], it is the
/// vector of 72 numbers that the released `extract_glcm_features` of HisToSGE makes of one patch.
/// Matches `graycoprops` of scikit-image 0.26 within 1e-9.
///
/// # Errors
/// [`Error::Data`] for a picture without pixels.
pub fn glcm(image: &Image, order: Channels) -> Result<Array3<f64>> {
    not_empty(image)?;
    let mut scratch = GlcmScratch::default();
    let mut out = Array3::zeros((3, 6, 4));
    for k in 0..3 {
        let plane = image.channel(order.source(k));
        for (angle, offset) in glcm_offsets(1).into_iter().enumerate() {
            let properties = Glcm::new(plane.view(), offset, &mut scratch).properties();
            for (property, value) in properties.into_iter().enumerate() {
                out[[k, property, angle]] = value;
            }
        }
    }
    Ok(out)
}

/// The logarithm of the Fourier spectrum, log(|fftshift(fft2(channel))| + 1), height × width × 3.
///
/// The frequency 0 lies at row height / 2 and column width / 2, rounded down. Matches numpy's
/// `np.log(np.abs(np.fft.fftshift(np.fft.fft2(channel))) + 1)` within 1e-8.
///
/// # Errors
/// [`Error::Data`] for a picture without pixels.
pub fn log_fft(image: &Image, order: Channels) -> Result<Array3<f64>> {
    not_empty(image)?;
    let (height, width) = (image.height, image.width);
    let mut planner = FftPlanner::new();
    let mut out = Array3::zeros((height, width, 3));
    for k in 0..3 {
        let plane = image.channel(order.source(k));
        let mut spectrum = plane.mapv(|v| Complex::new(f64::from(v), 0.0));
        fft2(&mut spectrum, &mut planner);
        for ((y, x), value) in spectrum.indexed_iter() {
            let at = [(y + height / 2) % height, (x + width / 2) % width, k];
            out[at] = (value.norm() + 1.0).ln();
        }
    }
    Ok(out)
}

/// The two-dimensional Fourier transform, in place and not normalised.
pub(crate) fn fft2<T: rustfft::FftNum>(a: &mut Array2<Complex<T>>, planner: &mut FftPlanner<T>) {
    let (height, width) = a.dim();
    if a.is_empty() {
        return;
    }
    let across = planner.plan_fft_forward(width);
    let down = planner.plan_fft_forward(height);
    // `process` transforms each run of its length.
    across.process(a.as_slice_mut().expect("made in standard order"));
    let mut columns = a.t().as_standard_layout().into_owned();
    down.process(columns.as_slice_mut().expect("made in standard order"));
    a.assign(&columns.t());
}

fn not_empty(image: &Image) -> Result<()> {
    if image.pixels.is_empty() {
        let found =
            format!("has {} × {} pixels; texture needs at least one", image.width, image.height);
        return Err(Error::data("picture", found));
    }
    Ok(())
}
