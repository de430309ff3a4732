//! What an animation's blocks say.

use x2i_core::{Error, Result};

use crate::media::limits;

/// A shorter delay counts as [`DEFAULT_DELAY`], as in browsers; in seconds.
const LEAST_DELAY: f64 = 0.02;
/// In seconds.
const DEFAULT_DELAY: f64 = 0.1;

/// The facts of an animation, from its blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Width and height in pixels of the screen that frames are drawn on.
    pub size: [usize; 2],
    /// The number of frames.
    pub frames: usize,
    /// The sum of their delays, in seconds.
    pub seconds: f64,
}

impl Facts {
    pub(super) fn new(size: [usize; 2]) -> Self {
        Self {
            size,
            frames: 0,
            seconds: 0.0,
        }
    }

    /// Counts a frame that is shown for `delay` seconds.
    ///
    /// # Errors
    /// [`Error::Video`] when there are too many.
    pub(super) fn add(&mut self, name: &str, delay: f64) -> Result<()> {
        self.frames += 1;
        let delay = match delay < LEAST_DELAY {
            true => DEFAULT_DELAY,
            false => delay,
        };
        // Millionths, so that a hundred tenths are ten.
        self.seconds = ((self.seconds + delay) * 1e6).round() / 1e6;
        let most = limits::ANIMATION_FRAMES;
        match self.frames > most {
            true => Err(Error::video(
                name,
                format!("has more than {most} frames; give fewer"),
            )),
            false => Ok(()),
        }
    }
}
