#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tickcast_fanout_fuzz::targets::subscriber_ops(data));
