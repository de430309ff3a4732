//! Any bytes as a PNG with a record: chunks, compressed text, JSON.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| drop(x2i_core::png::decode("fuzz", Cursor::new(bytes))));
