//! Fuzz targets of `tickcast-fanout`; their bodies are also replayed on stable by `tests/corpus.rs`.

#[path = "../../tests/common/mod.rs"]
pub mod common;
pub mod targets;
