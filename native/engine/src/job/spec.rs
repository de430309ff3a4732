//! What a surface asks for, and the checked job that comes of it.

use x2i_core::png::{ControlRecord, InitRecord, PartRecord, UsedFile};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Control, Error, Field, Init, Part, Prompt, Request, Result, Turn};

use super::seed::random_seed;
use super::settings::Settings;
use crate::files::NamedFile;
use crate::media::{self, Input, Kind};
use crate::models::Model;
use crate::output::Output;

/// The strength of an initial image where nobody gives one, as in diffusers.
const STRENGTH: f64 = 0.6;

/// What a surface asks for: files by path, numbers where they were given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobSpec {
    /// The prompt's parts in reading order.
    pub parts: Vec<PartSpec>,
    /// The earlier turns of a conversation, oldest first. The model's limit of turns applies.
    pub earlier: Vec<Turn>,
    /// The numbers.
    pub settings: Settings,
    /// The image to start from (img2img).
    pub init: Option<InitSpec>,
    /// The image that LightControl steers by.
    pub control: Option<ControlSpec>,
}

/// One part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum PartSpec {
    /// Text in any language.
    Text(String),
    /// An image, a video or a sound in a file.
    File {
        /// What the file must hold.
        kind: Kind,
        /// The file.
        file: NamedFile,
        /// Frames per second that a record asks for. The settings come first.
        fps: Option<f64>,
    },
    /// A part that the caller has read or made.
    Ready {
        /// The part.
        part: Part,
        /// What the record says of it; nothing for a part that no file holds.
        record: Option<PartRecord>,
    },
}

/// The image to start from.
#[derive(Debug, Clone, PartialEq)]
pub struct InitSpec {
    /// The file.
    pub image: NamedFile,
    /// How far to leave it, above 0 and at most 1; 0.6 where it is not given.
    pub strength: Option<f64>,
}

/// The image that LightControl steers by.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlSpec {
    /// The file.
    pub image: NamedFile,
    /// How much it counts; 1 in training.
    pub scale: f32,
}

/// One image to paint, complete and checked.
#[derive(Debug, Clone)]
pub struct Job {
    pub(crate) request: Request,
    pub(crate) records: Records,
    output: Output,
}

/// What the image's record will say of the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub parts: Vec<PartRecord>,
    pub init: Option<InitRecord>,
    pub control: Option<ControlRecord>,
}

impl PartSpec {
    /// A part that the caller made; the record holds text, and nothing of the others.
    pub fn made(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text(text),
            part => Self::Ready { part, record: None },
        }
    }

    /// Reads the part of a file now, so that a mistake is known before the job is complete.
    ///
    /// # Errors
    /// As [`media::read`], attributed to the kind's field or the record.
    pub fn read(&self, model: &Model, settings: &Settings) -> Result<Self> {
        let Self::File { kind, file, fps } = self else {
            return Ok(self.clone());
        };
        let sampling = model.config().encoder.config.video_sampling();
        let sampling = match settings.video_fps.or(*fps) {
            Some(fps) => sampling.at(fps),
            None => sampling,
        };
        let field = kind.field();
        let read = media::read(*kind, file.path(), sampling);
        let Input { value, sha256 } = read.map_err(|error| file.error(error, field))?;
        file.check(&sha256, field)?;
        Ok(Self::Ready {
            part: value,
            record: Some(record(*kind, file.label().to_owned(), sha256, sampling)),
        })
    }

    /// The kind of file; none for text.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Text(_) => None,
            Self::File { kind, .. } => Some(*kind),
            Self::Ready { part, .. } => Kind::of(part),
        }
    }
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
    /// A job of text alone.
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
    /// weights; [`Error::Modality`] for a part that the model can't read; [`Error::Field`] around the
    /// error of a file.
    pub fn job(&self, model: &Model) -> Result<Job> {
        let (parts, records) = self.read_parts(model)?;
        let mut request = Request::new(Prompt::new(parts), model.config());
        request.prompt.earlier = self.latest_turns(model);
        self.settings.apply(&mut request);
        request.seed = self.settings.seed.unwrap_or_else(random_seed);
        let (init, init_record) = self.read_init()?.unzip();
        let (control, control_record) = self.read_control(model)?.unzip();
        (request.init, request.control) = (init, control);
        request.validate()?;
        request.prompt.check(model.config())?;
        Ok(Job {
            request,
            records: Records {
                parts: records,
                init: init_record,
                control: control_record,
            },
            output: Output::None,
        })
    }

    fn read_parts(&self, model: &Model) -> Result<(Vec<Part>, Vec<PartRecord>)> {
        let (mut parts, mut records) = (vec![], vec![]);
        for part in &self.parts {
            match part.read(model, &self.settings)? {
                PartSpec::Text(text) => {
                    records.push(PartRecord::Text(text.clone()));
                    parts.push(Part::Text(text));
                }
                PartSpec::Ready { part, record } => {
                    records.extend(record);
                    parts.push(part);
                }
                PartSpec::File { .. } => {} // `read` left none
            }
        }
        Ok((parts, records))
    }

    fn latest_turns(&self, model: &Model) -> Vec<Turn> {
        let most = model.config().defaults.earlier_turns.unwrap_or(usize::MAX);
        let first = self.earlier.len().saturating_sub(most);
        self.earlier[first..].to_vec()
    }

    fn read_init(&self) -> Result<Option<(Init, InitRecord)>> {
        let Some(InitSpec { image, strength }) = &self.init else {
            return Ok(None);
        };
        let strength = strength.unwrap_or(STRENGTH);
        let (image, picture) = read_image(image, Field::Init)?;
        Ok(Some((
            Init { image, strength },
            InitRecord { picture, strength },
        )))
    }

    fn read_control(&self, model: &Model) -> Result<Option<(Control, ControlRecord)>> {
        let Some(ControlSpec { image, scale }) = &self.control else {
            return Ok(None);
        };
        let weights = model.adapters().control_weights().ok_or_else(|| {
            Error::request(Field::Control, "needs LightControl's weights")
                .mended_by(Field::ControlWeights)
        })?;
        let (image, picture) = read_image(image, Field::Control)?;
        let record = ControlRecord {
            picture,
            weights: weights.clone(),
            scale: *scale,
        };
        let scale = *scale;
        Ok(Some((Control { image, scale }, record)))
    }
}

fn read_image(file: &NamedFile, field: Field) -> Result<(x2i_core::Image, UsedFile)> {
    let read = media::image::read(file.path());
    let Input { value, sha256 } = read.map_err(|error| file.error(error, field))?;
    file.check(&sha256, field)?;
    let used = UsedFile {
        file: file.label().to_owned(),
        sha256,
    };
    Ok((value, used))
}

impl Job {
    /// What the pipeline is asked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The parts as the image's record names them.
    pub fn parts(&self) -> &[PartRecord] {
        &self.records.parts
    }

    /// Where the image goes.
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

    /// The same job with another place for the image.
    pub fn with_output(self, output: Output) -> Self {
        Self { output, ..self }
    }
}
