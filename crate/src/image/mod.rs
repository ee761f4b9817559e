//! Pictures: decoding, cropping and resizing.
