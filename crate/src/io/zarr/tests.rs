//! Stores made here, whole and damaged.
