//! What all routes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use x2i_engine::job::random_seed;

use super::access::Access;
use super::cancelling::Cancelling;
use super::error::ApiError;
use crate::inputs::Inputs;
use crate::job::{Code, Event, Failure, JobId, JobState, MAX_IMAGES, Order, PartOrder};
use crate::models::{ModelFacts, Models};
use crate::queue::{Queue, Submission, Watch};
use crate::studio;

/// The most parts of an order, its turns' among them, and the most turns.
pub(super) const MOST_PARTS: usize = 512;
/// The most LoRAs of an order.
const MOST_LORAS: usize = 64;
/// The most bytes of text in an order. No model reads a tenth of it.
const MOST_TEXT: usize = 4 << 20;

/// The most that a request may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Pixels of an image that is painted.
    pub pixels: usize,
    /// Images of a job.
    pub images: usize,
    /// Steps of a job.
    pub steps: usize,
    /// How long a call that waits for its images may take.
    pub wait: Duration,
    /// Connections at once; others wait.
    pub connections: usize,
    /// How long the headers of a request may take, how long a connection may have no request, and how long a client may
    /// read nothing.
    pub patience: Duration,
    /// Streams of events at once.
    pub streams: usize,
    /// Hosts that inputs may be fetched from by URL.
    pub fetch: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 100 << 20,
            pixels: 4096 * 4096,
            images: MAX_IMAGES,
            steps: x2i_core::request::MAX_STEPS,
            wait: Duration::from_secs(3600),
            // Below the 1024 files that systems give a process.
            connections: 800,
            patience: Duration::from_secs(60),
            streams: 400,
            fetch: vec![],
        }
    }
}

/// What all routes share.
pub struct App {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The models; on a gateway, of which workers may know others, those that are known there.
    pub models: Arc<Models>,
    /// Whether models are the queue's alone ([`Models`] is empty then).
    pub gateway: bool,
    /// Inputs that clients send.
    pub inputs: Arc<Inputs>,
    /// The most that a request may ask for.
    pub limits: Limits,
    /// Who may ask.
    pub access: Access,
    /// Renders the metrics for Prometheus.
    pub metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
    /// The server stops.
    pub stopping: AtomicBool,
    /// Room for bodies that are read ([`body_shares`](super::body_shares)).
    pub bodies: Arc<tokio::sync::Semaphore>,
    /// Streams of events that are open.
    pub streams: Arc<tokio::sync::Semaphore>,
}

impl App {
    /// True when the server takes no more jobs.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Names of all models that jobs may be for; the first is the default.
    ///
    /// # Errors
    /// Of the queue.
    pub async fn model_names(&self) -> Result<Vec<String>, ApiError> {
        let models = self.model_facts().await?;
        Ok(models.into_iter().map(|(name, _)| name).collect())
    }

    /// All models that jobs may be for, with what they read; the first is the default. Those of a gateway are its workers'.
    ///
    /// # Errors
    /// Of the queue.
    pub async fn model_facts(&self) -> Result<Vec<(String, Option<ModelFacts>)>, ApiError> {
        if !self.gateway {
            let models = self.models.iter();
            let facts = models.map(|(name, served)| (name.to_owned(), Some(served.facts())));
            return Ok(facts.collect());
        }
        let mut models: Vec<(String, Option<ModelFacts>)> = vec![];
        for worker in self.queue.workers().await? {
            for name in worker.models {
                if models.iter().all(|(known, _)| *known != name) {
                    let facts = worker.facts.get(&name).cloned();
                    models.push((name, facts));
                }
            }
        }
        Ok(models)
    }

    /// Checks an order and gives it to the queue.
    ///
    /// # Errors
    /// For what is wrong with it, a full queue, a server that stops.
    pub async fn submit(&self, id: JobId, order: Order) -> Result<JobState, ApiError> {
        let order = self.checked(order).await?;
        let inputs = self.inputs.clone();
        Ok(self.queue.submit(Submission { id, order, inputs }).await?)
    }

    /// The order with its model and its seed, if it can be done.
    async fn checked(&self, mut order: Order) -> Result<Order, ApiError> {
        if self.is_stopping() {
            return Err(
                Failure::new(Code::Unavailable, "the server stops; ask again later").into(),
            );
        }
        self.check_limits(&order)?;
        order.numbers.seed.get_or_insert_with(random_seed);
        let names = self.model_names().await?;
        order.model = Some(chosen(&names, order.model.as_deref())?);
        if self.gateway {
            return Ok(order); // a worker checks the rest
        }
        let (models, inputs) = (self.models.clone(), self.inputs.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let sides = studio::check(&order, &models, &inputs)?;
            Ok::<_, Failure>((order, sides))
        });
        let checked = checking
            .await
            .map_err(|_| Failure::new(Code::Internal, "checking the order failed"))?;
        let (order, (width, height)) = checked?;
        self.check_pixels(width, height)?;
        Ok(order)
    }

    fn check_limits(&self, order: &Order) -> Result<(), ApiError> {
        let most = |param: &str, value: usize, most: usize| match value > most {
            true => Err(ApiError::param(
                param,
                format!("{param}: {value} is more than {most}, the most on this server"),
            )),
            false => Ok(()),
        };
        let parts = order
            .turns
            .iter()
            .flat_map(|turn| &turn.parts)
            .chain(&order.parts);
        most("parts", parts.clone().count(), MOST_PARTS)?;
        most("turns", order.turns.len(), MOST_PARTS)?;
        most("loras", order.loras.len(), MOST_LORAS)?;
        let texts = parts.map(|part| match part {
            PartOrder::Text(text) => text.len(),
            _ => 0,
        });
        let answers = order.turns.iter().map(|turn| turn.answer.len());
        let bytes = texts.chain(answers).sum::<usize>();
        if bytes > MOST_TEXT {
            let message = format!("prompt: has {bytes} bytes of text, more than {MOST_TEXT}");
            return Err(ApiError::param("prompt", message));
        }
        let numbers = &order.numbers;
        most("n", order.images.get(), self.limits.images)?;
        most("steps", numbers.steps.unwrap_or(0), self.limits.steps)?;
        self.check_pixels(numbers.width.unwrap_or(1), numbers.height.unwrap_or(1))
    }

    fn check_pixels(&self, width: usize, height: usize) -> Result<(), ApiError> {
        let most = self.limits.pixels;
        match width.saturating_mul(height) > most {
            true => {
                let message = format!(
                    "size: {width}x{height} has more than {most} pixels, the most on this server"
                );
                Err(ApiError::param("size", message))
            }
            false => Ok(()),
        }
    }

    /// Does a job and waits for its end. A caller that goes away cancels it, unless it shall be kept.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); the failure of the job.
    pub async fn paint(self: &Arc<Self>, order: Order, keep: bool) -> Result<JobState, ApiError> {
        let (mut watch, cancelling) = self.begin(order, keep).await?;
        let over = async {
            while !watch.state.status.is_over() {
                match self.next(&mut watch).await? {
                    Some(Event::Status(state)) => watch.state = (*state).clone(),
                    Some(_) => {}
                    None => break,
                }
            }
            Ok::<_, ApiError>(watch.state)
        };
        let state = match tokio::time::timeout(self.limits.wait, over).await {
            Ok(state) => state?,
            Err(_) => {
                return Err(Failure::new(
                    Code::Expired,
                    "the images took too long; order a job and poll it",
                )
                .into());
            }
        };
        cancelling.done();
        succeeded(state)
    }

    /// Begins a job and watches it; dropping the second value cancels it, unless it shall be kept.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn begin(
        self: &Arc<Self>,
        order: Order,
        keep: bool,
    ) -> Result<(Watch, Cancelling), ApiError> {
        let id = JobId::new();
        let cancelling = Cancelling::new(self.queue.clone(), id, keep);
        self.submit(id, order)
            .await
            .inspect_err(|_| cancelling.nothing_to_cancel())?;
        let watch = self.queue.watch(id).await?;
        let watch =
            watch.ok_or_else(|| ApiError::not_found(format_args!("job {id} (any more)")))?;
        Ok((watch, cancelling))
    }

    /// The next event of a job; `None` after the last one. Where events were missed, the state as it is now.
    ///
    /// # Errors
    /// Of the queue.
    pub async fn next(&self, watch: &mut Watch) -> Result<Option<Event>, ApiError> {
        use tokio::sync::broadcast::error::RecvError;
        match watch.events.recv().await {
            Ok(event) => Ok(Some(event)),
            Err(RecvError::Closed) => {
                let state = self.queue.job(watch.state.id).await?;
                Ok(state
                    .filter(|state| state.status.is_over())
                    .map(|state| Event::Status(Arc::new(state))))
            }
            Err(RecvError::Lagged(_)) => {
                let state = self.queue.job(watch.state.id).await?;
                Ok(state.map(|state| Event::Status(Arc::new(state))))
            }
        }
    }

    /// The bytes of an output.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn output(&self, id: JobId, index: usize) -> Result<bytes::Bytes, ApiError> {
        let file = self.queue.output(id, index).await?;
        file.ok_or_else(|| {
            ApiError::not_found(format_args!("output {index} of job {id} (any more)"))
        })
    }
}

/// The state of a job that succeeded.
///
/// # Errors
/// The failure of any other.
pub(super) fn succeeded(state: JobState) -> Result<JobState, ApiError> {
    use crate::job::Status;
    match (state.status, state.error.clone()) {
        (Status::Succeeded, _) => Ok(state),
        (_, Some(failure)) => Err(failure.into()),
        _ => Err(Failure::new(Code::Canceled, "the job was cancelled").into()),
    }
}

/// The model that is meant.
fn chosen(names: &[String], asked: Option<&str>) -> Result<String, ApiError> {
    match asked.filter(|name| !name.is_empty()) {
        None => names.first().cloned().ok_or_else(|| {
            Failure::new(
                Code::Unavailable,
                "the server has no model now: no worker is there",
            )
            .into()
        }),
        Some(name) if names.iter().any(|other| other == name) => Ok(name.to_owned()),
        Some(name) => {
            let message = format!(
                "model: the server has no model {name}; it has {}",
                names.join(", ")
            );
            Err(Failure {
                code: Code::ModelNotFound,
                ..Failure::param("model", message)
            }
            .into())
        }
    }
}
