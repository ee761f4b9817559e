//! candle building blocks with correct gradients.
//!
//! What lives here knows tensors, not tissue: layers, the parameter store, dropout, Adam, sparse
//! propagation, and the CPU kernels under [`fused`]. Every block has two forms that compute the
//! same thing: a fused one for `f32` on the CPU (threaded, and the same bits for any number of
//! threads), and a plain one made of candle's own operations, which runs on every other device
//! and is the oracle of the fused one's tests.
//!
//! candle's optimizers, random numbers and several of its gradients do not fit (ReLU's gradient
//! at 0 is 1 there, 0 in PyTorch; layer norm and softmax lose theirs): hence our own.

mod adam;
mod device;
pub mod fused;
mod linear;
mod losses;
mod norm;
mod sparse;
mod store;

pub use adam::{Adam, AdamConfig};
pub use device::Device;
pub use linear::{Dropout, Linear, relu, unit_rows};
pub use losses::{
    Pairs, contrastive_loss, contrastive_loss_plain, neighbour_loss, neighbour_loss_plain,
    reconstruction_loss, reconstruction_loss_plain,
};
pub use norm::{BATCH_EPSILON, BatchNorm, LayerNorm};
pub use sparse::{Adjacency, Gcn, Propagation};
pub use store::Store;
pub(crate) use store::{check_weights, to_array};

#[cfg(test)]
mod tests;
