//! Published methods. A model never draws.

pub mod encoder;
pub mod histosge;
pub mod spamcaf;
pub mod stamgc;
pub mod vit;

pub use stamgc::{Preset, Stamgc, StamgcFit};
pub use vit::{Vit, VitConfig};
