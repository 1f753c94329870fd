#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kubewan_core::fuzz::living(data));
