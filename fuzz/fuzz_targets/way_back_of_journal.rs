#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kubewan_core::fuzz::way_back_of_journal(data));
