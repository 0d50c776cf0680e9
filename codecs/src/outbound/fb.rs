//! FlatBuffers.
