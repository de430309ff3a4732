//! What is said of a job at its end: to the server, and to those who watch.

use std::sync::Arc;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;

use super::shared::Shared;
use crate::job::JobState;
use crate::measure;
use crate::nats::dead::Corpse;
use crate::nats::names;
use crate::nats::wire::Told;

/// A message of a job.
pub(super) struct Taken {
    pub corpse: Corpse,
    /// How often it was given to a worker.
    pub deliveries: u64,
    pub acker: Arc<Acker>,
}

/// Tells watchers and metrics that a job is over.
pub(super) async fn tell_over(shared: &Shared, state: &JobState) {
    measure::over(&state.model, state.status);
    let told = Told::Status(Box::new(state.clone())).json();
    let published = shared
        .stores
        .session
        .client
        .publish(names::progress(state.id), told)
        .await;
    if let Err(error) = published {
        tracing::debug!(job = %state.id, %error, "watchers will read that it is over");
    }
}

/// Answers a message. Where the answer is lost, the message comes again, and its record says what became of the job.
pub(super) async fn answer(taken: &Taken, kind: AckKind) {
    if let Err(error) = taken.acker.double_ack_with(kind).await {
        tracing::debug!(job = %taken.corpse.id, %error, "an answer was not confirmed");
    }
}
