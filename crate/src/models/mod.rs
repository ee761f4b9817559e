//! Published methods. A model never draws.

pub mod stamgc;
