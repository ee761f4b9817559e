//! Tools and metrics, as scanpy's `tl`.
