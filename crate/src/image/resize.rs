//! Resizing, as Pillow's `Image.resize` does it with 8-bit pictures: two passes with weights of
//! 22 fractional bits, rounded to bytes in between, so that the result is equal bit for bit.

use super::Image;
use rayon::prelude::*;

/// How pixels are weighted when a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The mean of the pixels below (Pillow's `BOX`).
    Box,
    /// A triangle (Pillow's `BILINEAR`).
    Bilinear,
    /// Keys' cubic with a = -0.5 (Pillow's `BICUBIC`).
    Bicubic,
    /// A windowed sinc of three lobes (Pillow's `LANCZOS`).
    Lanczos,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let a = x.abs();
        match self {
            Filter::Box if x > -0.5 && x <= 0.5 => 1.0,
            Filter::Bilinear if a < 1.0 => 1.0 - a,
            Filter::Bicubic if a < 1.0 => (1.5 * a - 2.5) * a * a + 1.0,
            Filter::Bicubic if a < 2.0 => ((a - 5.0) * a + 8.0) * a * -0.5 + 2.0,
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

const PRECISION: u32 = 32 - 8 - 2;

/// For each output pixel the first input pixel and the weights from there on.
fn coefficients(size: usize, from: f64, to: f64, out: usize, f: Filter) -> Vec<(usize, Vec<i32>)> {
    let scale = (to - from) / out as f64;
    let filter_scale = scale.max(1.0);
    let support = f.support() * filter_scale;
    (0..out)
        .map(|i| {
            let center = from + (i as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(size);
            let at = |x: usize| f.weight((x as f64 - center + 0.5) / filter_scale);
            let weights: Vec<f64> = (first..last).map(at).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: &f64| {
                let w = if sum == 0.0 { *w } else { w / sum } * f64::from(1 << PRECISION);
                (w + if w < 0.0 { -0.5 } else { 0.5 }) as i32
            };
            (first, weights.iter().map(fixed).collect())
        })
        .collect()
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

impl Image {
    /// The picture at another size; equal bit for bit to Pillow's `Image.resize`.
    pub fn resize(&self, width: usize, height: usize, filter: Filter) -> Image {
        let whole = (0.0, 0.0, self.width as f64, self.height as f64);
        self.resize_box(whole, width, height, filter)
    }

    /// The part between (x0, y0) and (x1, y1), which need not be whole pixels but must lie in the
    /// picture, at another size; Pillow's `Image.resize(…, box=…)`.
    pub fn resize_box(
        &self,
        (x0, y0, x1, y1): (f64, f64, f64, f64),
        width: usize,
        height: usize,
        filter: Filter,
    ) -> Image {
        if self.pixels.is_empty() || width == 0 || height == 0 {
            return Image { width, height, pixels: vec![255; width * height * 3] };
        }
        let across = coefficients(self.width, x0, x1, width, filter);
        let down = coefficients(self.height, y0, y1, height, filter);
        let half = 1 << (PRECISION - 1);
        // Only the rows that the second pass will read.
        let top = down.iter().map(|d| d.0).min().unwrap_or(0);
        let bottom = down.iter().map(|d| d.0 + d.1.len()).max().unwrap_or(0);
        let mut wide = vec![0u8; (bottom - top) * width * 3];
        wide.par_chunks_mut(width * 3).enumerate().for_each(|(r, row)| {
            let source = &self.pixels[(top + r) * self.width * 3..][..self.width * 3];
            for (out, (first, weights)) in row.chunks_exact_mut(3).zip(&across) {
                let mut sum = [half; 3];
                for (pixel, &w) in source[first * 3..].chunks_exact(3).zip(weights) {
                    for c in 0..3 {
                        sum[c] += i32::from(pixel[c]) * w;
                    }
                }
                out.copy_from_slice(&sum.map(byte));
            }
        });
        let mut pixels = vec![0u8; height * width * 3];
        pixels.par_chunks_mut(width * 3).zip(&down).for_each(|(row, (first, weights))| {
            let mut sums = vec![half; width * 3];
            for (k, &w) in weights.iter().enumerate() {
                let source = &wide[(first - top + k) * width * 3..][..width * 3];
                for (sum, &p) in sums.iter_mut().zip(source) {
                    *sum += i32::from(p) * w;
                }
            }
            for (out, sum) in row.iter_mut().zip(sums) {
                *out = byte(sum);
            }
        });
        Image { width, height, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn noise(width: usize, height: usize) -> Image {
        let pixels = (0..width * height * 3).map(|i| (rng::at(3, i as u64) >> 56) as u8).collect();
        Image::new(width, height, pixels).unwrap()
    }

    #[test]
    fn equals_pillow() {
        // Bytes summed with weights 1..=7 in turn. Pillow 13:
        //   im = Image.fromarray(noise); d = np.array(im.resize(size, filter, box=box))
        //   int((d.ravel().astype(int) * (np.arange(d.size) % 7 + 1)).sum())
        let digest = |i: &Image| -> u64 {
            i.pixels.iter().enumerate().map(|(k, &b)| u64::from(b) * (k as u64 % 7 + 1)).sum()
        };
        let image = noise(53, 41);
        for (filter, size, area, expected) in PILLOW {
            assert_eq!(digest(&image.resize_box(area, size.0, size.1, filter)), expected);
        }
    }

    type Case = (Filter, (usize, usize), (f64, f64, f64, f64), u64);
    #[rustfmt::skip]
    const PILLOW: [Case; 8] = [
        (Filter::Box, (20, 30), (0.0, 0.0, 53.0, 41.0), 924855),
        (Filter::Box, (90, 70), (3.25, 2.5, 40.75, 39.0), 9658317),
        (Filter::Bilinear, (20, 30), (0.0, 0.0, 53.0, 41.0), 919030),
        (Filter::Bilinear, (90, 70), (3.25, 2.5, 40.75, 39.0), 9633584),
        (Filter::Bicubic, (20, 30), (0.0, 0.0, 53.0, 41.0), 919314),
        (Filter::Bicubic, (90, 70), (3.25, 2.5, 40.75, 39.0), 9626630),
        (Filter::Lanczos, (20, 30), (0.0, 0.0, 53.0, 41.0), 919922),
        (Filter::Lanczos, (90, 70), (3.25, 2.5, 40.75, 39.0), 9626360),
    ];

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = Image::new(9, 9, vec![77; 243]).unwrap();
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            for (w, h) in [(3, 20), (9, 9), (1, 1)] {
                assert!(flat.resize(w, h, filter).pixels.iter().all(|&p| p == 77));
            }
        }
        assert_eq!(flat.resize(0, 3, Filter::Box).pixels.len(), 0);
    }
}
