//! Whisper's log-mel spectrogram, which speech encoders read.
//!
//! Windows of 25 ms every 10 ms, powers of 201 frequencies, triangular mel filters (Slaney's scale
//! and areas), logarithms cut at 8 decades below the loudest. Source: transformers 4.49's
//! `WhisperFeatureExtractor` and `mel_filter_bank`. A clip is padded with silence to 30 s: the
//! mirror at a clip's end and the cut depend on it. Not supported: other rates and window lengths.

use std::f64::consts::TAU;

use super::Audio;

/// Samples of a window, and points of its Fourier transform.
const N_FFT: usize = 400;
/// Samples from one window to the next.
pub(crate) const HOP: usize = 160;
/// Samples of the silence that a clip is laid into.
pub(crate) const CLIP: usize = 30 * Audio::SAMPLE_RATE;
/// Frequencies from 0 to half the sampling rate.
const FREQUENCIES: usize = N_FFT / 2 + 1;
/// The transform runs as 20 transforms of 20 points: `n = 20 a + b`.
const RADIX: usize = 20;
/// Powers below are as quiet as silence.
const SILENCE: f64 = 1e-10;

/// A spectrogram, `[bins, frames]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mel {
    /// One row of frames for each mel bin.
    pub values: Vec<f32>,
    /// Frames, 100 a second.
    pub frames: usize,
}

/// Computes spectrograms; holds the tables of one number of bins.
#[derive(Debug, Clone)]
pub struct LogMel {
    window: Vec<f64>,
    /// `(cos, -sin)` of the angles `2 pi k / 400`.
    roots: Vec<[f64; 2]>,
    filters: Vec<Filter>,
}

/// A triangle over neighbouring frequencies.
#[derive(Debug, Clone)]
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

impl LogMel {
    /// The tables of `bins` mel filters between 0 and 8 kHz.
    pub fn new(bins: usize) -> Self {
        let angle = |index: usize| TAU * index as f64 / N_FFT as f64;
        let root = |index| [angle(index).cos(), -angle(index).sin()];
        Self {
            window: (0..N_FFT)
                .map(|index| 0.5 - 0.5 * angle(index).cos())
                .collect(),
            roots: (0..N_FFT).map(root).collect(),
            filters: mel_filters(bins),
        }
    }

    /// Rows of every spectrogram.
    pub fn bins(&self) -> usize {
        self.filters.len()
    }

    /// Weights of all filters, `[201, bins]`.
    pub fn filter_bank(&self) -> Vec<f32> {
        let mut bank = vec![0.0; FREQUENCIES * self.bins()];
        for (bin, filter) in self.filters.iter().enumerate() {
            for (index, &weight) in filter.weights.iter().enumerate() {
                bank[(filter.first + index) * self.bins() + bin] = weight as f32;
            }
        }
        bank
    }

    /// The spectrogram of at most 30 s of samples at 16 kHz, one frame for every 160 begun.
    ///
    /// # Panics
    /// For a longer clip.
    pub fn spectrogram(&self, samples: &[f32]) -> Mel {
        assert!(samples.len() <= CLIP, "log-mel: a clip is at most 30 s");
        let frames = samples.len().div_ceil(HOP);
        // Windows are centred, so one or two of the silence that follows hear the clip's end.
        let heard = (samples.len() + N_FFT / 2).div_ceil(HOP).min(CLIP / HOP);
        let mut logarithms = vec![0.0f64; heard * self.bins()]; // [heard, bins]
        let mut loudest = f64::NEG_INFINITY;
        for (frame, row) in logarithms.chunks_exact_mut(self.bins()).enumerate() {
            let powers = self.powers(samples, frame);
            for (filter, value) in self.filters.iter().zip(row) {
                let band = powers[filter.first..].iter().zip(&filter.weights);
                let power: f64 = band.map(|(power, weight)| power * weight).sum();
                *value = power.max(SILENCE).log10();
                loudest = loudest.max(*value);
            }
        }
        let floor = loudest - 8.0;
        let value = |bin: usize, frame: usize| {
            ((logarithms[frame * self.bins() + bin].max(floor) + 4.0) / 4.0) as f32
        };
        let rows = (0..self.bins()).flat_map(|bin| (0..frames).map(move |frame| (bin, frame)));
        Mel {
            values: rows.map(|(bin, frame)| value(bin, frame)).collect(),
            frames,
        }
    }

    /// Power of each frequency in the window around sample `160 frame`.
    fn powers(&self, samples: &[f32], frame: usize) -> [f64; FREQUENCIES] {
        let mut windowed = [0.0; N_FFT];
        for (index, (value, weight)) in windowed.iter_mut().zip(&self.window).enumerate() {
            let place = mirrored(frame * HOP + index);
            *value = weight * f64::from(samples.get(place).copied().unwrap_or(0.0));
        }
        let inner = self.inner(&windowed);
        std::array::from_fn(|frequency| {
            // Rows beyond the middle are the conjugates of those before it.
            let row = frequency % RADIX;
            let (row, sign) = match row {
                0..=10 => (row, 1.0),
                _ => (RADIX - row, -1.0),
            };
            let (mut real, mut imaginary) = (0.0, 0.0);
            let mut angle = 0;
            for &[a, b] in &inner[row] {
                let ([cos, sin], b) = (self.roots[angle], sign * b);
                real += a * cos - b * sin;
                imaginary += a * sin + b * cos;
                angle += frequency;
                if angle >= N_FFT {
                    angle -= N_FFT;
                }
            }
            real * real + imaginary * imaginary
        })
    }

    /// Transforms of every 20th value: for each of the frequencies 0 to 10, one of each offset.
    fn inner(&self, windowed: &[f64; N_FFT]) -> [[[f64; 2]; RADIX]; RADIX / 2 + 1] {
        std::array::from_fn(|frequency| {
            let mut sums = [[0.0; 2]; RADIX];
            for (step, values) in windowed.chunks_exact(RADIX).enumerate() {
                let [cos, sin] = self.roots[step * frequency % RADIX * RADIX];
                for (sum, value) in sums.iter_mut().zip(values) {
                    sum[0] += value * cos;
                    sum[1] += value * sin;
                }
            }
            sums
        })
    }
}

/// The sample at a place of the 30 s that are mirrored by half a window at both ends.
fn mirrored(place: usize) -> usize {
    let place = place.abs_diff(N_FFT / 2);
    match place {
        _ if place < CLIP => place,
        _ => 2 * (CLIP - 1) - place,
    }
}

/// Triangles between `bins + 2` points, evenly apart on the mel scale, each of area 1.
fn mel_filters(bins: usize) -> Vec<Filter> {
    let highest = Audio::SAMPLE_RATE as f64 / 2.0;
    let step = hertz_to_mel(highest) / (bins + 1) as f64;
    let corner = |index: usize| mel_to_hertz(step * index as f64);
    let hertz = |index: usize| highest * index as f64 / (FREQUENCIES - 1) as f64;
    let filter = |bin: usize| {
        let [left, middle, right] = [0, 1, 2].map(|offset| corner(bin + offset));
        let height = 2.0 / (right - left);
        let weight = |index| {
            let rising = (hertz(index) - left) / (middle - left);
            let falling = (right - hertz(index)) / (right - middle);
            rising.min(falling).max(0.0) * height
        };
        let first = (0..FREQUENCIES)
            .find(|&index| weight(index) > 0.0)
            .unwrap_or(0);
        let weights = (first..FREQUENCIES)
            .map(weight)
            .take_while(|&weight| weight > 0.0);
        Filter {
            first,
            weights: weights.collect(),
        }
    };
    (0..bins).map(filter).collect()
}

/// Slaney's scale is linear up to here, then logarithmic.
const KNEE_HERTZ: f64 = 1000.0;
const KNEE_MEL: f64 = 15.0;
const HERTZ_PER_MEL: f64 = KNEE_HERTZ / KNEE_MEL;

/// Mels of a factor e above the knee.
fn mels_per_fold() -> f64 {
    27.0 / 6.4f64.ln()
}

fn hertz_to_mel(hertz: f64) -> f64 {
    match hertz < KNEE_HERTZ {
        true => hertz / HERTZ_PER_MEL,
        false => KNEE_MEL + (hertz / KNEE_HERTZ).ln() * mels_per_fold(),
    }
}

fn mel_to_hertz(mel: f64) -> f64 {
    match mel < KNEE_MEL {
        true => mel * HERTZ_PER_MEL,
        false => KNEE_HERTZ * ((mel - KNEE_MEL) / mels_per_fold()).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum that a Fourier transform is, term by term.
    fn naive_powers(windowed: impl Fn(usize) -> f64) -> Vec<f64> {
        let power = |frequency: usize| {
            let angle = |index: usize| TAU * (index * frequency % N_FFT) as f64 / N_FFT as f64;
            let real: f64 = (0..N_FFT).map(|i| windowed(i) * angle(i).cos()).sum();
            let imaginary: f64 = (0..N_FFT).map(|i| windowed(i) * angle(i).sin()).sum();
            real * real + imaginary * imaginary
        };
        (0..FREQUENCIES).map(power).collect()
    }

    fn noise(count: usize) -> Vec<f32> {
        let hashed = |index: usize| (index as u32 + 1).wrapping_mul(2_654_435_761) >> 16;
        (0..count)
            .map(|index| hashed(index) as f32 / 65_536.0 - 0.5)
            .collect()
    }

    #[test]
    fn powers_are_those_of_the_naive_transform() {
        let (log_mel, samples) = (LogMel::new(80), noise(1000));
        for frame in [0, 1, 4, 6] {
            let at = |index: usize| {
                let place = (frame * HOP + index).abs_diff(N_FFT / 2);
                let sample = samples.get(place).copied().unwrap_or(0.0);
                f64::from(sample) * (0.5 - 0.5 * (TAU * index as f64 / N_FFT as f64).cos())
            };
            let expected = naive_powers(at);
            let powers = log_mel.powers(&samples, frame);
            let worst = powers.iter().zip(&expected);
            let worst = worst.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-9, "frame {frame}: {worst}");
        }
    }

    #[test]
    fn a_tone_is_loudest_in_the_bin_around_it() {
        let tone = |index: usize| (TAU * 440.0 * index as f64 / 16_000.0).sin() as f32;
        let mel = LogMel::new(80).spectrogram(&(0..16_000).map(tone).collect::<Vec<_>>());
        assert_eq!((mel.frames, mel.values.len()), (100, 8000));
        let loudness = |bin: &usize| (mel.values[bin * 100 + 50] * 1e6) as i64;
        // 440 Hz are 6.6 of 45.2 mels; 81 steps lie between 0 and the highest.
        assert_eq!((0..80).max_by_key(loudness), Some(11));
    }

    #[test]
    fn silence_is_flat_and_a_clips_end_is_cut() {
        let silence = LogMel::new(80).spectrogram(&[0.0; 161]);
        assert_eq!(silence.frames, 2);
        assert!(silence.values.iter().all(|&value| value == -1.5));
    }

    #[test]
    fn a_whole_clip_is_mirrored_at_its_end() {
        let samples = noise(CLIP);
        let mel = LogMel::new(80).spectrogram(&samples);
        assert_eq!(mel.frames, 3000);
        assert_eq!(mirrored(0), 200);
        assert_eq!(mirrored(CLIP + 200), CLIP - 2);
        assert!(mel.values.iter().all(|value| value.is_finite()));
    }
}
