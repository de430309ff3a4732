//! WAV files of 16 bits, one channel, 16 kHz: what the golden folder holds, and nothing else.

use x2i_core::Audio;

use crate::case::Fallible;

/// Reads the samples of a file.
pub fn read(bytes: &[u8]) -> Fallible<Audio> {
    let number = |at: usize| -> Fallible<usize> {
        let bytes = bytes.get(at..at + 4).ok_or("the WAV file ends early")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let mut chunk = 12; // behind `RIFF`, the size and `WAVE`
    loop {
        let (start, length) = (chunk + 8, number(chunk + 4)?);
        match bytes.get(chunk..chunk + 4) {
            Some(b"fmt ") => {
                // PCM of one channel; then samples a second.
                let expected = (0x0001_0001, Audio::SAMPLE_RATE);
                if (number(start)?, number(start + 4)?) != expected {
                    return Err("the WAV file is not PCM of one channel at 16 kHz".into());
                }
            }
            Some(b"data") => {
                let data = bytes
                    .get(start..start + length)
                    .ok_or("the WAV file ends early")?;
                let samples = data.chunks_exact(2);
                let sample = |pair: &[u8]| f32::from(i16::from_le_bytes([pair[0], pair[1]]));
                let samples = samples.map(|pair| sample(pair) / 32_768.0);
                return Ok(Audio::new(samples.collect())?);
            }
            _ => {}
        }
        chunk = start + length.next_multiple_of(2);
    }
}
