//! Any bytes as what the ffmpeg program wrote: picture after picture, until the end or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_engine::media::ffmpeg::ppm;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(_)) = ppm::read(&mut rest) {}
});
