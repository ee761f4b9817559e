//! What a window has where it sticks out of the picture.

use super::super::Image;
use crate::error::{Error, Result};
use std::ops::Range;

/// What a window has where it sticks out of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// Nothing: a window that sticks out is an error.
    Error,
    /// A colour. The default is white.
    Fill([u8; 3]),
    /// The picture mirrored at its outermost pixels, which are not repeated: `numpy.pad` with
    /// `mode="reflect"`.
    Reflect,
    /// What sticks out is left off, as numpy's slice `img[y:y + height, x:x + width]` does: beyond
    /// the right and the lower edge the window is cut, but a negative start counts from the far edge,
    /// so that a window over the left or the upper edge is usually **empty** (a side of 0). Published
    /// code that slices has these patches.
    Slice,
}

impl Default for Border {
    fn default() -> Self {
        Border::Fill([255; 3])
    }
}

/// Position and size of a window.
type Window = (i64, i64, usize, usize);

/// Reads a window of a picture of `whole` size by `read`, which reads windows inside.
pub(super) fn window(
    whole: (usize, usize),
    (x, y, width, height): Window,
    border: Border,
    read: impl Fn(usize, usize, usize, usize) -> Result<Vec<u8>>,
) -> Result<Image> {
    let words = || format!("{width} × {height} at ({x}, {y})");
    let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(3));
    let Some(bytes) = bytes.filter(|&n| Vec::<u8>::new().try_reserve_exact(n).is_ok()) else {
        return Err(Error::parameter("window", words(), "is too large for the memory"));
    };
    let read = |across: &Range<usize>, down: &Range<usize>| {
        let pixels = match across.is_empty() || down.is_empty() {
            true => vec![],
            false => read(across.start, down.start, across.len(), down.len())?,
        };
        Image::new(across.len(), down.len(), pixels)
    };
    let (inner_x, inner_y) = (inside(x, width, whole.0), inside(y, height, whole.1));
    if inner_x.len() == width && inner_y.len() == height {
        return read(&inner_x, &inner_y);
    }
    match border {
        Border::Error => {
            let reason = format!("sticks out of the picture of {} × {} pixels", whole.0, whole.1);
            Err(Error::parameter("window", words(), reason))
        }
        Border::Slice => read(&slice(x, width, whole.0), &slice(y, height, whole.1)),
        Border::Fill(colour) => {
            let part = read(&inner_x, &inner_y)?;
            let mut pixels = colour.repeat(bytes / 3);
            for (i, row) in part.pixels.chunks_exact((part.width * 3).max(1)).enumerate() {
                let left = (inner_x.start as i64 - x) as usize;
                let top = (inner_y.start as i64 - y) as usize + i;
                pixels[(top * width + left) * 3..][..row.len()].copy_from_slice(row);
            }
            Image::new(width, height, pixels)
        }
        Border::Reflect if bytes == 0 => Image::new(width, height, vec![]),
        Border::Reflect => {
            let (columns, rows) = (mirrored(x, width, whole.0), mirrored(y, height, whole.1));
            let (across, down) = (spanned(&columns), spanned(&rows));
            if across.is_empty() || down.is_empty() {
                return Err(Error::parameter("window", words(), "the picture has no pixels"));
            }
            let part = read(&across, &down)?;
            let pixel = |r: usize, c: usize| part.get(c - across.start, r - down.start);
            let pixels = rows.iter().flat_map(|&r| columns.iter().flat_map(move |&c| pixel(r, c)));
            Image::new(width, height, pixels.collect())
        }
    }
}

/// The part of a side that lies in the picture; empty, at one of its ends, if none does.
fn inside(start: i64, n: usize, whole: usize) -> Range<usize> {
    let end = start.saturating_add_unsigned(n as u64);
    let clamp = |i: i64| usize::try_from(i.max(0)).unwrap_or(usize::MAX).min(whole);
    clamp(start)..clamp(end)
}

/// Python's `range(whole)[start:start + n]`.
fn slice(start: i64, n: usize, whole: usize) -> Range<usize> {
    let end = start.saturating_add_unsigned(n as u64);
    let from_end = |i: i64| if i < 0 { i.saturating_add_unsigned(whole as u64) } else { i };
    let clamp = |i: i64| usize::try_from(from_end(i).max(0)).unwrap_or(usize::MAX).min(whole);
    clamp(start)..clamp(end).max(clamp(start))
}

/// The pixel of the picture that each place of a side mirrors.
fn mirrored(start: i64, n: usize, whole: usize) -> Vec<usize> {
    let Some(last) = whole.checked_sub(1) else { return vec![] };
    if last == 0 {
        return vec![0; n];
    }
    // There and back again.
    let period = 2 * last as i128;
    let fold = |i: i128| {
        let i = i.rem_euclid(period);
        i.min(period - i) as usize
    };
    (0..n as i128).map(|i| fold(i128::from(start) + i)).collect()
}

/// The smallest range that holds all.
fn spanned(places: &[usize]) -> Range<usize> {
    match (places.iter().min(), places.iter().max()) {
        (Some(&low), Some(&high)) => low..high + 1,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_those_of_python() {
        // [list(range(10))[a:a + n] for a, n in …]: starts and lengths of Python 3.11.
        for (start, n, expected) in [
            (2, 3, 2..5),
            (8, 5, 8..10),
            (12, 5, 10..10),
            (-3, 5, 7..7),
            (-3, 2, 7..9),
            (-8, 12, 2..4),
            (-30, 5, 0..0),
            (-12, 4, 0..2),
            (i64::MAX, usize::MAX, 10..10),
        ] {
            assert_eq!(slice(start, n, 10), expected, "{start}, {n}");
        }
    }

    #[test]
    fn mirrors_are_those_of_numpy() {
        // np.pad(np.arange(4), 7, mode="reflect"), np.pad([0], 2, mode="reflect")
        assert_eq!(mirrored(-7, 18, 4), [1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]);
        assert_eq!(mirrored(-2, 5, 1), [0; 5]);
        assert!(mirrored(0, 3, 0).is_empty());
    }
}
