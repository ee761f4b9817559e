//! candle building blocks with correct gradients.
