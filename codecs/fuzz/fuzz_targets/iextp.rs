//! See `targets_iex.rs`.
#![no_main]

#[path = "../src/targets_iex.rs"]
#[allow(dead_code)] // one target a binary
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::iextp(data));
