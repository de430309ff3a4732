//! Arguments of one call to a job: read, completed with the model's defaults and checked once.

use pyo3::prelude::*;
use x2i_core::image::Hint;
use x2i_core::{Cache, Conditioning, Error, Field, Preview, Result, Turn};
use x2i_engine::{ControlSpec, InitSpec, JobSpec, Model, PartSpec, Settings};

use crate::errors::{raised, refused};
use crate::part::{Part, Picture, background_of};

/// A job that is checked; it can fail on the device alone.
#[pyclass(frozen, module = "x2i._x2i")]
pub(crate) struct Job(pub(crate) x2i_engine::Job);

#[pymethods]
impl Job {
    /// The seed, which is a random one where none was given.
    #[getter]
    fn seed(&self) -> u64 {
        self.0.request().seed
    }

    /// Width and height in pixels.
    #[getter]
    fn size(&self) -> (usize, usize) {
        (self.0.request().width, self.0.request().height)
    }
}

/// The numbers of a call, as `x2i._pipeline` gives them; None takes the model's default.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Numbers {
    width: Option<usize>,
    height: Option<usize>,
    steps: Option<usize>,
    guidance: Option<f32>,
    cache: Option<f64>,
    seed: Option<u64>,
    answer: Option<bool>,
    video_fps: Option<f64>,
    background: Option<String>,
    preview: bool,
    strength: Option<f64>,
    control_scale: Option<f32>,
    control_hint: Option<String>,
}

/// A picture beside the prompt.
type Beside<'py> = Option<PyRef<'py, Part>>;
/// The parts of an earlier turn, and what the LLM answered.
pub(crate) type Turns<'py> = Vec<(Vec<PyRef<'py, Part>>, String)>;

/// All of a call.
pub(crate) struct Asked<'py> {
    pub(crate) parts: Vec<PyRef<'py, Part>>,
    pub(crate) turns: Turns<'py>,
    pub(crate) init: Beside<'py>,
    pub(crate) control: Beside<'py>,
    pub(crate) numbers: Numbers,
}

/// What of a job waits for no interpreter.
struct Plan<'a> {
    parts: Vec<&'a Part>,
    turns: Vec<(Vec<&'a Part>, String)>,
    init: Option<&'a Part>,
    control: Option<&'a Part>,
    settings: Settings,
    strength: Option<f64>,
    scale: f32,
    hint: Hint,
}

impl Asked<'_> {
    /// The checked job; `trained` is the hint of LightControl's weights. Files are read without the interpreter's lock.
    pub(crate) fn job(&self, py: Python<'_>, model: &Model, trained: Hint) -> PyResult<Job> {
        let numbers = &self.numbers;
        let plan = Plan {
            parts: self.parts.iter().map(|part| &**part).collect(),
            turns: self.turns.iter().map(turn).collect(),
            init: self.init.as_deref(),
            control: self.control.as_deref(),
            settings: numbers.settings(py)?,
            strength: numbers.strength,
            scale: numbers.control_scale.unwrap_or(1.0),
            hint: numbers.hint(py)?.unwrap_or(trained),
        };
        let job = py.detach(|| plan.job(model));
        job.map(Job).map_err(|error| raised(py, &error))
    }
}

fn turn<'a>((parts, answer): &'a (Vec<PyRef<'_, Part>>, String)) -> (Vec<&'a Part>, String) {
    let parts = parts.iter().map(|part| &**part);
    (parts.collect(), answer.clone())
}

impl Numbers {
    fn settings(&self, py: Python<'_>) -> PyResult<Settings> {
        Ok(Settings {
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: self.guidance,
            cache: self.cache.map(Cache::FirstBlock),
            seed: self.seed,
            conditioning: self.answer.map(|answer| match answer {
                true => Conditioning::Answer,
                false => Conditioning::Prompt,
            }),
            video_fps: self.video_fps,
            background: background_of(py, self.background.as_deref())?,
            preview: match self.preview {
                true => Preview::On,
                false => Preview::Off,
            },
            ..Settings::default()
        })
    }

    fn hint(&self, py: Python<'_>) -> PyResult<Option<Hint>> {
        let read = |name: &str| {
            serde_json::from_value(name.into())
                .map_err(|_| refused(py, "control_hint", "is source, edges or gray"))
        };
        self.control_hint.as_deref().map(read).transpose()
    }
}

/// The most frames a second that may be asked for, as of files.
const MAX_FPS: f64 = 1000.0;

impl Plan<'_> {
    fn job(&self, model: &Model) -> Result<x2i_engine::Job> {
        if let Some(fps) = self.settings.video_fps
            && !(fps > 0.0 && fps <= MAX_FPS)
        {
            let reason = format!("{fps} must be above 0 and at most {MAX_FPS}");
            return Err(Error::request(Field::VideoFps, reason));
        }
        let background = self.settings.background.unwrap_or_default();
        let picture = |part: Option<&Part>, name, field| {
            let picture = part.map(|part: &Part| part.picture(name, background));
            picture.transpose().map_err(|error: Error| error.at(field))
        };
        let init = picture(self.init, "init", Field::Init)?;
        let control = picture(self.control, "control", Field::Control)?;
        let mut spec = JobSpec {
            parts: self.specs(&self.parts, model)?,
            earlier: self.earlier(model)?,
            settings: self.settings.clone(),
            ..JobSpec::default()
        };
        let (mut made_init, mut made_control) = (None, None);
        match init {
            Some(Picture::File(image)) => {
                let strength = self.strength;
                spec.init = Some(InitSpec { image, strength });
            }
            Some(Picture::Made(image)) => made_init = Some(image),
            None => {}
        }
        let (scale, hint) = (self.scale, self.hint);
        match control {
            Some(Picture::File(image)) => spec.control = Some(ControlSpec { image, scale, hint }),
            Some(Picture::Made(image)) => made_control = Some(image),
            None => {}
        }
        let mut job = spec.job(model)?;
        if let Some(image) = made_init {
            job = job.with_init(image, self.strength)?;
        }
        if let Some(image) = made_control {
            job = job.with_control(model, image, hint, scale)?;
        }
        Ok(job)
    }

    fn specs(&self, parts: &[&Part], model: &Model) -> Result<Vec<PartSpec>> {
        let specs = parts.iter().map(|part| part.spec(model, &self.settings));
        specs.collect()
    }

    /// The earlier turns, with what their files hold.
    fn earlier(&self, model: &Model) -> Result<Vec<Turn>> {
        let turns = self.turns.iter().map(|(parts, answer)| {
            let mut read = vec![];
            for spec in self.specs(parts, model)? {
                read.push(match spec.read(model, &self.settings)? {
                    PartSpec::Text(text) => x2i_core::Part::Text(text),
                    PartSpec::Ready { part, .. } => part,
                    PartSpec::File { .. } => continue, // `read` has replaced all of them
                });
            }
            Ok(Turn {
                parts: read,
                answer: answer.clone(),
            })
        });
        turns.collect()
    }
}
