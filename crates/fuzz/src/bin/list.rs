//! The target of this name under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| otaria_fuzz::within_memory(env!("CARGO_BIN_NAME"), input));
