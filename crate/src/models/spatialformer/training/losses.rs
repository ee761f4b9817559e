//! The three losses and their sum with learned weights (Kendall, Gal and Cipolla, 2018).
//!
//! ```text
//! total = exp(-s₁) · hidden tokens + s₁
//!       + exp(-s₂) · pairs + s₂                         (with pairs)
//!       + exp(-s₃) · genes together · scale + s₃
//! ```

use super::super::network::SpatialFormer;
use super::super::plain::Training;
use super::super::sequences::Sequences;
use super::batch::{Hidden, TrainingBatch};
use super::step::Pass;
use crate::error::{Error, Result};
use crate::nn::{Linear, Store, fused, relu};
use candle_core::backprop::GradStore;
use candle_core::{D, Tensor, Var};
use candle_nn::ops::log_softmax;
use std::collections::HashMap;

/// Focal loss: the weight of what lies together, and how much what is easy counts less.
const ALPHA: f64 = 0.25;

/// What a step lowers, and the way back from it.
pub(super) struct Loss<'a> {
    pub value: Tensor,
    model: &'a SpatialFormer,
    /// The pass that was none of candle's operations, and the states that it made.
    pass: Option<(Pass<'a>, Var)>,
}

/// The losses of a batch.
pub(super) struct Losses<'a> {
    pub total: Loss<'a>,
    pub hidden: Tensor,
    /// None where nothing is known of any cell of the batch.
    pub together: Option<Tensor>,
    pub pairs: Option<Tensor>,
}

/// What the losses are weighed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    /// Of the loss of genes that lie together, which falls in the course of training.
    pub scale: f64,
    /// Of a pair of neighbours, beside 1 of a pair of others.
    pub neighbours: f64,
}

impl SpatialFormer {
    /// The losses of a batch of which `hidden` hides some tokens.
    pub(super) fn losses<'a>(
        &'a self,
        batch: &TrainingBatch,
        hidden: &Hidden,
        weights: Weights,
        training: Option<&'a Training>,
    ) -> Result<Losses<'a>> {
        let mut seen = batch.sequences.clone();
        seen.tokens.clone_from(&hidden.tokens);
        let (states, pass) = self.trained_states(seen, training)?;
        let losses = self.losses_of(batch, hidden, weights, &states)?;
        Ok(Losses { total: Loss { pass, ..losses.total }, ..losses })
    }

    /// The cross-entropy of the classes of sequences, which a layer tells from the state of their first token.
    pub(super) fn class_loss<'a>(
        &'a self,
        sequences: Sequences,
        truth: &[u32],
        head: &Linear,
        training: &'a Training,
    ) -> Result<Loss<'a>> {
        let (states, pass) = self.trained_states(sequences, Some(training))?;
        let first = states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        let truth = Tensor::from_slice(truth, (truth.len(), 1), first.device())?;
        let likely = log_softmax(&head.plain(&first, None)?, D::Minus1)?.gather(&truth, 1)?;
        Ok(Loss { value: likely.mean_all()?.neg()?, model: self, pass })
    }

    /// The last layer's states, `[batch, length, dim]`, and the pass that made them if it was none of
    /// candle's operations.
    #[allow(clippy::type_complexity)]
    fn trained_states<'a>(
        &'a self,
        seen: Sequences,
        training: Option<&'a Training>,
    ) -> Result<(Tensor, Option<(Pass<'a>, Var)>)> {
        if let Some(training) = training.filter(|_| fused::usable(&self.embeddings)) {
            let pass = Pass::new(self, training, seen)?;
            let states = Var::from_tensor(&pass.states()?)?;
            return Ok((states.as_tensor().clone(), Some((pass, states))));
        }
        let mut passed = self.plain(&seen.padded(self.device())?, true, training, false)?;
        let states = passed.hidden.pop().ok_or_else(|| Error::data("network", "has no layer"))?;
        Ok((states, None))
    }

    /// The losses of the last layer's states, `[batch, length, dim]`.
    pub(super) fn losses_of(
        &self,
        batch: &TrainingBatch,
        hidden: &Hidden,
        weights: Weights,
        states: &Tensor,
    ) -> Result<Losses<'_>> {
        let (b, length, dim) = states.dims3()?;
        let flat = states.reshape((b * length, dim))?;

        let masked = self.hidden_loss(batch, hidden, &flat, length)?;
        let known = batch.together.iter().any(|t| !t.is_empty());
        let together = known.then(|| self.together_loss(batch, &flat, length)).transpose()?;
        let [s_together, s_hidden, s_pairs] = &self.log_sigmas;
        let weighed = |loss: &Tensor, s: &Tensor, scale: f64| -> Result<Tensor> {
            let s = s.squeeze(0)?;
            Ok(((s.neg()?.exp()? * loss)? * scale)?.add(&s)?)
        };
        let mut total = weighed(&masked, s_hidden, 1.0)?;
        if let Some(together) = &together {
            total = (total + weighed(together, s_together, weights.scale)?)?;
        }
        let mut pairs = None;
        if !batch.neighbours.is_empty() {
            let logits = self.pair_logits(&states.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?;
            let loss = pair_loss(&logits, &batch.neighbours, weights.neighbours)?;
            total = (total + weighed(&loss, s_pairs, 1.0)?)?;
            pairs = Some(loss);
        }
        let total = Loss { value: total, model: self, pass: None };
        Ok(Losses { total, hidden: masked, together, pairs })
    }

    /// The mean cross-entropy of hidden tokens.
    fn hidden_loss(
        &self,
        batch: &TrainingBatch,
        hidden: &Hidden,
        flat: &Tensor,
        length: usize,
    ) -> Result<Tensor> {
        let (mut rows, mut truth) = (Vec::new(), Vec::new());
        for (i, span) in batch.sequences.spans().into_iter().enumerate() {
            for at in span.clone().filter(|&at| hidden.selected[at]) {
                rows.push((i * length + at - span.start) as u32);
                truth.push(batch.sequences.tokens[at]);
            }
        }
        if rows.is_empty() {
            return Err(Error::data("the batch", "has no token that can be hidden"));
        }
        let n = rows.len();
        let rows = Tensor::from_vec(rows, n, flat.device())?;
        let truth = Tensor::from_vec(truth, (n, 1), flat.device())?;
        let logits = self.vocabulary_logits(&flat.index_select(&rows, 0)?)?;
        let likely = log_softmax(&logits, D::Minus1)?.gather(&truth, 1)?;
        Ok(likely.mean_all()?.neg()?)
    }

    /// The mean focal loss (Lin et al., 2017) of every two tokens of a cell, prefix and separator
    /// included.
    fn together_loss(&self, batch: &TrainingBatch, flat: &Tensor, length: usize) -> Result<Tensor> {
        let [i, j] = &self.projections;
        let (rows_i, rows_j) = (flat.matmul(&i.t()?)?, flat.matmul(&j.t()?)?);
        let (mut sum, mut count) = (None::<Tensor>, 0);
        for (row, cell) in batch.cells() {
            let n = cell.len();
            let first = row * length + cell.start;
            let logits = rows_i.narrow(0, first, n)?.matmul(&rows_j.narrow(0, first, n)?.t()?)?;
            let mut target = vec![0f32; n * n];
            for &(a, b) in &batch.together[row] {
                let (a, b) = (a as usize, b as usize);
                if cell.contains(&a) && cell.contains(&b) {
                    target[(a - cell.start) * n + b - cell.start] = 1.0;
                }
            }
            let target = Tensor::from_vec(target, (n, n), flat.device())?;
            let loss = focal(&logits, &target)?;
            count += n * n;
            sum = Some(match sum {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
        }
        let sum = sum.ok_or_else(|| Error::data("the batch", "is empty"))?;
        Ok((sum / count as f64)?)
    }
}

impl Loss<'_> {
    /// The gradients of `share` times the loss, of the parameters of `store` that `learns` names. The
    /// network's weights are those parameters or are made of them.
    pub(super) fn gradients(
        self,
        share: f64,
        store: &Store,
        learns: &dyn Fn(&str) -> bool,
    ) -> Result<HashMap<String, Tensor>> {
        let mut all: HashMap<String, Tensor> = HashMap::new();
        // No parameter is reached in two ways: there is nothing to add up.
        let insert_all = |all: &mut HashMap<_, _>, graph: &GradStore| {
            for (name, var) in store.iter().filter(|(name, _)| learns(name)) {
                if let Some(gradient) = graph.get(var.as_tensor()) {
                    all.insert(name.to_string(), gradient.detach());
                }
            }
        };
        let graph = (&self.value * share)?.backward()?;
        insert_all(&mut all, &graph);
        let Some((pass, states)) = self.pass else { return Ok(all) };
        let Some(states) = graph.get(states.as_tensor()) else { return Ok(all) };
        let weights = self.model.weights();
        // What no parameter is itself is made of others.
        let made = |name: &str| store.get(name).is_ok_and(|v| v.id() != weights[name].id());
        let wanted = |name: &str| learns(name) || made(name);
        for (name, gradient) in pass.back(states, &wanted)? {
            if !wanted(&name) {
                continue;
            }
            let weight = &weights[&name];
            let gradient = gradient.to_tensor(weight.dims())?;
            if made(&name) {
                insert_all(&mut all, &(weight * gradient)?.sum_all()?.backward()?);
            } else {
                all.insert(name, gradient);
            }
        }
        Ok(all)
    }
}

/// The sum of the focal losses of logits.
fn focal(logits: &Tensor, target: &Tensor) -> Result<Tensor> {
    let entropy = (softplus(logits)? - (logits * target)?)?;
    let p = candle_nn::ops::sigmoid(logits)?;
    // 1 - p of what is true: p - 2 p t + t.
    let wrong = ((&p + target)? - ((&p * target)? * 2.0)?)?;
    let alpha = ((target * (2.0 * ALPHA - 1.0))? + (1.0 - ALPHA))?;
    Ok((alpha * wrong.sqr()?)?.mul(&entropy)?.sum_all()?)
}

/// log(1 + exp(z)) as log(1 + exp(-|z|)) + max(z, 0), which neither overflows nor cancels.
pub(super) fn softplus(z: &Tensor) -> Result<Tensor> {
    let small = (z.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((small + relu(z)?)?)
}

/// The mean cross-entropy of pairs, neighbours counting `weight` times.
fn pair_loss(logits: &Tensor, neighbours: &[bool], weight: f64) -> Result<Tensor> {
    let n = neighbours.len();
    let device = logits.device();
    let truth: Vec<u32> = neighbours.iter().map(|&y| u32::from(y)).collect();
    let weights: Vec<f32> =
        neighbours.iter().map(|&y| if y { weight as f32 } else { 1.0 }).collect();
    let all: f32 = weights.iter().sum();
    let likely =
        log_softmax(logits, D::Minus1)?.gather(&Tensor::from_vec(truth, (n, 1), device)?, 1)?;
    let weighed = (likely.squeeze(1)? * Tensor::from_vec(weights, n, device)?)?;
    Ok((weighed.sum_all()?.neg()? / f64::from(all))?)
}
