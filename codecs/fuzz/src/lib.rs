//! Fuzz targets of `tickcast-codecs`; their bodies are also replayed on stable by `tests/corpus.rs`.

pub mod targets;
