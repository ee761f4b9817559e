//! Data sets that come with the library.
