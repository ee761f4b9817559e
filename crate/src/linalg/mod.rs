//! Threaded numerical kernels that several modules share. Nothing here knows `AnnData`.
