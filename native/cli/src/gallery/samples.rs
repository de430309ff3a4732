//! The inputs of the tasks: the user's files, else generated samples.

use std::f32::consts::TAU;

use anyhow::Result;
use x2i_core::{Audio, Image, ModelConfig, Part, Video};
use x2i_engine::media::{self, Reading};
use x2i_engine::{JobSpec, Kind, PartSpec};

use crate::flags::GalleryArgs;
use crate::painter::Painter;

/// The prompt of the sample image.
const PICTURE: &str = "a red apple on a blue background";
/// Frames of the sample video, and its frames per second.
const FRAMES: usize = 8;
const FPS: f64 = 4.0;
/// Frequencies of a train's whistle in hertz, and its length in seconds.
const WHISTLE: [f32; 4] = [311.0, 370.0, 415.0, 466.0];
const WHISTLE_SECONDS: usize = 2;

/// The given files.
pub struct Samples {
    image: Option<Image>,
    video: Option<Video>,
    audio: Audio,
}

/// One input of each kind.
pub struct Whole {
    /// An image.
    pub image: Image,
    /// A video.
    pub video: Video,
    /// Audio.
    pub audio: Audio,
}

impl Samples {
    /// Reads the files that the flags name.
    ///
    /// # Errors
    /// As [`media::read`], naming the flag; [`x2i_core::Error::Cancelled`] when `cancelled` says so.
    pub fn read(
        args: &GalleryArgs,
        config: &ModelConfig,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let reading = Reading {
            cancelled,
            ..config.encoder.config.video_sampling().into()
        };
        let read = |kind: Kind, path: &Option<std::path::PathBuf>| -> Result<Option<Part>> {
            let input = path.as_deref().map(|path| media::read(kind, path, reading));
            let input = input.transpose().map_err(|error| error.at(kind.field()));
            Ok(input?.map(|input| input.value))
        };
        let mut samples = Self {
            image: None,
            video: None,
            audio: whistle()?,
        };
        for (kind, path) in [
            (Kind::Image, &args.image),
            (Kind::Video, &args.video),
            (Kind::Audio, &args.audio),
        ] {
            match read(kind, path)? {
                Some(Part::Image(image)) => samples.image = Some(image),
                Some(Part::Video(video)) => samples.video = Some(video),
                Some(Part::Audio(audio)) => samples.audio = audio,
                Some(Part::Text(_)) | None => {}
            }
        }
        Ok(samples)
    }

    /// The job that generates the sample image.
    pub fn first_job(&self, every: &JobSpec) -> JobSpec {
        JobSpec {
            parts: vec![PartSpec::Text(PICTURE.into())],
            ..every.clone()
        }
    }

    /// Adds samples for the kinds that were not given: generates an image, and moves it for a video.
    ///
    /// # Errors
    /// As [`Painter::paint`].
    pub fn complete(self, every: &JobSpec, painter: &mut Painter) -> Result<Whole> {
        let job = self.first_job(every);
        let image = match self.image {
            Some(image) => image,
            None => {
                let job = job.job(painter.engine.model())?;
                painter.paint(&job, 1, 1)?.0.image
            }
        };
        let video = match self.video {
            Some(video) => video,
            None => moving(&image)?,
        };
        Ok(Whole {
            image,
            video,
            audio: self.audio,
        })
    }
}

/// A video in which the image moves to the right and enters again from the left.
fn moving(image: &Image) -> Result<Video> {
    let row = image.width() * 3;
    let frame = |index: usize| {
        let shift = index * image.width() / (4 * FRAMES) * 3;
        let rows = image.pixels().chunks_exact(row);
        let moved = rows.flat_map(|row| {
            let (left, right) = row.split_at(row.len() - shift);
            right.iter().chain(left).copied()
        });
        Image::new(image.width(), image.height(), moved.collect())
    };
    let frames = (0..FRAMES).map(frame).collect::<x2i_core::Result<_>>()?;
    Ok(Video::new(frames, FPS)?)
}

/// A chord that swells and fades.
fn whistle() -> Result<Audio> {
    let samples = WHISTLE_SECONDS * Audio::SAMPLE_RATE;
    let sample = |index: usize| {
        let at = index as f32 / samples as f32;
        let time = index as f32 / Audio::SAMPLE_RATE as f32;
        let chord: f32 = WHISTLE.iter().map(|hertz| (TAU * hertz * time).sin()).sum();
        0.2 * (std::f32::consts::PI * at).sin() * chord
    };
    Ok(Audio::new((0..samples).map(sample).collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moving_picture_keeps_its_pixels() {
        let pixels: Vec<u8> = (0..32 * 2 * 3).map(|value| value as u8).collect();
        let image = Image::new(32, 2, pixels.clone()).unwrap();
        let video = moving(&image).unwrap();
        assert_eq!((video.frames().len(), &video.frames()[0]), (FRAMES, &image));
        assert_eq!(video.frames()[1].pixels()[3..96], pixels[..93]);
        let mut last = video.frames()[FRAMES - 1].pixels().to_vec();
        last.sort_unstable();
        assert_eq!(last, pixels);
    }

    #[test]
    fn the_whistle_is_neither_silent_nor_cut() {
        let loudest = whistle()
            .unwrap()
            .samples()
            .iter()
            .fold(0.0, |most, sample| sample.abs().max(most));
        assert!((0.3..1.0).contains(&loudest), "{loudest}");
    }
}
