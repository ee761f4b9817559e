//! Published methods. A model never draws.

pub mod stamgc;

pub use stamgc::{Preset, Stamgc, StamgcFit};
