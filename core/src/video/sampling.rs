//! Sampling of a video's frames: which ones a model reads.
//!
//! Source: `smart_nframes` of `qwen_vl_utils` 0.0.8 (Qwen2.5-VL; later releases round down), and
//! `encode_video` of X2I's `infer/inference_minicpm.py` (MiniCPM-o).

use crate::error::{Error, Result};

/// A rule that chooses frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// An even number of frames, evenly from the first to the last: Qwen2.5-VL's.
    Even {
        /// Frames a second that are wanted.
        fps: f64,
    },
    /// Every so many frames, and evenly fewer where those are too many: MiniCPM-o's.
    Stride {
        /// Frames a second that are wanted.
        fps: f64,
        /// The most frames.
        most: usize,
    },
}

/// The least frames of a choice, where the video has so many, and the most.
const EVEN_FRAMES: [usize; 2] = [4, 768];

impl Sampling {
    /// The numbers of the chosen frames of a video of `frames` frames, `fps` of them a second; in
    /// order, at least one.
    ///
    /// # Errors
    /// [`Error::Video`] when there are no frames, or `fps` or the wanted rate is not above 0.
    pub fn choose(&self, frames: usize, fps: f64) -> Result<Vec<usize>> {
        if frames == 0 {
            return Err(Error::video("video", "has no frames"));
        }
        for (what, rate) in [("its", fps), ("the wanted", self.fps())] {
            if !(rate.is_finite() && rate > 0.0) {
                let reason = format!("{what} rate of {rate} frames a second is not above 0");
                return Err(Error::video("video", reason));
            }
        }
        Ok(match *self {
            Self::Even { fps: wanted } => evenly(frames, even_count(frames, fps, wanted)),
            Self::Stride { fps: wanted, most } => stride(frames, fps / wanted, most),
        })
    }

    /// Frames a second that are wanted.
    pub fn fps(&self) -> f64 {
        match *self {
            Self::Even { fps } | Self::Stride { fps, .. } => fps,
        }
    }

    /// The same choice at another rate.
    pub fn at(self, fps: f64) -> Self {
        match self {
            Self::Even { .. } => Self::Even { fps },
            Self::Stride { most, .. } => Self::Stride { fps, most },
        }
    }
}

/// An even number near `frames / fps * wanted`, or one where there is but one.
fn even_count(frames: usize, fps: f64, wanted: f64) -> usize {
    let [least, most] = EVEN_FRAMES;
    let most = (frames.min(most) / 2 * 2) as f64;
    let count = (frames as f64 / fps * wanted).max(least as f64).min(most);
    ((count / 2.0).round_ties_even() as usize * 2).max(1)
}

/// `torch.linspace(0, frames - 1, count).round()`, in its 32 bits.
fn evenly(frames: usize, count: usize) -> Vec<usize> {
    let last = (frames - 1) as f32;
    let step = last / (count.max(2) - 1) as f32;
    let place = |index: usize| match index < count / 2 {
        true => step * index as f32,
        // From the end, as torch does, so that the last is exact.
        false => last - step * (count - 1 - index) as f32,
    };
    (0..count)
        .map(|index| (place(index).round_ties_even() as usize).min(frames - 1))
        .collect()
}

/// Every `gap`-th frame; of too many the middles of `most` equal spans.
fn stride(frames: usize, gap: f64, most: usize) -> Vec<usize> {
    let gap = (gap.round_ties_even() as usize).max(1);
    // A header may count 2^32 frames: nothing is made for each.
    let count = frames.div_ceil(gap);
    if count <= most {
        return (0..frames).step_by(gap).collect();
    }
    let span = count as f64 / most as f64;
    (0..most)
        .map(|index| (index as f64 * span + span / 2.0) as usize * gap)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_single_frame_is_chosen_and_none_is_refused() {
        let even = Sampling::Even { fps: 1.0 };
        assert_eq!(even.choose(1, 25.0).unwrap(), [0]);
        assert_eq!(even.choose(3, 25.0).unwrap(), [0, 2]);
        assert!(even.choose(0, 25.0).is_err());
        for (fps, wanted) in [(0.0, 1.0), (f64::NAN, 1.0), (25.0, -1.0), (25.0, 0.0)] {
            assert!(Sampling::Even { fps: wanted }.choose(9, fps).is_err());
        }
    }

    /// X2I's `uniform_sample(range(0, 6500, 25), 64)`.
    #[test]
    fn strides_take_a_frame_a_second_and_at_most_so_many() {
        let sampling = Sampling::Stride { fps: 1.0, most: 64 };
        assert_eq!(sampling.choose(70, 29.97).unwrap(), [0, 30, 60]);
        let chosen = sampling.choose(6500, 25.0).unwrap();
        assert_eq!(chosen.len(), 64);
        assert_eq!(chosen[..3], [50, 150, 250]);
        assert_eq!(chosen[63], 6425);
    }

    /// Found in an AVI file: 34 GB were asked for.
    #[test]
    fn billions_of_frames_cost_nothing() {
        let stride = Sampling::Stride {
            fps: 25.0,
            most: 64,
        };
        let chosen = stride.choose(u32::MAX as usize, 25.0).unwrap();
        assert_eq!((chosen.len(), chosen[0]), (64, 33_554_431));
        let even = Sampling::Even { fps: 2.0 };
        assert_eq!(even.choose(usize::MAX / 2, 0.5).unwrap().len(), 768);
    }

    proptest! {
        #[test]
        fn choices_rise_within_the_video(frames in 1usize..200_000, fps in 0.1f64..240.0, wanted in 0.1f64..30.0) {
            for sampling in [Sampling::Even { fps: wanted }, Sampling::Stride { fps: wanted, most: 64 }] {
                let chosen = sampling.choose(frames, fps).unwrap();
                prop_assert!(!chosen.is_empty() && chosen.len() <= EVEN_FRAMES[1]);
                prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(chosen[chosen.len() - 1] < frames);
            }
        }
    }
}
