//! Preprocessing, as scanpy's `pp`: same names, same results.
