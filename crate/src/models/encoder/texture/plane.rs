//! Planes of a patch: one number a pixel.
//!
//! ```text
//! bytes ─ optical density of red, green, blue ─ unmix ─ haematoxylin, eosin, residual
//! ```

use crate::image::Image;
use std::sync::LazyLock;

/// One number a pixel, in rows from the top.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    pub width: usize,
    pub height: usize,
    pub values: Vec<f32>,
}

impl Plane {
    pub fn row(&self, y: usize) -> &[f32] {
        &self.values[y * self.width..][..self.width]
    }

    /// Means of 2 × 2 pixels; an odd last row or column is left out. A plane of fewer than four
    /// rows or columns stays as it is, so that small patches have all the features too.
    pub fn halved(&self) -> Plane {
        if self.width.min(self.height) < 4 {
            return self.clone();
        }
        let (width, height) = (self.width / 2, self.height / 2);
        let mut values = Vec::with_capacity(width * height);
        for y in 0..height {
            let (a, b) = (self.row(2 * y), self.row(2 * y + 1));
            let pairs = a.chunks_exact(2).zip(b.chunks_exact(2));
            values.extend(pairs.map(|(a, b)| 0.25 * (a[0] + a[1] + b[0] + b[1])));
        }
        Plane { width, height, values }
    }
}

/// Optical densities (columns of red, green and blue, rows of haematoxylin, eosin and what is left)
/// of Ruifrok and Johnston, 2001, table 1 and its DAB row, as scikit-image's `rgb_from_hed`.
const STAINS: [[f64; 3]; 3] = [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]];

/// From densities to amounts of stain: the inverse of [`STAINS`] with rows of length 1.
static UNMIX: LazyLock<[[f32; 3]; 3]> = LazyLock::new(|| {
    let unit = STAINS.map(|row| {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.map(|v| v / length)
    });
    let minor = |i: usize, j: usize| {
        let (r, s, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
        unit[r][c] * unit[s][d] - unit[r][d] * unit[s][c]
    };
    let determinant: f64 = (0..3).map(|j| unit[0][j] * minor(0, j)).sum();
    std::array::from_fn(|i| std::array::from_fn(|j| (minor(j, i) / determinant) as f32))
});

/// -log₁₀ of the light that comes through; half a step keeps black finite.
static DENSITY: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|v| -((v as f32 + 0.5) / 255.5).log10()));

/// The planes that features are computed on.
pub(super) struct Planes {
    /// Red, green and blue, in 0..1.
    pub rgb: [Plane; 3],
    /// Saturation and value of HSV, in 0..1.
    pub saturation: Plane,
    pub value: Plane,
    /// Saturation · cos hue and saturation · sin hue: an angle has no mean, this has.
    pub hue: [Plane; 2],
    /// Amounts of haematoxylin, of eosin, and of what neither explains.
    pub stains: [Plane; 3],
    /// Mean optical density of the three colours.
    pub density: Plane,
}

impl Planes {
    /// Of a patch. Pure black is what masks and image borders leave, never stain: it counts as
    /// empty glass.
    pub fn of(patch: &Image) -> Planes {
        let n = patch.width * patch.height;
        let mut planes: [Vec<f32>; 11] = std::array::from_fn(|_| Vec::with_capacity(n));
        for pixel in patch.pixels.chunks_exact(3) {
            let pixel = if pixel == [0, 0, 0] { [255; 3] } else { [pixel[0], pixel[1], pixel[2]] };
            let [r, g, b] = pixel.map(|v| f32::from(v) / 255.0);
            let (high, low) = (r.max(g).max(b), r.min(g).min(b));
            let saturation = if high > 0.0 { (high - low) / high } else { 0.0 };
            // The hue as a direction, within 1.2° of that of HSV: red points along the first axis.
            let (x, y) = (r - 0.5 * (g + b), 0.866_025_4 * (g - b));
            let length = (x * x + y * y).sqrt().max(1e-6);
            let od = pixel.map(|v| DENSITY[usize::from(v)]);
            let stain = |k: usize| (0..3).map(|c| od[c] * UNMIX[c][k]).sum::<f32>();
            let all = [
                r,
                g,
                b,
                saturation,
                high,
                saturation * x / length,
                saturation * y / length,
                stain(0),
                stain(1),
                stain(2),
                (od[0] + od[1] + od[2]) / 3.0,
            ];
            planes.iter_mut().zip(all).for_each(|(plane, v)| plane.push(v));
        }
        let (width, height) = (patch.width, patch.height);
        let [r, g, b, saturation, value, x, y, haematoxylin, eosin, residual, density] =
            planes.map(|values| Plane { width, height, values });
        Planes {
            rgb: [r, g, b],
            saturation,
            value,
            hue: [x, y],
            stains: [haematoxylin, eosin, residual],
            density,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_stain_is_all_of_one_kind() {
        for (k, row) in STAINS.iter().enumerate() {
            let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            // The light that half a unit of the stain lets through.
            let through = row.map(|v| (255.5 * 10f64.powf(-0.5 * v / length) - 0.5).round() as u8);
            let planes = Planes::of(&Image::new(1, 1, through.to_vec()).unwrap());
            for (j, stain) in planes.stains.iter().enumerate() {
                let expected = if j == k { 0.5 } else { 0.0 };
                assert!((stain.values[0] - expected).abs() < 0.02, "{k} {j}: {}", stain.values[0]);
            }
        }
    }

    #[test]
    fn colours_are_those_of_hsv_and_black_is_glass() {
        // colorsys.rgb_to_hsv(0.2, 0.4, 0.8): hue 220°, saturation 0.75, value 0.8.
        let planes = Planes::of(&Image::new(2, 1, vec![51, 102, 204, 0, 0, 0]).unwrap());
        assert!((planes.saturation.values[0] - 0.75).abs() < 1e-6);
        assert!((planes.value.values[0] - 0.8).abs() < 1e-6);
        let [x, y] = planes.hue.map(|h| h.values[0]);
        assert!((y.atan2(x).to_degrees() - (220.0 - 360.0)).abs() < 1.2);
        assert_eq!((planes.value.values[1], planes.density.values[1]), (1.0, 0.0));
    }

    #[test]
    fn halves_are_means_and_end_before_nothing_is_left() {
        let plane = Plane { width: 5, height: 4, values: (0..20).map(|v| v as f32).collect() };
        let half = plane.halved();
        assert_eq!((half.width, half.height), (2, 2));
        assert_eq!(half.values, [3.0, 5.0, 13.0, 15.0]);
        assert_eq!(half.halved(), half);
    }
}
