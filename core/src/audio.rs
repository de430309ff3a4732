//! Sound on the host: mono, 16 kHz, as speech encoders read it.
//!
//! Not here: file formats (the native engine, the browser).

pub mod log_mel;
pub mod resample;

use std::ops::RangeInclusive;
use std::sync::Arc;

use self::resample::Resampler;
use crate::error::{Error, Result};

/// Samples a second that a sound may have before it is resampled.
const SAMPLE_RATES: RangeInclusive<usize> = 1000..=768_000;

/// Samples that are resampled at a time: places between them are counted in 32 bits in a browser.
const PIECE: usize = 1 << 14;

/// Says what is wrong with so many samples a second.
///
/// # Errors
/// The reason, for a message about the sound.
pub fn check_rate(rate: usize) -> Result<(), String> {
    let (least, most) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
    match SAMPLE_RATES.contains(&rate) {
        true => Ok(()),
        false => Err(format!(
            "has {rate} samples a second; between {least} and {most} are read"
        )),
    }
}

/// A sound of one channel at [`SAMPLE_RATE`](Self::SAMPLE_RATE); clones share its samples.
#[derive(Clone, PartialEq)]
pub struct Audio {
    samples: Arc<Vec<f32>>,
}

impl Audio {
    /// Samples a second.
    pub const SAMPLE_RATE: usize = 16_000;

    /// A sound of `samples` in -1..1.
    ///
    /// # Errors
    /// [`Error::Audio`] when there are none, or one is no number.
    pub fn new(samples: Vec<f32>) -> Result<Self> {
        if samples.is_empty() {
            return Err(Error::audio("audio", "has no samples"));
        }
        if samples.iter().any(|sample| !sample.is_finite()) {
            return Err(Error::audio("audio", "has samples that are no numbers"));
        }
        Ok(Self {
            samples: Arc::new(samples),
        })
    }

    /// A sound of `samples`, `rate` of them a second, as `librosa.load(sr=16000)` resamples it.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a rate that is too low or too high.
    pub fn resampled(samples: Vec<f32>, rate: usize) -> Result<Self> {
        check_rate(rate).map_err(|reason| Error::audio("audio", reason))?;
        if rate == Self::SAMPLE_RATE || samples.is_empty() {
            return Self::new(samples);
        }
        let mut resampler = Resampler::new(rate, Self::SAMPLE_RATE);
        let mut output = vec![];
        for piece in samples.chunks(PIECE) {
            resampler.push(piece, &mut output);
        }
        resampler.finish(&mut output);
        // librosa fills up to the length that it expects.
        let length = (samples.len() as u64 * Self::SAMPLE_RATE as u64).div_ceil(rate as u64);
        output.resize(usize::try_from(length).unwrap_or(usize::MAX), 0.0);
        Self::new(output)
    }

    /// The samples, in order.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / Self::SAMPLE_RATE as f64
    }
}

impl std::fmt::Debug for Audio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Audio({:.2} s)", self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_that_is_empty_or_no_number_is_refused() {
        assert!(Audio::new(vec![]).is_err());
        assert!(Audio::new(vec![0.0, f32::NAN]).is_err());
        assert_eq!(Audio::new(vec![0.0; 8000]).unwrap().seconds(), 0.5);
    }

    #[test]
    fn any_rate_becomes_sixteen_thousand_and_absurd_ones_are_refused() {
        let silence = |rate| Audio::resampled(vec![0.0; 1001], rate);
        assert_eq!(silence(16_000).unwrap().samples().len(), 1001);
        assert_eq!(silence(44_100).unwrap().samples().len(), 364); // 363.2
        assert_eq!(silence(8000).unwrap().samples().len(), 2002);
        for rate in [0, 999, 768_001, usize::MAX] {
            assert!(silence(rate).is_err(), "{rate}");
        }
        assert!(Audio::resampled(vec![], 44_100).is_err());
    }
}
