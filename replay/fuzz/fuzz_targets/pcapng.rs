//! See `targets.rs`.
#![no_main]

use tickcast_replay_fuzz::targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::pcapng(data));
