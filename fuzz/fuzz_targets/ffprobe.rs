//! Any text as what ffprobe answers of a video: its track as JSON, a line `--`, and its packets. What
//! it tells is used to choose frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::video::sampling::Sampling;
use x2i_engine::media::ffmpeg::answer::{self, Shown};

fuzz_target!(|bytes: &[u8]| {
    let parts = x2i_fuzz::parts(bytes);
    drop(answer::count(parts[0]));
    let mut shown = Shown::default();
    let mut lines = parts.get(1).copied().unwrap_or_default();
    while let Ok(Some(packets)) = answer::read_packets(&mut lines) {
        packets.iter().for_each(|packet| shown.add(packet));
    }
    assert!(lines.is_empty(), "{} bytes were not read", lines.len());
    let Ok(track) = answer::track(parts[0]) else {
        return;
    };
    let Ok(timeline) = shown.timeline(&track) else {
        return;
    };
    for sampling in [
        Sampling::Even { fps: 2.0 },
        Sampling::Stride { fps: 1.0, most: 64 },
    ] {
        let Ok(chosen) = sampling.choose(timeline.frames, timeline.fps) else {
            continue;
        };
        assert!(chosen.is_sorted() && chosen.last().is_some_and(|&last| last < timeline.frames));
    }
});
