//! spatialkit
