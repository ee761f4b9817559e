//! [`check_layout`]: which of the two arrangements of attention a checkpoint was trained with.

use super::config::AttentionLayout;
use super::embed::Embed;
use super::network::SpatialFormer;
use super::training::TrainingBatch;
use crate::anndata::AnnData;
use crate::error::Result;
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::rng::Rng;
use ndarray::Axis;
use std::fmt;

/// Cells that are looked at, and genes of each at most.
const CELLS: usize = 48;
const GENES: usize = 200;
/// How much lower the loss of the right arrangement is at least, to be told from chance.
const CLEAR: f64 = 0.1;

/// What [`check_layout`] found: the cross-entropy of hidden genes with each arrangement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayoutCheck {
    /// With [`AttentionLayout::PerHead`].
    pub per_head: f64,
    /// With [`AttentionLayout::Flash`].
    pub flash: f64,
    /// That of the network as it was loaded.
    pub loaded: AttentionLayout,
}

impl LayoutCheck {
    /// The arrangement that guesses hidden genes clearly better, if one does. A network that has learnt
    /// nothing, or tissue unlike all it has seen, tells nothing.
    pub fn better(&self) -> Option<AttentionLayout> {
        match self.flash - self.per_head {
            d if d > CLEAR => Some(AttentionLayout::PerHead),
            d if d < -CLEAR => Some(AttentionLayout::Flash),
            _ => None,
        }
    }
}

impl fmt::Display for LayoutCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LayoutCheck { per_head, flash, loaded } = self;
        write!(
            f,
            "hidden genes: {per_head:.3} per head, {flash:.3} flash; loaded as {loaded:?}: "
        )?;
        match self.better() {
            None => write!(f, "nothing speaks for either"),
            Some(layout) if layout == *loaded => write!(f, "right"),
            Some(layout) => write!(f, "wrong, load it with `Load::attention({layout:?})`"),
        }
    }
}

impl Rich for LayoutCheck {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
shows_itself!(LayoutCheck);

/// Hides genes of some cells and lets the network guess them with both arrangements of attention, since
/// nothing in a file of weights tells which one it was trained with.
///
/// # Errors
/// Those of [`embed`](super::embed).
pub fn check_layout(
    adata: &AnnData,
    model: &SpatialFormer,
    options: &Embed,
) -> Result<LayoutCheck> {
    let step = adata.n_obs().div_ceil(CELLS).max(1);
    let some: Vec<usize> = (0..adata.n_obs()).step_by(step).collect();
    let options = options.clone().at_most(GENES);
    let sequences = options.tokens(&adata.take_obs(&some), model)?;
    let batch = TrainingBatch { sequences, ..TrainingBatch::default() };
    let separator = model.vocabulary()?.separator();
    let hidden = batch.hide(0.15, separator, model.config().tokens, &mut Rng::new(0));
    let mut seen = batch.sequences.clone();
    seen.tokens.clone_from(&hidden.tokens);
    let rows: Vec<usize> = (0..hidden.selected.len()).filter(|&i| hidden.selected[i]).collect();
    let loss = |layout: AttentionLayout| -> Result<f64> {
        let states = model.with_layout(layout).all_states(&seen)?.select(Axis(0), &rows);
        let logits = model.masked_logits(states.view())?;
        let of = |(row, &at): (ndarray::ArrayView1<f32>, &usize)| {
            let largest = row.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let sum: f64 = row.iter().map(|&v| f64::from(v - largest).exp()).sum();
            let truth = row[batch.sequences.tokens[at] as usize];
            sum.ln() - f64::from(truth - largest)
        };
        Ok(logits.rows().into_iter().zip(&rows).map(of).sum::<f64>() / rows.len().max(1) as f64)
    };
    Ok(LayoutCheck {
        per_head: loss(AttentionLayout::PerHead)?,
        flash: loss(AttentionLayout::Flash)?,
        loaded: model.config().attention,
    })
}
