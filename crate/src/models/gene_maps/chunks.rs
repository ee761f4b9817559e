//! The cut of spots into chunks, which go through a network together.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use ndarray::{ArrayView2, ArrayView3, s};
use std::ops::Range;

/// Sizes of the chunks of `n` spots, in order: as many chunks as hold at most `most` spots each, of equal
/// size but for one spot more in the first ones; `numpy.array_split(spots, ceil(n / most))`.
pub fn chunk_sizes(n: usize, most: usize) -> Vec<usize> {
    let count = n.div_ceil(most.max(1));
    (0..count).map(|c| n / count + usize::from(c < n % count)).collect()
}

/// The spots of each chunk.
fn ranges(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    chunk_sizes(n, most).into_iter().scan(0, |start, size| {
        let range = *start..*start + size;
        *start = range.end;
        Some(range)
    })
}

/// Spots that go through a network together.
pub(crate) struct Chunk {
    /// `[spots, scales, features]`.
    pub features: Tensor,
    /// Column and row of the array of each spot.
    pub centers: Vec<[f64; 2]>,
    /// `[spots, genes]`, for training.
    pub target: Option<Tensor>,
}

impl Chunk {
    /// The expression of its spots.
    pub fn target(&self) -> Result<&Tensor> {
        let missing = || Error::data("a chunk", "has no expression to learn from");
        self.target.as_ref().ok_or_else(missing)
    }

    /// All chunks of spots × scales × width features, with their positions and, for training, their
    /// expression.
    pub fn all(
        features: ArrayView3<f32>,
        centers: &[[f64; 2]],
        target: Option<ArrayView2<f32>>,
        most: usize,
        device: &Device,
    ) -> Result<Vec<Chunk>> {
        let (n, scales, width) = features.dim();
        let chunk = |spots: Range<usize>| -> Result<Chunk> {
            let count = spots.len();
            let values = features.slice(s![spots.clone(), .., ..]).iter().copied().collect();
            let values: Vec<f32> = values;
            let target = match target {
                Some(target) => {
                    let rows: Vec<f32> =
                        target.slice(s![spots.clone(), ..]).iter().copied().collect();
                    let shape = (count, target.ncols());
                    Some(Tensor::from_vec(rows, shape, &Device::Cpu)?.to_device(device)?)
                }
                None => None,
            };
            Ok(Chunk {
                features: Tensor::from_vec(values, (count, scales, width), &Device::Cpu)?
                    .to_device(device)?,
                centers: centers[spots].to_vec(),
                target,
            })
        };
        ranges(n, most).map(chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_as_numpys_array_split() {
        for (n, sizes) in [
            (0, vec![]),
            (1, vec![1]),
            (50, vec![50]),
            (51, vec![26, 25]),
            (101, vec![34, 34, 33]),
            (137, vec![46, 46, 45]),
        ] {
            assert_eq!(chunk_sizes(n, 50), sizes);
        }
        let sizes = chunk_sizes(3460, 50);
        assert_eq!(
            (sizes.len(), sizes.iter().sum::<usize>(), sizes[30], sizes[29]),
            (70, 3460, 49, 50)
        );
        let cut: Vec<_> = ranges(101, 50).collect();
        assert_eq!(cut, [0..34, 34..68, 68..101]);
    }
}
