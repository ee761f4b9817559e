//! What a run is about: which spots train, which of them each network sees, and what is predicted.

use super::grid::{Dense, Grid};
use super::settings::{Settings, Task};
use crate::error::{Error, Result};
use crate::rng::Rng;
use ndarray::ArrayView2;

/// What the spots and points of a run are.
pub(super) struct Plan {
    /// The spots that train, rising.
    pub training: Vec<usize>,
    /// What is predicted.
    pub points: Dense,
}

impl Plan {
    pub fn new(settings: &Settings, centers: &[[f64; 2]], pixels: ArrayView2<f64>) -> Result<Plan> {
        let n = centers.len();
        match settings.task {
            Task::Recovery { train } => {
                let count = ((n as f64 * train) as usize).min(n);
                if count == 0 {
                    let reason = format!("leaves none of {n} spots to train on");
                    return Err(Error::parameter("train", train, reason));
                }
                let mut order: Vec<usize> = (0..n).collect();
                Rng::stream(settings.seed, "recovery").shuffle(&mut order);
                order.truncate(count);
                order.sort_unstable();
                let points = Dense {
                    centers: centers.to_vec(),
                    pixels: pixels.to_owned(),
                    source: (0..n).collect(),
                    is_spot: vec![true; n],
                };
                Ok(Plan { training: order, points })
            }
            Task::Generation { factor, grid, published_pixels } => {
                let points = if published_pixels {
                    Dense::published_pixels(centers, pixels, factor)?
                } else {
                    let grid = grid.unwrap_or_else(|| Grid::detect(centers));
                    Dense::new(centers, pixels, grid, factor)?
                };
                Ok(Plan { training: (0..n).collect(), points })
            }
        }
    }
}

/// The spots of one network, as positions among those that train.
pub(super) struct Member {
    pub training: Vec<usize>,
    pub unseen: Vec<usize>,
}

/// One network that learns from all of `n` spots, or one for each fold of them, which it does not see.
pub(super) fn members(n: usize, folds: usize, seed: u64) -> Result<Vec<Member>> {
    if folds == 0 {
        return Ok(vec![Member { training: (0..n).collect(), unseen: Vec::new() }]);
    }
    if folds == 1 || folds > n {
        let reason = format!("must be 0, for none, or 2 to the {n} spots that train");
        return Err(Error::parameter("folds", folds, reason));
    }
    let mut order: Vec<usize> = (0..n).collect();
    Rng::stream(seed, "folds").shuffle(&mut order);
    let mut fold = vec![0; n];
    order.iter().enumerate().for_each(|(place, &i)| fold[i] = place % folds);
    let member = |k: usize| {
        let (unseen, training) = (0..n).partition(|&i| fold[i] == k);
        Member { training, unseen }
    };
    Ok((0..folds).map(member).collect())
}
