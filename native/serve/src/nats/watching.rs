//! What a job tells, for one who watches it at a gateway.
//!
//! Core subjects may lose messages; what is stored is the truth. So the subjects are subscribed to before the state is
//! read, and the state is read again where nothing was heard for a while: a watcher may miss previews, never the end.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::refusal::unavailable;
use super::stores::Stores;
use super::wire::{self, Told};
use super::{names, record};
use crate::job::{Event, Failure, JobId, JobState, Status};
use crate::queue::Watch;

/// Events that a slow watcher may be behind; then it misses the oldest.
const EVENTS: usize = 64;
/// Silence after which the state is read, while the job runs and while it waits.
const RUNNING: Duration = Duration::from_secs(2);
const WAITING: Duration = Duration::from_secs(5);

/// Counts those who watch; `open` is dropped with the last event.
pub(super) async fn watch(
    stores: &Stores,
    id: JobId,
    open: Arc<()>,
) -> Result<Option<Watch>, Failure> {
    let client = &stores.session.client;
    let subscribe = async |subject| {
        let subscribed = client.subscribe(subject).await;
        subscribed.map_err(|error| unavailable("progress", error))
    };
    let progress = subscribe(names::progress(id)).await?;
    let previews = subscribe(names::preview(id)).await?;
    // The server has both when it answers.
    stores.session.flush().await?;
    let Some(stored) = record::read(&stores.state, id).await? else {
        return Ok(None);
    };
    let state = stored.record.state;
    let (sender, events) = broadcast::channel(EVENTS);
    if !state.status.is_over() {
        let following = Following {
            stores: stores.clone(),
            state: state.clone(),
            sender,
            progress,
            previews,
            connections: stores.session.connections(),
            _open: open,
        };
        tokio::spawn(following.follow());
    }
    Ok(Some(Watch { state, events }))
}

struct Following {
    stores: Stores,
    /// As the watcher knows it.
    state: JobState,
    sender: broadcast::Sender<Event>,
    progress: Subscriber,
    previews: Subscriber,
    connections: watch::Receiver<u64>,
    _open: Arc<()>,
}

impl Following {
    /// Until the job is over, or nobody watches.
    async fn follow(mut self) {
        let mut heard = Instant::now();
        while self.sender.receiver_count() > 0 && !self.state.status.is_over() {
            let silence = match self.state.status {
                Status::Queued => WAITING,
                _ => RUNNING,
            };
            tokio::select! {
                message = self.progress.next() => {
                    let Some(message) = message else { return };
                    heard = Instant::now();
                    if let Some(event) = Told::read(&message) {
                        self.send(event);
                    }
                }
                message = self.previews.next() => {
                    let Some(message) = message else { return };
                    if let Some(event) = wire::preview(message) {
                        self.send(event);
                    }
                }
                _ = self.connections.changed() => heard = self.look().await,
                () = tokio::time::sleep_until(heard + silence) => heard = self.look().await,
            }
        }
    }

    fn send(&mut self, event: Event) {
        record::apply(&mut self.state, &event);
        let _ = self.sender.send(event); // the watcher may just have gone
    }

    /// Tells what the stored state has that was not heard.
    async fn look(&mut self) -> Instant {
        match record::read(&self.stores.state, self.state.id).await {
            Ok(Some(stored)) => {
                let state = stored.record.state;
                if state.status != self.state.status || state.outputs != self.state.outputs {
                    self.send(Event::Status(Arc::new(state)));
                }
            }
            Ok(None) => {
                let state = JobState {
                    status: Status::Expired,
                    ..self.state.clone()
                };
                self.send(Event::Status(Arc::new(state)));
            }
            Err(failure) => {
                tracing::warn!(job = %self.state.id, %failure, "its state can't be read now")
            }
        }
        Instant::now()
    }
}
