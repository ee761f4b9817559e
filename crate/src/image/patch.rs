//! [`Patches`]: square windows of a slide's picture around positions, read in the order of the file.
//!
//! ```text
//! positions ─> corners ─> sorted by rows of tiles ─> batches ─ threads ─> (indices, patches)
//! ```

use super::{Border, Image, SlideImage};
use crate::error::{Error, Result};
use crate::progress::Progress;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Square patches of a picture, one for each position; see [`SlideImage::patches`].
#[derive(Debug, Clone)]
pub struct Patches {
    slide: SlideImage,
    size: usize,
    border: Border,
    /// The top left pixel of each.
    corners: Vec<(i64, i64)>,
    /// Their order in the file.
    order: Vec<usize>,
}

impl SlideImage {
    /// A patch of `size × size` pixels for each row (x, y) of `centers`, in pixels of this picture.
    ///
    /// A position is truncated to whole pixels, as Python's `int`; the patch begins `size / 2`
    /// (rounded down) to the left of it and above it: `img[y - size // 2 : y - size // 2 + size, …]`.
    /// Nothing is read yet.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `centers` has two columns, [`Error::Parameter`] when `size` is 0,
    /// [`Error::Data`] when positions are not finite, when patches lie wholly off the picture (then
    /// positions and picture are hardly of the same resolution), or when they stick out and `border`
    /// is [`Border::Error`].
    pub fn patches(
        &self,
        centers: ArrayView2<f64>,
        size: usize,
        border: Border,
    ) -> Result<Patches> {
        if centers.ncols() != 2 {
            return Err(Error::shape("centers", "n × 2 (x, y)", format!("{:?}", centers.shape())));
        }
        if size == 0 {
            return Err(Error::parameter("size", size, "must be at least 1 pixel"));
        }
        if let Some(i) = centers.outer_iter().position(|c| !c.iter().all(|v| v.is_finite())) {
            let reason = format!("row {i} is ({}, {})", centers[[i, 0]], centers[[i, 1]]);
            return Err(Error::data("centers", reason));
        }
        let first = |center: f64| (center as i64).saturating_sub_unsigned(size as u64 / 2);
        let corners: Vec<_> = centers.outer_iter().map(|c| (first(c[0]), first(c[1]))).collect();

        // Of a side: whether a patch misses the picture, and whether it sticks out.
        let end = |start: i64| start.saturating_add_unsigned(size as u64);
        let misses = |start: i64, side: usize| end(start) <= 0 || start >= side as i64;
        let sticks = |start: i64, side: usize| start < 0 || end(start) > side as i64;
        let (width, height) = (self.width(), self.height());
        let complain = |what: &str, hint: &str, is_bad: &dyn Fn(i64, usize) -> bool| {
            let bad = |&i: &usize| is_bad(corners[i].0, width) || is_bad(corners[i].1, height);
            let mut found = (0..corners.len()).filter(bad);
            let Some(i) = found.next() else { return Ok(()) };
            let reason = format!(
                "{} of {} patches of {size} × {size} pixels {what} the picture of {width} × \
                 {height} pixels, the first that of row {i} around ({}, {}); {hint}",
                1 + found.count(),
                corners.len(),
                centers[[i, 0]],
                centers[[i, 1]],
            );
            Err(Error::data("centers", reason))
        };
        let hint = "positions and picture may be of different resolutions: check the scale factor";
        complain("lie wholly off", hint, &misses)?;
        if border == Border::Error {
            complain("stick out of", "use another `Border` or leave them out", &sticks)?;
        }
        let rows = self.rows_together() as i64;
        let mut order: Vec<usize> = (0..corners.len()).collect();
        order.sort_by_key(|&i| (corners[i].1.div_euclid(rows), corners[i]));
        Ok(Patches { slide: self.clone(), size, border, corners, order })
    }
}

impl Patches {
    /// Number of patches.
    pub fn len(&self) -> usize {
        self.corners.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.corners.is_empty()
    }

    /// Pixels of a side.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The patch of row `index`. With [`Border::Slice`] it may be smaller than the others, or empty.
    ///
    /// # Errors
    /// [`Error::Parameter`] when there is no such row, [`Error::Format`] where the file is damaged.
    pub fn get(&self, index: usize) -> Result<Image> {
        let Some(&(x, y)) = self.corners.get(index) else {
            let reason = format!("there are {} patches", self.len());
            return Err(Error::parameter("index", index, reason));
        };
        self.slide.window(x, y, self.size, self.size, self.border)
    }

    /// Calls `consume` with `batch` patches at a time (fewer at the end) and the rows of `centers`
    /// that they belong to. They come in the order of the file, so that each of its tiles is decoded
    /// about once; threads share the decoding of a batch. Memory: a batch, and what the picture keeps.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `batch` is 0, [`Error::Format`] where the file is damaged,
    /// [`Error::Interrupted`], and those of `consume`.
    pub fn for_each_batch(
        &self,
        batch: usize,
        mut consume: impl FnMut(&[usize], &[Image]) -> Result<()>,
    ) -> Result<()> {
        if batch == 0 {
            return Err(Error::parameter("batch", batch, "must be at least 1"));
        }
        let mut progress = Progress::new("Patches", self.len() as u64);
        for rows in self.order.chunks(batch) {
            consume(rows, &self.read(rows)?)?;
            progress.tick(rows.len() as u64)?;
        }
        progress.finish();
        Ok(())
    }

    /// All patches, in the order of the rows of `centers`.
    ///
    /// # Errors
    /// [`Error::Format`] where the file is damaged, [`Error::Interrupted`].
    pub fn to_images(&self) -> Result<Vec<Image>> {
        let mut out = vec![None; self.len()];
        for rows in self.order.chunks(256) {
            for (&row, patch) in rows.iter().zip(self.read(rows)?) {
                out[row] = Some(patch);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// The patches of some rows, decoded by all threads.
    fn read(&self, rows: &[usize]) -> Result<Vec<Image>> {
        crate::progress::check_interrupt()?;
        let patches: Vec<Result<Image>> = rows.par_iter().map(|&i| self.get(i)).collect();
        // The first error in their order, whichever thread was the first.
        patches.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng;
    use ndarray::{Array2, array};

    fn slide(width: usize, height: usize) -> SlideImage {
        let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, 7];
        let pixels = (0..width * height).flat_map(pixel).collect();
        SlideImage::from_image(Image::new(width, height, pixels).unwrap())
    }

    #[test]
    fn a_patch_lies_around_its_position_as_published_code_cuts_it() {
        let slide = slide(100, 80);
        // left = int(x) - 50 // 2 and so on, by hand.
        let centers = array![[50.0, 40.0], [50.9, 40.9], [25.0, 25.0], [75.0, 55.0]];
        let patches = slide.patches(centers.view(), 50, Border::Error).unwrap();
        let corners: Vec<_> =
            patches.to_images().unwrap().iter().map(|p| (p.get(0, 0), p.get(49, 49))).collect();
        let at = |x, y| ([x, y, 7], [x + 49, y + 49, 7]);
        assert_eq!(corners, [at(25, 15), at(25, 15), at(0, 0), at(50, 30)]);
        let odd = slide.patches(array![[10.0, 20.0]].view(), 5, Border::Error).unwrap();
        assert_eq!(odd.get(0).unwrap().get(0, 0), [8, 18, 7]);
        assert!(odd.get(1).is_err());
    }

    #[test]
    fn slices_over_the_near_edges_are_empty_and_over_the_far_edges_cut() {
        let slide = slide(100, 80);
        let centers = array![[24.0, 40.0], [80.0, 40.0]];
        let patches =
            slide.patches(centers.view(), 50, Border::Slice).unwrap().to_images().unwrap();
        let sizes: Vec<_> = patches.iter().map(|p| (p.width, p.height)).collect();
        assert_eq!(sizes, [(0, 50), (45, 50)]);
    }

    #[test]
    fn batches_give_every_patch_once_under_its_row_with_any_number_of_threads() {
        let slide = slide(251, 1000);
        let place = |(i, j)| (rng::at(3, 2 * i as u64 + j as u64) % [251, 1000][j]) as f64;
        let centers = Array2::from_shape_fn((157, 2), place);
        let patches = slide.patches(centers.view(), 9, Border::Reflect).unwrap();
        let one_by_one: Vec<_> = (0..157).map(|i| patches.get(i).unwrap()).collect();
        let batches = same_with_any_threads(|| {
            let (mut seen, mut tops) = (vec![], vec![]);
            let mut consume = |rows: &[usize], images: &[Image]| {
                assert!(rows.len() == images.len() && (rows.len() == 10 || rows.len() == 7));
                for (&row, image) in rows.iter().zip(images) {
                    assert_eq!(*image, one_by_one[row]);
                    tops.push((centers[[row, 1]] as i64 - 4).div_euclid(256));
                }
                seen.extend_from_slice(rows);
                Ok(())
            };
            patches.for_each_batch(10, &mut consume).unwrap();
            assert!(tops.is_sorted(), "in the order of the file");
            seen
        });
        let mut sorted = batches;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..157).collect::<Vec<_>>());
        assert_eq!(patches.to_images().unwrap(), one_by_one);
    }

    #[test]
    fn an_error_of_the_consumer_ends_the_batches() {
        let slide = slide(20, 20);
        let patches =
            slide.patches(Array2::from_elem((9, 2), 9.0).view(), 3, Border::Error).unwrap();
        let mut calls = 0;
        let result = patches.for_each_batch(2, |_, _| {
            calls += 1;
            Err(Error::Interrupted)
        });
        assert!(matches!(result, Err(Error::Interrupted)) && calls == 1);
        assert!(patches.for_each_batch(0, |_, _| Ok(())).is_err());
        let none = slide.patches(Array2::zeros((0, 2)).view(), 3, Border::Error).unwrap();
        assert!(none.is_empty() && none.for_each_batch(2, |_, _| panic!("no patch")).is_ok());
    }

    #[test]
    fn positions_that_do_not_fit_the_picture_are_named() {
        let slide = slide(100, 80);
        let message = |centers: Array2<f64>, size, border| {
            slide.patches(centers.view(), size, border).unwrap_err().to_string()
        };
        let far = array![[10.0, 10.0], [400.0, 10.0], [10.0, -30.0]];
        let e = message(far, 50, Border::default());
        assert!(
            e.contains("2 of 3 patches of 50 × 50 pixels lie wholly off the picture of 100 × 80"),
            "{e}"
        );
        assert!(e.contains("row 1 around (400, 10)") && e.contains("scale factor"), "{e}");
        let e = message(array![[50.0, 40.0], [10.0, 10.0]], 50, Border::Error);
        assert!(
            e.contains("1 of 2 patches") && e.contains("stick out") && e.contains("row 1"),
            "{e}"
        );
        let e = message(array![[50.0, f64::NAN]], 50, Border::default());
        assert!(e.contains("row 0 is (50, NaN)"), "{e}");
        let e = message(array![[1.0, 2.0, 3.0]], 50, Border::default());
        assert!(e.contains("n × 2"), "{e}");
        assert!(message(array![[1.0, 2.0]], 0, Border::default()).contains("size = 0"));
        assert!(message(array![[1e300, 2.0]], 50, Border::default()).contains("wholly off"));
    }
}
