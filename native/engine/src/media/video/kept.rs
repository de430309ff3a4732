//! Collects the sampled frames of a video, and scales them down when they are large and many.

use x2i_core::image::resize::resize_bicubic;
use x2i_core::{Error, Image, Result, Video};

/// The most pixels of all sampled frames: 400 MB.
pub const MAX_PIXELS: usize = 1 << 27;
/// The most sampled frames.
pub const MAX_FRAMES: usize = 768;
/// The frames so far.
pub(super) struct Kept<'a> {
    name: &'a str,
    /// The most pixels of each frame.
    most: usize,
    pub(super) frames: Vec<Image>,
}

impl<'a> Kept<'a> {
    /// A collection for about `count` frames.
    pub(super) fn new(name: &'a str, count: usize) -> Self {
        Self {
            name,
            most: MAX_PIXELS / count.max(1),
            frames: vec![],
        }
    }

    pub(super) fn push(&mut self, frame: Image) -> Result<()> {
        let shrink = (self.most as f64 / (frame.width() * frame.height()) as f64).sqrt();
        let frame = match shrink < 1.0 {
            true => {
                let side = |side: usize| ((side as f64 * shrink) as usize).max(1);
                resize_bicubic(&frame, side(frame.width()), side(frame.height()))?
            }
            false => frame,
        };
        self.frames.push(frame);
        Ok(())
    }

    pub(super) fn video(self, fps: f64) -> Result<Video> {
        video(self.name, self.frames, fps)
    }
}

/// A video of `frames`; its errors name the file.
///
/// # Errors
/// Those of [`Video::new`].
pub(super) fn video(name: &str, frames: Vec<Image>, fps: f64) -> Result<Video> {
    Video::new(frames, fps).map_err(|error| match error {
        Error::Video { reason, .. } => Error::video(name, reason),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_large_frames_are_made_smaller() {
        let mut kept = Kept::new("x", MAX_FRAMES);
        let frame = Image::new(1920, 1080, vec![7; 1920 * 1080 * 3]).unwrap();
        kept.push(frame).unwrap();
        let pixels = kept.frames[0].width() * kept.frames[0].height();
        assert!(
            (160_000..=MAX_PIXELS / MAX_FRAMES).contains(&pixels),
            "{pixels}"
        );
        let mut kept = Kept::new("x", 4);
        kept.push(Image::new(1920, 1080, vec![7; 1920 * 1080 * 3]).unwrap())
            .unwrap();
        assert_eq!(kept.frames[0].width(), 1920);
    }
}
