//! Reading and writing files. No computing: what is read is what the file holds.
