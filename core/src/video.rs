//! Videos on the host: frames of one size at a constant rate.
//!
//! [`sampling`] chooses among a file's frames. Not here: file formats (the native engine, the
//! browser).

pub mod sampling;

use crate::error::{Error, Result};
use crate::image::Image;

/// Frames of one size, [`fps`](Self::fps) of them a second.
#[derive(Clone, PartialEq)]
pub struct Video {
    frames: Vec<Image>,
    fps: f64,
}

impl Video {
    /// A video of `frames`, `fps` of them a second.
    ///
    /// # Errors
    /// [`Error::Video`] when there are no frames, their sizes differ, or `fps` is not above 0.
    pub fn new(frames: Vec<Image>, fps: f64) -> Result<Self> {
        let size = |image: &Image| (image.width(), image.height());
        let Some(first) = frames.first().map(size) else {
            return Err(Error::video("video", "has no frames"));
        };
        if let Some(index) = frames.iter().position(|frame| size(frame) != first) {
            let (width, height) = size(&frames[index]);
            let reason = format!(
                "has frames of several sizes: {}x{}, and frame {} of {width}x{height}",
                first.0,
                first.1,
                index + 1
            );
            return Err(Error::video("video", reason));
        }
        if !(fps.is_finite() && fps > 0.0) {
            let reason = format!("has {fps} frames a second; there must be more than 0");
            return Err(Error::video("video", reason));
        }
        Ok(Self { frames, fps })
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Image] {
        &self.frames
    }

    /// Frames a second.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames.len() as f64 / self.fps
    }
}

impl std::fmt::Debug for Video {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let frames = self.frames.len();
        write!(
            f,
            "Video({frames} frames of {:?}, {} fps)",
            self.frames[0], self.fps
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_several_sizes_none_or_without_time_are_refused() {
        let frame = |width| Image::new(width, 1, vec![0; width * 3]).unwrap();
        assert!(Video::new(vec![], 1.0).is_err());
        assert!(Video::new(vec![frame(1), frame(2)], 1.0).is_err());
        for fps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Video::new(vec![frame(1)], fps).is_err());
        }
        assert_eq!(Video::new(vec![frame(1); 3], 2.0).unwrap().seconds(), 1.5);
    }
}
