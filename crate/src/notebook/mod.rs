//! Rich display and the channel to the kernel.
