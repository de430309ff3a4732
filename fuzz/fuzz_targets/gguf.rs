//! Any bytes as a GGUF file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::weights::FileFormat;

fuzz_target!(|bytes: &[u8]| x2i_fuzz::read(bytes, &[FileFormat::Gguf]));
