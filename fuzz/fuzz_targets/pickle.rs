//! Any bytes as a PyTorch file, zipped or as before 1.6.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::weights::FileFormat;

fuzz_target!(|bytes: &[u8]| {
    x2i_fuzz::read(bytes, &[FileFormat::PickleZip, FileFormat::PickleLegacy]);
});
