//! Events made of any bytes, against the naive reference and replicas: the body is that of the property tests.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    common::run_bytes(data);
});
