//! Where the tissue is on a picture of a slide.
//!
//! ```text
//! picture ─ darkness (255 - darkest channel; black is no tissue) ─ local mean ─ classes by Otsu's
//! threshold ─ above a quarter of the way from glass to stain ─ islands dropped, holes filled ─ Mask
//! ```

use super::Image;
use crate::error::{Error, Result};

/// Which pixels of a picture are tissue.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// One entry a pixel, in rows from the top.
    pub tissue: Vec<bool>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = 100.0 * self.fraction();
        write!(f, "Mask({} × {}, {percent:.0} % tissue)", self.width, self.height)
    }
}

impl Mask {
    /// Whether the pixel at column `x` of row `y` is tissue; what lies outside is not.
    pub fn get(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.height && self.tissue[y * self.width + x]
    }

    /// The part of the picture that is tissue, in 0..1.
    pub fn fraction(&self) -> f64 {
        self.count() as f64 / self.tissue.len().max(1) as f64
    }

    /// Number of pixels of tissue.
    pub fn count(&self) -> usize {
        self.tissue.iter().filter(|t| **t).count()
    }

    /// The smallest rectangle that holds all tissue: x and y of its first pixel, width and height.
    pub fn bounding_box(&self) -> Option<(usize, usize, usize, usize)> {
        let rows = || (0..self.height).filter(|&y| (0..self.width).any(|x| self.get(x, y)));
        let columns = || (0..self.width).filter(|&x| (0..self.height).any(|y| self.get(x, y)));
        let (top, bottom) = (rows().next()?, rows().next_back()?);
        let (left, right) = (columns().next()?, columns().next_back()?);
        Some((left, top, right - left + 1, bottom - top + 1))
    }
}

/// Masks, and the frames that hold slides, are darker than any stain in all channels.
const BLACK: u8 = 40;

/// The threshold is held between these: glass is never darker than the upper, and what is fainter
/// than the lower is no tissue. So a picture that is all glass, or all tissue, is not cut in two.
const DARKNESS: (usize, usize) = (24, 96);

/// The tissue on a picture of a stained slide (H&E, immunohistochemistry) of any size; that of a
/// thumbnail of about 1000 pixels is enough to tell which spots lie on tissue.
///
/// A pixel is dark by its darkest channel: stain of any colour absorbs in one of them. On the local
/// mean, over 1/200 of the longest side, Otsu's threshold (1979) tells glass and stain apart; tissue
/// is what lies above a quarter of the way from the mean of the one to that of the other, since fat
/// and loose stroma are nearer to glass. Islands of less than 1/200 of the tissue are dropped, and
/// holes of less than 1/100 of it, or of twice the width of the mean, are filled.
///
/// Background may be bright, grey, or blackened by a mask: pixels that are black in all channels
/// are background. Fluorescence on black is not what this is for.
///
/// # Errors
/// [`Error::Data`] for a picture without pixels.
pub fn tissue_mask(image: &Image) -> Result<Mask> {
    let (width, height) = (image.width, image.height);
    if image.pixels.is_empty() {
        let reason = format!("has {width} × {height} pixels; there is no tissue to find");
        return Err(Error::data("picture", reason));
    }
    let seen = |p: &[u8]| p.iter().any(|&v| v > BLACK);
    let darkness = |p: &[u8]| 255 - p[0].min(p[1]).min(p[2]);
    let dark: Vec<u32> = image
        .pixels
        .chunks_exact(3)
        .map(|p| if seen(p) { darkness(p).into() } else { 0 })
        .collect();
    let present: Vec<u32> = image.pixels.chunks_exact(3).map(|p| seen(p).into()).collect();
    let radius = (width.max(height) / 400).max(1);
    let (sums, counts) = (box_sums(&dark, width, radius), box_sums(&present, width, radius));
    let mean = |i: usize| (sums[i] / u64::from(present[i]).max(counts[i]).max(1)).min(255) as usize;
    let mut histogram = [0u64; 256];
    for i in (0..dark.len()).filter(|&i| present[i] == 1) {
        histogram[mean(i)] += 1;
    }
    let threshold = quarter(&histogram).clamp(DARKNESS.0, DARKNESS.1);
    let tissue = (0..dark.len()).map(|i| present[i] == 1 && mean(i) > threshold).collect();
    let mut mask = Mask { width, height, tissue };
    let area = mask.count();
    // A single dark pixel is one window wide on the local mean.
    let speck = 4 * (2 * radius + 1).pow(2);
    switch_small(&mut mask, true, (area / 200).max(speck));
    let area = mask.count();
    switch_small(&mut mask, false, (area / 100).max(speck));
    Ok(mask)
}

/// A quarter of the way from the mean of the lower class of a histogram to that of the upper.
fn quarter(histogram: &[u64; 256]) -> usize {
    let level = otsu(histogram);
    let mean = |from: usize, to: usize| {
        let n: u64 = histogram[from..to].iter().sum();
        let sum: u64 = (from..to).map(|v| v as u64 * histogram[v]).sum();
        sum as f64 / n.max(1) as f64
    };
    let (low, high) = (mean(0, level + 1), mean(level + 1, 256));
    (low + 0.25 * (high - low)).max(0.0) as usize
}

/// The level that separates a histogram into two classes with the largest variance between them
/// (Otsu, 1979): the first belongs to the lower class up to and including that level.
fn otsu(histogram: &[u64; 256]) -> usize {
    let total: u64 = histogram.iter().sum();
    let moment: u64 = histogram.iter().enumerate().map(|(v, &n)| v as u64 * n).sum();
    let (mut below, mut sum) = (0u64, 0u64);
    let mut best = (0.0, 0);
    for (level, &n) in histogram.iter().enumerate() {
        below += n;
        sum += level as u64 * n;
        let above = total - below;
        if below == 0 || above == 0 {
            continue;
        }
        let apart = sum as f64 / below as f64 - (moment - sum) as f64 / above as f64;
        let between = below as f64 * above as f64 * apart * apart;
        if between > best.0 {
            best = (between, level);
        }
    }
    best.1
}

/// Sums over squares of 2 · radius + 1 pixels about each pixel, cut off at the border.
fn box_sums(values: &[u32], width: usize, radius: usize) -> Vec<u64> {
    let height = values.len() / width;
    // Sums of all pixels above and to the left.
    let stride = width + 1;
    let mut corner = vec![0u64; stride * (height + 1)];
    for y in 0..height {
        let mut row = 0;
        for x in 0..width {
            row += u64::from(values[y * width + x]);
            corner[(y + 1) * stride + x + 1] = corner[y * stride + x + 1] + row;
        }
    }
    let mut out = Vec::with_capacity(values.len());
    for y in 0..height {
        let (top, bottom) = (y.saturating_sub(radius), (y + radius + 1).min(height));
        for x in 0..width {
            let (left, right) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            out.push(
                corner[bottom * stride + right] + corner[top * stride + left]
                    - corner[top * stride + right]
                    - corner[bottom * stride + left],
            );
        }
    }
    out
}

/// Turns connected regions of `value` with fewer than `size` pixels into the other value; regions
/// of background that touch the border are no holes and stay.
fn switch_small(mask: &mut Mask, value: bool, size: usize) {
    let (width, height) = (mask.width, mask.height);
    let mut seen = vec![false; mask.tissue.len()];
    let mut region = Vec::new();
    for start in 0..seen.len() {
        if seen[start] || mask.tissue[start] != value {
            continue;
        }
        region.clear();
        region.push(start);
        seen[start] = true;
        let mut next = 0;
        let mut at_border = false;
        while let Some(&i) = region.get(next) {
            next += 1;
            let (x, y) = (i % width, i / width);
            at_border |= x == 0 || y == 0 || x + 1 == width || y + 1 == height;
            let neighbours = [
                (x > 0).then(|| i - 1),
                (x + 1 < width).then(|| i + 1),
                (y > 0).then(|| i - width),
                (y + 1 < height).then(|| i + width),
            ];
            for j in neighbours.into_iter().flatten() {
                if !seen[j] && mask.tissue[j] == value {
                    seen[j] = true;
                    region.push(j);
                }
            }
        }
        if region.len() < size && (value || !at_border) {
            region.iter().for_each(|&i| mask.tissue[i] = !value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 × 80 pixels of `glass` with a disc of stain of radius 25 around (50, 40), in which a
    /// hole of radius 2 and a lake of radius 12 are glass, and a speck of stain in a corner.
    fn slide(glass: [u8; 3]) -> Image {
        let near =
            |x: i32, y: i32, cx: i32, cy: i32, r: i32| (x - cx).pow(2) + (y - cy).pow(2) <= r * r;
        let pixel = |i: i32| {
            let (x, y) = (i % 100, i / 100);
            let hole = near(x, y, 35, 40, 2) || near(x, y, 55, 40, 12);
            let stain = near(x, y, 50, 40, 25) && !hole || near(x, y, 5, 5, 1);
            if stain { [150, 80, 160] } else { glass }
        };
        Image::new(100, 80, (0..8000).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn stain_is_tissue_and_small_holes_and_specks_are_not() {
        let mask = tissue_mask(&slide([235, 225, 238])).unwrap();
        // In the ring of tissue, in the small hole, in the lake, on the speck, on glass.
        let found = [(30, 40), (35, 40), (55, 40), (5, 5), (90, 70)].map(|(x, y)| mask.get(x, y));
        assert_eq!(found, [true, true, false, false, false]);
        assert!(!mask.get(100, 0) && !mask.get(0, 80));
        let (x, y, w, h) = mask.bounding_box().unwrap();
        assert!(x.abs_diff(25) <= 1 && y.abs_diff(15) <= 1, "{x} {y}");
        assert!(w.abs_diff(51) <= 2 && h.abs_diff(51) <= 2, "{w} {h}");
    }

    #[test]
    fn blackened_background_is_not_tissue() {
        // Round the tissue a rim of glass, then black.
        let mut image = slide([235, 225, 238]);
        for (i, p) in image.pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % 100) as i32 - 50, (i / 100) as i32 - 40);
            if x * x + y * y > 30 * 30 {
                p.fill(0);
            }
        }
        let bright = tissue_mask(&slide([235, 225, 238])).unwrap();
        let black = tissue_mask(&image).unwrap();
        let differ = black.tissue.iter().zip(&bright.tissue).filter(|(a, b)| a != b).count();
        assert!(differ < 40, "{differ} pixels differ");
        assert!(!black.get(2, 40) && !black.get(99, 79) && black.get(30, 40));
        // Without a rim of glass too.
        let black = tissue_mask(&slide([0, 0, 0])).unwrap();
        assert!(black.get(30, 40) && !black.get(90, 70));
    }

    #[test]
    fn a_picture_of_one_kind_is_not_cut_in_two() {
        let flat = |v: [u8; 3]| {
            let noise = |i: usize| v.map(|c| c - (crate::rng::at(1, i as u64) % 8) as u8);
            Image::new(60, 60, (0..3600).flat_map(noise).collect()).unwrap()
        };
        assert_eq!(tissue_mask(&flat([243, 240, 245])).unwrap().fraction(), 0.0);
        assert_eq!(tissue_mask(&flat([150, 80, 160])).unwrap().fraction(), 1.0);
        assert_eq!(tissue_mask(&flat([8, 8, 8])).unwrap().bounding_box(), None);
        assert_eq!(tissue_mask(&Image::new(1, 1, vec![255; 3]).unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        let e = tissue_mask(&Image::new(0, 7, vec![]).unwrap()).unwrap_err().to_string();
        assert!(e.contains("0 × 7 pixels"), "{e}");
    }

    #[test]
    fn otsu_separates_two_classes() {
        let mut histogram = [0; 256];
        (10..20).for_each(|v| histogram[v] = 100);
        (90..130).for_each(|v| histogram[v] = 20);
        // Every level between them separates alike; the first of those counts.
        assert_eq!(otsu(&histogram), 19);
        // Means of 14.5 and 109.5.
        assert_eq!(quarter(&histogram), 38);
    }
}
