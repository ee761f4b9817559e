//! Graphs of neighbouring spots and statistics on them, as squidpy's `gr`: the same names, the same
//! results.
