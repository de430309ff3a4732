//! Any bytes as an animated GIF: its blocks are walked, and what they promise is decoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_engine::media::animation::gif;
use x2i_engine::media::video::decode_gif;
use x2i_core::video::sampling::Sampling;

/// Decoding more pixels than this teaches nothing and takes long.
const MOST_PIXELS: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(facts) = gif::facts("fuzz", bytes) else { return };
    if facts.size[0] * facts.size[1] * facts.frames <= MOST_PIXELS {
        drop(decode_gif("fuzz", bytes, Sampling::Even { fps: 2.0 }));
    }
});
