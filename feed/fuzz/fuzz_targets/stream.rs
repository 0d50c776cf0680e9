//! See `targets.rs`.
#![no_main]

use tickcast_feed_fuzz::targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::stream(data));
