//! Any rate and samples: pieces give what the whole gives, and as many samples as were promised.
#![no_main]

use libfuzzer_sys::fuzz_target;
use x2i_core::audio::resample::Resampler;

fuzz_target!(|input: (u32, u8, Vec<i16>)| {
    let (rate, piece, samples) = input;
    let (rate, piece) = (rate as usize % 768_000 + 1, usize::from(piece) + 1);
    let samples: Vec<f32> = samples.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    let resampled = |piece: usize| {
        let (mut resampler, mut output) = (Resampler::new(rate, 16_000), vec![]);
        samples.chunks(piece).for_each(|piece| resampler.push(piece, &mut output));
        resampler.finish(&mut output);
        output
    };
    let whole = resampled(samples.len().max(1));
    assert!(whole.iter().all(|sample| sample.abs() < 8.0));
    assert_eq!(whole, resampled(piece));
    assert_eq!(whole.len(), (samples.len() * 16_000 * 2 + rate) / (rate * 2));
});
