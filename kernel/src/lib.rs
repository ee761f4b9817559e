//! A Jupyter kernel for Rust notebooks with spatialkit preloaded.
//!
//! The executable plays several roles: the kernel itself ([`session`]), the process that runs
//! cells ([`child`]), the `cargo` that the evaluator calls ([`front`]), and a client that runs
//! notebooks without Jupyter ([`runner`]). Each module says in its head what lives there. They
//! know the library only through the facade and the display channel (ARCHITECTURE.md).

pub mod cache;
pub mod channel;
pub mod child;
pub mod doctor;
pub mod engine;
pub mod facade;
pub mod front;
pub mod install;
pub mod markup;
pub mod publish;
pub mod runner;
pub mod session;
pub mod transport;
pub mod wire;
