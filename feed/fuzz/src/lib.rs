//! The bodies of the fuzz targets; the crate's own tests run them over the corpus.

pub mod targets;
