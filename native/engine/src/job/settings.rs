//! The numbers of a job; the model has a default for each.

use x2i_core::{Cache, Conditioning, Preview, Request};

use crate::media::Background;

/// The numbers of a job. `None` takes the model's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Width and height in pixels, multiples of 16.
    pub size: Option<(usize, usize)>,
    /// The width alone; the height stays that of the size.
    pub width: Option<usize>,
    /// The height alone; the width stays that of the size.
    pub height: Option<usize>,
    /// Steps of the transformer, at least 1.
    pub steps: Option<usize>,
    /// Guidance of a guidance-distilled transformer, at least 0; others ignore it.
    pub guidance: Option<f32>,
    /// Whether steps reuse the work of earlier ones; off by default.
    pub cache: Option<Cache>,
    /// The seed of the noise. `None` takes a random one.
    pub seed: Option<u64>,
    /// Whose hidden states condition the transformer.
    pub conditioning: Option<Conditioning>,
    /// Frames per second that the LLM reads of a video, above 0.
    pub video_fps: Option<f64>,
    /// What lies under the transparent pixels of pictures; white by default.
    pub background: Option<Background>,
    /// Whether progress has a preview after each step.
    pub preview: Preview,
}

impl Settings {
    /// These settings, completed by those of `others`.
    pub fn or(self, others: Self) -> Self {
        // A size replaces the other settings' sides.
        let (width, height) = match self.size {
            Some(_) => (None, None),
            None => (others.width, others.height),
        };
        Self {
            size: self.size.or(others.size),
            width: self.width.or(width),
            height: self.height.or(height),
            steps: self.steps.or(others.steps),
            guidance: self.guidance.or(others.guidance),
            cache: self.cache.or(others.cache),
            seed: self.seed.or(others.seed),
            conditioning: self.conditioning.or(others.conditioning),
            video_fps: self.video_fps.or(others.video_fps),
            background: self.background.or(others.background),
            preview: match self.preview {
                Preview::Off => others.preview,
                Preview::On => Preview::On,
            },
        }
    }

    /// Sets the given numbers, except for the seed, which the caller sets.
    pub(super) fn apply(&self, request: &mut Request) {
        if let Some(size) = self.size {
            (request.width, request.height) = size;
        }
        request.width = self.width.unwrap_or(request.width);
        request.height = self.height.unwrap_or(request.height);
        request.steps = self.steps.unwrap_or(request.steps);
        request.guidance = self.guidance.unwrap_or(request.guidance);
        request.cache = self.cache.unwrap_or(request.cache);
        request.conditioning = self.conditioning.unwrap_or(request.conditioning);
        request.preview = self.preview;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_alone_changes_the_size_below_it() {
        let side = Settings {
            width: Some(32),
            ..Settings::default()
        };
        let size = Settings {
            size: Some((64, 48)),
            ..Settings::default()
        };
        let sides = |settings: Settings| (settings.size, settings.width, settings.height);
        let both = sides(side.clone().or(size.clone()));
        assert_eq!(both, (Some((64, 48)), Some(32), None));
        assert_eq!(sides(size.or(side)), (Some((64, 48)), None, None));
    }
}
