//! The next message: of a model that is loaded first, then of others.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use futures_util::stream::select_all;
use tokio::sync::watch;

use super::locking::lock;
use crate::job::Failure;
use crate::nats::connection::Session;
use crate::nats::names;
use crate::nats::refusal::unavailable;
use crate::queue::Worker;

/// How many jobs of loaded models are taken before others are looked at first.
const IN_A_ROW: usize = 8;
/// How long the server holds a request, so that a worker that stops ends soon.
const HOLD: Duration = Duration::from_secs(2);
/// How long an answer that is due at once may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a worker without a device leaves jobs to others.
const BROKEN: Duration = Duration::from_secs(30);

/// Takes messages.
pub(super) struct Taking {
    session: Session,
    consumers: HashMap<String, PullConsumer>,
    /// How many jobs of loaded models each worker took in a row.
    in_a_row: Mutex<HashMap<String, usize>>,
}

impl Taking {
    pub(super) fn new(session: Session, consumers: HashMap<String, PullConsumer>) -> Self {
        Self {
            session,
            consumers,
            in_a_row: Mutex::default(),
        }
    }

    /// The next message; `None` at the end, or after some seconds.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub(super) async fn next(
        &self,
        worker: &Worker,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Option<Message>, Failure> {
        if !worker.up {
            let _ = tokio::time::timeout(BROKEN, stopped.wait_for(|stopped| *stopped)).await;
            if *stopped.borrow() {
                return Ok(None);
            }
        }
        let models = self.in_order(worker);
        if let [only] = models[..] {
            return self.wait(only).await;
        }
        let mut wakes = None;
        for _ in 0..2 {
            for model in &models {
                if let Some(message) = self.look(model).await? {
                    self.count(worker, worker.loaded.iter().any(|loaded| loaded == model));
                    return Ok(Some(message));
                }
            }
            match &mut wakes {
                // What came while nobody listened is found by looking once more.
                None => wakes = Some(self.wakes(&models).await?),
                Some(wakes) => {
                    tokio::select! {
                        _ = wakes.next() => {}
                        () = tokio::time::sleep(HOLD) => {}
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Models that are loaded come first, but not for ever.
    fn in_order<'a>(&'a self, worker: &'a Worker) -> Vec<&'a str> {
        let known = worker.models.iter().map(String::as_str);
        let known = known.filter(|model| self.consumers.contains_key(*model));
        let is_loaded = |model: &str| worker.loaded.iter().any(|loaded| loaded == model);
        let (mut first, mut then): (Vec<_>, Vec<_>) = known.partition(|model| is_loaded(model));
        let in_a_row = lock(&self.in_a_row).get(&worker.name).copied();
        if in_a_row.unwrap_or(0) >= IN_A_ROW {
            std::mem::swap(&mut first, &mut then);
        }
        first.extend(then);
        first
    }

    fn count(&self, worker: &Worker, loaded: bool) {
        let mut in_a_row = lock(&self.in_a_row);
        let count = in_a_row.entry(worker.name.clone()).or_default();
        *count = match loaded && *count < IN_A_ROW {
            true => *count + 1,
            false => 0,
        };
    }

    /// Waits a while for a job of a model.
    async fn wait(&self, model: &str) -> Result<Option<Message>, Failure> {
        let consumer = &self.consumers[model];
        let batch = consumer
            .batch()
            .max_messages(1)
            .expires(HOLD)
            .messages()
            .await;
        let mut batch = batch.map_err(|error| unavailable("the next job", error))?;
        let mut connections = self.session.connections();
        let message = tokio::select! {
            message = batch.next() => message,
            _ = connections.changed() => None, // a request of before is lost
        };
        message
            .transpose()
            .map_err(|error| unavailable("the next job", error))
    }

    /// A job of a model that waits already.
    async fn look(&self, model: &str) -> Result<Option<Message>, Failure> {
        let fetch = async {
            let batch = self.consumers[model]
                .fetch()
                .max_messages(1)
                .messages()
                .await;
            let mut batch = batch.map_err(|error| unavailable("the next job", error))?;
            let message = batch.next().await.transpose();
            message.map_err(|error| unavailable("the next job", error))
        };
        let fetched = tokio::time::timeout(ANSWER, fetch).await;
        fetched.unwrap_or_else(|_| Err(unavailable("the next job", "no answer")))
    }

    /// Hears of new jobs of any of these models; of each job one idle worker hears.
    async fn wakes(
        &self,
        models: &[&str],
    ) -> Result<impl futures_util::Stream<Item = async_nats::Message> + Unpin, Failure> {
        let mut all = vec![];
        for model in models {
            let client = &self.session.client;
            let subscribed = client
                .queue_subscribe(names::wake(model), "idle".into())
                .await;
            all.push(subscribed.map_err(|error| unavailable("the next job", error))?);
        }
        Ok(select_all(all))
    }
}
