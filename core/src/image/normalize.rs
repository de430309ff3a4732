//! Normalization of an image's bytes for a vision tower: `(byte / 255 - mean) / deviation`.

use std::ops::Range;

use super::{CHANNELS, Image};

/// The value of each byte of each channel.
pub(crate) struct Normalizer([[f32; 256]; CHANNELS]);

impl Normalizer {
    /// The table of a mean and a deviation of each channel in 0..1. `share` gives `byte / 255` in the
    /// reference's precision; the rest is in 32 bits.
    pub fn new(
        mean: [f64; CHANNELS],
        deviation: [f64; CHANNELS],
        share: impl Fn(u8) -> f32,
    ) -> Self {
        let row = |channel: usize| {
            let (mean, deviation) = (mean[channel] as f32, deviation[channel] as f32);
            std::array::from_fn(|byte| (share(byte as u8) - mean) / deviation)
        };
        Self(std::array::from_fn(row))
    }

    /// One channel of the pixels in `columns` of row `y`.
    pub fn line(
        &self,
        image: &Image,
        channel: usize,
        y: usize,
        columns: Range<usize>,
    ) -> impl Iterator<Item = f32> {
        let start = y * image.width();
        let pixels = (start + columns.start) * CHANNELS..(start + columns.end) * CHANNELS;
        let bytes = image.pixels()[pixels].iter().skip(channel);
        bytes
            .step_by(CHANNELS)
            .map(move |&byte| self.0[channel][usize::from(byte)])
    }
}
