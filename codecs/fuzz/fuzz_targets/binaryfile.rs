#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tickcast_codecs_fuzz::targets::binaryfile(data));
