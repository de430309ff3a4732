//! The specification of a job, as surfaces make it, and the checked job.

use x2i_core::image::Hint;
use x2i_core::png::{ControlRecord, InitRecord, PartRecord, UsedFile};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Control, Error, Field, Init, Part, Prompt, Request, Result, Turn};

use super::seed::random_seed;
use super::settings::Settings;
use crate::files::{NamedFile, hash_file};
use crate::media::{self, Background, Input, Kind, Reading, never};
use crate::models::Model;
use crate::output::Output;

/// The default strength of an initial image, as in diffusers.
pub(super) const STRENGTH: f64 = 0.6;
/// The most frames per second that may be asked for.
const MAX_FPS: f64 = 1000.0;

/// The specification of a job: files by path, and the numbers that were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobSpec {
    /// The prompt's parts in reading order.
    pub parts: Vec<PartSpec>,
    /// The earlier turns of a conversation, oldest first. The model's limit of turns applies.
    pub earlier: Vec<Turn>,
    /// The numbers.
    pub settings: Settings,
    /// The initial image (img2img).
    pub init: Option<InitSpec>,
    /// The control image of LightControl.
    pub control: Option<ControlSpec>,
}

/// One part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum PartSpec {
    /// Text in any language.
    Text(String),
    /// An image, a video or an audio file.
    File {
        /// The kind that the file must be of.
        kind: Kind,
        /// The file.
        file: NamedFile,
        /// Recorded frames per second of a video. The settings' rate has precedence.
        fps: Option<f64>,
    },
    /// A part in memory.
    Ready {
        /// The part.
        part: Part,
        /// Its record for the metadata; `None` for a part without a file.
        record: Option<PartRecord>,
    },
}

/// An initial image.
#[derive(Debug, Clone, PartialEq)]
pub struct InitSpec {
    /// The file.
    pub image: NamedFile,
    /// The share of the steps that run on it, above 0 and at most 1; `None` is 0.6.
    pub strength: Option<f64>,
}

/// A control image.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlSpec {
    /// The file.
    pub image: NamedFile,
    /// The factor of LightControl's terms, finite; 1 in training.
    pub scale: f32,
    /// What of the picture steers.
    pub hint: Hint,
}

/// One image to generate, complete and checked.
#[derive(Debug, Clone)]
pub struct Job {
    pub(crate) request: Request,
    pub(crate) records: Records,
    output: Output,
}

/// The records of the files, for the metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub parts: Vec<PartRecord>,
    pub init: Option<InitRecord>,
    pub control: Option<ControlRecord>,
    pub background: Background,
}

impl PartSpec {
    /// A part in memory. The metadata records a text; it has nothing about other kinds.
    pub fn made(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            part => Self::Ready { part, record: None },
        }
    }

    /// Reads the file of a part now, so that an error is known before the job is complete.
    ///
    /// # Errors
    /// As [`media::read`], attributed to the kind's field or to the metadata.
    pub fn read(&self, model: &Model, settings: &Settings) -> Result<Self> {
        self.read_unless(model, settings, &never)
    }

    /// As [`read`](Self::read). `cancelled` is asked often; `true` ends the reading.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Error::Cancelled`].
    pub fn read_unless(
        &self,
        model: &Model,
        settings: &Settings,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let Self::File { kind, file, fps } = self else {
            return Ok(self.clone());
        };
        let sampling = sampling(model, settings.video_fps.or(*fps))?;
        let field = kind.field();
        file.check_first(field, |path| media::hash(*kind, path))?;
        let reading = Reading {
            sampling,
            background: settings.background.unwrap_or_default(),
            cancelled,
        };
        let read = media::read(*kind, file.path(), reading);
        let Input { value, sha256 } = read.map_err(|error| file.error(error, field))?;
        file.check(&sha256, field)?;
        Ok(Self::Ready {
            part: value,
            record: Some(record(*kind, file.label().to_owned(), sha256, sampling)),
        })
    }

    /// The kind of its file; `None` for text.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Text(_) => None,
            Self::File { kind, .. } => Some(*kind),
            Self::Ready { part, .. } => Kind::of(part),
        }
    }
}

/// The model's sampling of a video's frames, at this rate if there is one.
///
/// # Errors
/// [`Error::Request`] for [`Field::VideoFps`] when the rate is out of range.
pub(super) fn sampling(model: &Model, fps: Option<f64>) -> Result<Sampling> {
    let sampling = model.config().encoder.config.video_sampling();
    let Some(fps) = fps else {
        return Ok(sampling);
    };
    if !(fps > 0.0 && fps <= MAX_FPS) {
        let reason = format!("{fps} must be above 0 and at most {MAX_FPS}");
        return Err(Error::request(Field::VideoFps, reason));
    }
    Ok(sampling.at(fps))
}

fn record(kind: Kind, file: String, sha256: String, sampling: Sampling) -> PartRecord {
    match kind {
        Kind::Image => PartRecord::Image { file, sha256 },
        Kind::Video => PartRecord::Video {
            file,
            sha256,
            fps: sampling.fps(),
        },
        Kind::Audio => PartRecord::Audio { file, sha256 },
    }
}

impl JobSpec {
    /// A job whose prompt is one text.
    pub fn text(prompt: impl Into<String>) -> Self {
        Self {
            parts: vec![PartSpec::Text(prompt.into())],
            ..Self::default()
        }
    }

    /// Reads the files, fills in the model's defaults, and checks everything.
    ///
    /// # Errors
    /// [`Error::Request`] for a number out of range, an empty prompt, or a control image without
    /// LightControl's weights; [`Error::Modality`] for a part that the model can't read;
    /// [`Error::Field`] around the error of a file.
    pub fn job(&self, model: &Model) -> Result<Job> {
        self.job_unless(model, &never)
    }

    /// As [`job`](Self::job). `cancelled` is asked often while files are read; `true` ends the reading.
    ///
    /// # Errors
    /// As [`job`](Self::job), and [`Error::Cancelled`].
    pub fn job_unless(&self, model: &Model, cancelled: &dyn Fn() -> bool) -> Result<Job> {
        let (parts, records) = self.read_parts(model, cancelled)?;
        let mut request = Request::new(Prompt::new(parts), model.config());
        request.prompt.earlier = self.latest_turns(model);
        self.settings.apply(&mut request);
        request.seed = self.settings.seed.unwrap_or_else(random_seed);
        let (init, init_record) = self.read_init(cancelled)?.unzip();
        let (control, control_record) = self.read_control(model, cancelled)?.unzip();
        (request.init, request.control) = (init, control);
        request.validate()?;
        request.prompt.check(model.config())?;
        Ok(Job {
            request,
            records: Records {
                parts: records,
                init: init_record,
                control: control_record,
                background: self.background(),
            },
            output: Output::None,
        })
    }

    /// What lies under the transparent pixels of its pictures; the default where it has none.
    pub(super) fn background(&self) -> Background {
        let kinds = self.parts.iter().map(PartSpec::kind);
        let mut pictures = kinds.filter(|kind| matches!(kind, Some(Kind::Image | Kind::Video)));
        let has_pictures =
            pictures.next().is_some() || self.init.is_some() || self.control.is_some();
        let chosen = self.settings.background.filter(|_| has_pictures);
        chosen.unwrap_or_default()
    }

    fn read_parts(
        &self,
        model: &Model,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(Vec<Part>, Vec<PartRecord>)> {
        let (mut parts, mut records) = (vec![], vec![]);
        for part in &self.parts {
            match part.read_unless(model, &self.settings, cancelled)? {
                PartSpec::Text(text) => {
                    records.push(PartRecord::Text(text.clone()));
                    parts.push(Part::Text(text));
                }
                PartSpec::Ready { part, record } => {
                    records.extend(record);
                    parts.push(part);
                }
                PartSpec::File { .. } => {} // `read` has replaced all of them
            }
        }
        Ok((parts, records))
    }

    fn latest_turns(&self, model: &Model) -> Vec<Turn> {
        let most = model.config().defaults.earlier_turns.unwrap_or(usize::MAX);
        let first = self.earlier.len().saturating_sub(most);
        self.earlier[first..].to_vec()
    }

    fn read_init(&self, cancelled: &dyn Fn() -> bool) -> Result<Option<(Init, InitRecord)>> {
        let Some(InitSpec { image, strength }) = &self.init else {
            return Ok(None);
        };
        let strength = strength.unwrap_or(STRENGTH);
        let (image, picture) = self.read_image(image, Field::Init, cancelled)?;
        Ok(Some((
            Init { image, strength },
            InitRecord { picture, strength },
        )))
    }

    /// The weights that a control image needs.
    pub(super) fn control_weights<'a>(&self, model: &'a Model) -> Result<&'a UsedFile> {
        model.adapters().control_weights().ok_or_else(|| {
            Error::request(Field::Control, "needs LightControl's weights")
                .mended_by(Field::ControlWeights)
        })
    }

    fn read_control(
        &self,
        model: &Model,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<(Control, ControlRecord)>> {
        let Some(ControlSpec { image, scale, hint }) = &self.control else {
            return Ok(None);
        };
        let weights = self.control_weights(model)?;
        let (image, picture) = self.read_image(image, Field::Control, cancelled)?;
        let record = ControlRecord {
            picture,
            weights: weights.clone(),
            scale: *scale,
            hint: *hint,
        };
        let (scale, hint) = (*scale, *hint);
        Ok(Some((Control { image, hint, scale }, record)))
    }

    fn read_image(
        &self,
        file: &NamedFile,
        field: Field,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(x2i_core::Image, UsedFile)> {
        file.check_first(field, hash_file)?;
        let reading = Reading {
            background: self.settings.background.unwrap_or_default(),
            cancelled,
            ..Reading::default()
        };
        let read = media::image::read_with(file.path(), &reading);
        let Input { value, sha256 } = read.map_err(|error| file.error(error, field))?;
        file.check(&sha256, field)?;
        let used = UsedFile {
            file: file.label().to_owned(),
            sha256,
        };
        Ok((value, used))
    }
}

impl Job {
    /// The request for the pipeline.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The records of the prompt's parts, for the metadata.
    pub fn parts(&self) -> &[PartRecord] {
        &self.records.parts
    }

    /// The output for the image.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The same job with another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        let request = Request {
            seed,
            ..self.request
        };
        Self { request, ..self }
    }

    /// The same job with another output.
    pub fn with_output(self, output: Output) -> Self {
        Self { output, ..self }
    }
}
