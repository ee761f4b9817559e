//! Stores made here.
