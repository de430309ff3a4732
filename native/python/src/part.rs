//! The parts of a prompt and the pictures beside it, as `x2i._inputs` makes them.

use std::io::Write;
use std::path::PathBuf;

use pyo3::prelude::*;
use x2i_core::image::Background;
use x2i_core::{Audio, Error, Image, Result, Video};
use x2i_engine::media::{self, Reading};
use x2i_engine::{Kind, Model, NamedFile, PartSpec, Settings};

use crate::errors::{raised, refused};

/// Text, a picture, a video or a sound: a file by its path, a file in memory, or pixels and samples.
#[pyclass(frozen, module = "x2i._x2i")]
pub(crate) struct Part {
    input: Input,
}

enum Input {
    Text(String),
    File(Kind, PathBuf),
    /// The bytes of a file.
    Held(Kind, Vec<u8>),
    Made(x2i_core::Part),
}

/// Pixels of one picture, row by row: red, green and blue, and alpha where `rgba`.
fn picture(
    width: usize,
    height: usize,
    pixels: &[u8],
    background: Option<Background>,
) -> Result<Image> {
    let rgb = match pixels.len() == width * height * 4 {
        true => background.unwrap_or_default().flatten(pixels),
        false => pixels.to_vec(),
    };
    Image::new(width, height, rgb)
}

#[pymethods]
impl Part {
    /// Text.
    #[staticmethod]
    fn text(text: String) -> Self {
        Self {
            input: Input::Text(text),
        }
    }

    /// A file by its path, or by a `file:` or `data:` URL.
    #[staticmethod]
    fn file(py: Python<'_>, kind: &str, path: PathBuf) -> PyResult<Self> {
        let input = Input::File(kind_of(py, kind)?, path);
        Ok(Self { input })
    }

    /// A file in memory.
    #[staticmethod]
    fn held(py: Python<'_>, kind: &str, bytes: Vec<u8>) -> PyResult<Self> {
        let input = Input::Held(kind_of(py, kind)?, bytes);
        Ok(Self { input })
    }

    /// A picture of RGB or RGBA; a background is white, black or six digits in hex, or `dropped`.
    #[staticmethod]
    fn image(
        py: Python<'_>,
        width: usize,
        height: usize,
        pixels: &[u8],
        background: Option<&str>,
    ) -> PyResult<Self> {
        let background = background_of(py, background)?;
        let picture = picture(width, height, pixels, background);
        let picture = picture.map_err(|error| raised(py, &error.at(Kind::Image.field())))?;
        Ok(Self {
            input: Input::Made(x2i_core::Part::Image(picture)),
        })
    }

    /// A video of frames in RGB, one after the other, `fps` of them a second.
    #[staticmethod]
    fn video(
        py: Python<'_>,
        width: usize,
        height: usize,
        frames: &[u8],
        fps: f64,
    ) -> PyResult<Self> {
        let frame = (width * height * 3).max(1);
        let frames = frames.chunks_exact(frame);
        let frames = frames.map(|pixels| Image::new(width, height, pixels.to_vec()));
        let video = frames
            .collect::<Result<_>>()
            .and_then(|frames| Video::new(frames, fps));
        let video = video.map_err(|error| raised(py, &error.at(Kind::Video.field())))?;
        Ok(Self {
            input: Input::Made(x2i_core::Part::Video(video)),
        })
    }

    /// A sound of one channel: the bytes of its samples in f32, -1 to 1, `rate` of them a second.
    #[staticmethod]
    fn audio(py: Python<'_>, samples: &[u8], rate: usize) -> PyResult<Self> {
        let samples = samples.chunks_exact(4);
        let samples =
            samples.map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let samples = samples.collect();
        let sound = py.detach(|| Audio::resampled(samples, rate));
        let sound = sound.map_err(|error| raised(py, &error.at(Kind::Audio.field())))?;
        Ok(Self {
            input: Input::Made(x2i_core::Part::Audio(sound)),
        })
    }
}

fn kind_of(py: Python<'_>, name: &str) -> PyResult<Kind> {
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name));
    kind.ok_or_else(|| refused(py, "kind", "is image, video or audio"))
}

/// The background of its name; `None` is the default.
pub(crate) fn background_of(py: Python<'_>, name: Option<&str>) -> PyResult<Option<Background>> {
    let read = |name: &str| {
        name.parse()
            .map_err(|reason: String| refused(py, "background", &reason))
    };
    name.map(read).transpose()
}

/// A picture that a job begins with or is steered by.
pub(crate) enum Picture {
    File(NamedFile),
    Made(Image),
}

impl Part {
    /// The part for a job. A video takes the frames that the model reads.
    pub(crate) fn spec(&self, model: &Model, settings: &Settings) -> Result<PartSpec> {
        Ok(match &self.input {
            Input::Text(text) => PartSpec::Text(text.clone()),
            Input::File(kind, path) => PartSpec::File {
                kind: *kind,
                file: NamedFile::given(path).map_err(|error| error.at(kind.field()))?,
                fps: None,
            },
            Input::Held(kind, bytes) => PartSpec::made(
                held(*kind, bytes, model, settings).map_err(|error| error.at(kind.field()))?,
            ),
            Input::Made(x2i_core::Part::Video(video)) => PartSpec::made(x2i_core::Part::Video(
                sampled(video, model, settings).map_err(|error| error.at(Kind::Video.field()))?,
            )),
            Input::Made(part) => PartSpec::made(part.clone()),
        })
    }

    /// The picture, `name` its argument.
    pub(crate) fn picture(&self, name: &str, background: Background) -> Result<Picture> {
        match &self.input {
            Input::File(Kind::Image, path) => NamedFile::given(path).map(Picture::File),
            Input::Held(Kind::Image, bytes) => decoded(bytes, background).map(Picture::Made),
            Input::Made(x2i_core::Part::Image(image)) => Ok(Picture::Made(image.clone())),
            _ => Err(Error::image(name.to_owned(), "is no picture")),
        }
    }
}

fn decoded(bytes: &[u8], background: Background) -> Result<Image> {
    let reading = Reading {
        background,
        ..Reading::default()
    };
    media::image::decode_with("bytes", bytes, &reading)
}

/// Decodes a file in memory. Videos are decoded from a temporary file, as are sounds that ffmpeg reads.
fn held(kind: Kind, bytes: &[u8], model: &Model, settings: &Settings) -> Result<x2i_core::Part> {
    if kind == Kind::Image {
        let background = settings.background.unwrap_or_default();
        return decoded(bytes, background).map(x2i_core::Part::Image);
    }
    let failed = |source| Error::Io {
        file: "temporary file".into(),
        source,
    };
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let spec = PartSpec::File {
        kind,
        file: NamedFile::new(file.path()),
        fps: None,
    };
    match spec.read(model, settings)? {
        PartSpec::Ready { part, .. } => Ok(part),
        PartSpec::Text(text) => Ok(x2i_core::Part::Text(text)),
        PartSpec::File { .. } => Err(Error::video("bytes", "can't be read")),
    }
}

/// The frames that the model reads, as of a video's file.
fn sampled(video: &Video, model: &Model, settings: &Settings) -> Result<Video> {
    let sampling = model.config().encoder.config.video_sampling();
    let sampling = match settings.video_fps {
        Some(fps) => sampling.at(fps),
        None => sampling,
    };
    let count = video.frames().len();
    let chosen = sampling.choose(count, video.fps())?;
    let frames = chosen.iter().map(|&index| video.frames()[index].clone());
    let fps = video.fps() * chosen.len() as f64 / count as f64;
    Video::new(frames.collect(), fps)
}
