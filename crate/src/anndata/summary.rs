//! Text and HTML summaries.
