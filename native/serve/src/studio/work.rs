//! The loop of a studio's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use x2i_core::{Answer, Error};
use x2i_engine::device::{ids, names};
use x2i_engine::job::check_memory;
use x2i_engine::{Job, Painted};

use super::desk::{Desk, News, Task};
use super::encoder::{Encoder, Made};
use super::engines::Engines;
use super::hearing::Hearing;
use super::options::StudioOptions;
use super::spec::job_spec;
use crate::job::{Code, Failure, Order, Wanted};
use crate::measure;
use crate::models::Models;
use crate::queue::Worker;

/// A studio on its thread.
pub(super) struct Studio {
    desk: Arc<dyn Desk>,
    encoder: Encoder,
    engines: Engines,
    models: Arc<Models>,
    worker: Worker,
    preload: Option<String>,
}

impl Studio {
    pub(super) fn new(options: StudioOptions, desk: Arc<dyn Desk>, encoder: Encoder) -> Self {
        let StudioOptions {
            name,
            devices,
            opened,
            precision,
            engine,
            models,
            preload,
        } = options;
        let worker = Worker {
            device: devices.to_string(),
            description: String::new(),
            name,
            models: models.names().map(str::to_owned).collect(),
            facts: models
                .iter()
                .map(|(name, served)| (name.to_owned(), served.facts()))
                .collect(),
            loaded: vec![],
            memory: 0,
            up: true,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        Self {
            engines: Engines::new(models.clone(), (devices, precision), opened, engine),
            desk,
            encoder,
            models,
            worker,
            preload,
        }
    }

    /// Works until the desk has no more tasks.
    pub(super) fn run(mut self) {
        self.prepare();
        while let Some(task) = self.desk.take(&self.worker) {
            let worked = catch_unwind(AssertUnwindSafe(|| self.work(&task)));
            let outcome = worked.unwrap_or_else(|_| {
                // What a panic left behind is not used again.
                self.engines.reset();
                Err(Failure::new(
                    Code::Internal,
                    "the server has a bug: painting panicked",
                ))
            });
            self.tell_worker();
            self.encoder.hand(Made::Over(task.id, outcome));
        }
        self.encoder.finish();
    }

    /// Opens the device, and loads the model that shall be there before the first job.
    fn prepare(&mut self) {
        if let Err(error) = self.open() {
            tracing::error!(worker = self.worker.name, %error, "the device can't be opened");
            self.worker.up = false;
        } else if let Some(model) = self.preload.take() {
            let order = Order {
                model: Some(model),
                ..Order::default()
            };
            if let Err(error) = self.engines.get(&order, &mut x2i_engine::ignore_progress) {
                tracing::error!(worker = self.worker.name, %error, "the model can't be loaded");
                self.worker.up = false;
            }
        }
        self.tell_worker();
    }

    fn open(&mut self) -> x2i_core::Result<()> {
        let devices = self.engines.devices()?;
        self.worker.device = ids(devices);
        self.worker.description = names(devices);
        for warning in devices
            .iter()
            .filter_map(|device| device.warning.as_deref())
        {
            tracing::warn!(worker = self.worker.name, "{warning}");
        }
        Ok(())
    }

    fn tell_worker(&mut self) {
        self.worker.loaded = self.engines.names();
        self.worker.memory = self.engines.bytes();
        self.desk.worker(self.worker.clone());
    }

    /// Does a job. A device that failed is opened again for the next one.
    fn work(&mut self, task: &Task) -> Result<(), Failure> {
        let outcome = self.paint(task);
        if let Err(error) = &outcome {
            let failed = matches!(error.root(), Error::Device { .. } | Error::NotANumber);
            if failed {
                tracing::error!(job = %task.id, worker = self.worker.name, %error, "the device failed");
                self.engines.reset();
                self.worker.up = self.open().is_ok();
            }
        } else {
            self.worker.up = true;
        }
        outcome.map_err(Failure::from)
    }

    fn paint(&mut self, task: &Task) -> x2i_core::Result<()> {
        let order = &*task.order;
        let model = order.model.as_deref().unwrap_or_default();
        let _span = tracing::info_span!("job", job = %task.id, model).entered();
        let mut hearing = Hearing::new(task, self.desk.as_ref(), &self.encoder);
        let models = self.models.clone();
        let (name, served) = models.get(order.model.as_deref())?;
        let engine = self
            .engines
            .get(order, &mut |progress| hearing.hear(progress))?;
        let spec = job_spec(order, served, &task.inputs)?;
        let job = spec.job_unless(engine.model(), &|| task.is_cancelled())?;
        check_memory(job.request(), engine.config(), &engine.device().entry)?;
        if order.wanted == Wanted::Conditioning {
            let conditioned = engine.encode(&job, &mut |progress| hearing.hear(progress))?;
            hearing.end();
            if let Some(answer) = &conditioned.answer {
                self.desk.tell(task.id, News::Answer(answer.clone()));
            }
            self.encoder.hand(Made::Conditioning(task.id, conditioned));
            return Ok(());
        }
        for index in 0..order.images.get() {
            hearing.image = index;
            let job = seeded(job.clone(), index);
            let painted = engine.paint(&job, &mut |progress| hearing.hear(progress))?;
            hearing.end();
            measure::image(name);
            if index == 0 {
                for warning in warnings(&painted) {
                    self.desk.tell(task.id, News::Warning(warning));
                }
            }
            self.encoder
                .hand(Made::Image(task.id, index, Box::new(painted), order.file));
        }
        Ok(())
    }
}

/// What the user of an image should know: what of the prompt was not read, or is unknown to the LLM.
fn warnings(painted: &Painted) -> impl Iterator<Item = String> {
    let left = painted.prompt_tokens.left;
    let unread =
        (left > 0).then(|| format!("the prompt is too long: its last {left} tokens were not read"));
    let unknown = painted.answer.as_ref().and_then(Answer::ignorance);
    unread.into_iter().chain(unknown)
}

/// The job of the image of this number.
fn seeded(job: Job, index: usize) -> Job {
    let seed = job.request().seed.wrapping_add(index as u64);
    job.with_seed(seed)
}
