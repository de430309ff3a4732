//! Sound on the host: mono, 16 kHz, as the speech encoders hear it.
//!
//! Left out: file formats and resampling (`native`, the browser).

pub mod log_mel;

use crate::error::{Error, Result};

/// A sound of one channel at [`SAMPLE_RATE`](Self::SAMPLE_RATE).
#[derive(Clone, PartialEq)]
pub struct Audio {
    samples: Vec<f32>,
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
        Ok(Self { samples })
    }

    /// The samples, in order.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// How long it lasts.
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
}
