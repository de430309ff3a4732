//! Jobs that nobody could do: after as many workers as may have one, the server gives it to no other, and tells so when the
//! next worker asks for a job.
//!
//! A stream keeps what the server tells, and all gateways share its consumer: each job is buried once, also when no
//! gateway was there at the time.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use super::names;
use super::record::{self, Record};
use super::refusal::unavailable;
use super::stores::Stores;
use super::wire::Told;
use crate::job::{Code, Failure, JobId};
use crate::measure;

/// How long a gateway waits for an advisory at once.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// What the server tells.
#[derive(Debug, Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: u64,
}

/// The message of a job.
pub(super) struct Corpse {
    pub id: JobId,
    pub subject: String,
    pub sequence: u64,
    pub payload: Bytes,
}

/// Buries jobs, for ever.
pub(super) async fn bury_all(stores: Stores) {
    loop {
        let worked = async {
            let consumer = stores.advisories().await?;
            loop {
                next(&stores, &consumer).await?;
            }
        };
        let ended: Result<(), Failure> = worked.await;
        if let Err(failure) = ended {
            tracing::debug!(%failure, "waiting for advisories");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn next(stores: &Stores, consumer: &PullConsumer) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| unavailable(names::ADVISORIES, error);
    let batch = consumer
        .batch()
        .max_messages(1)
        .expires(WAIT)
        .messages()
        .await;
    let mut batch = batch.map_err(|error| refused(&error))?;
    let mut connections = stores.session.connections();
    let message = tokio::select! {
        message = batch.next() => message,
        _ = connections.changed() => None, // a request of before is lost
    };
    let Some(message) = message else {
        return Ok(());
    };
    let message = message.map_err(|error| refused(&error))?;
    if let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) {
        handle(stores, &advisory).await?;
    }
    message
        .ack_with(AckKind::Ack)
        .await
        .map_err(|error| refused(&error))
}

async fn handle(stores: &Stores, advisory: &Advisory) -> Result<(), Failure> {
    let found = match stores.jobs.get_raw_message(advisory.stream_seq).await {
        Ok(found) => found,
        // Its last worker was late, but finished it.
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(()),
        Err(error) => return Err(unavailable("a job", error)),
    };
    let Some(id) = names::job_of(&found.subject) else {
        return Ok(());
    };
    let corpse = Corpse {
        id,
        subject: found.subject.to_string(),
        sequence: found.sequence,
        payload: found.payload,
    };
    let record = record::read(&stores.state, id)
        .await?
        .map(|stored| stored.record);
    let returned = record.as_ref().map_or(0, |record| record.returned);
    if returned > 0
        && advisory.deliveries.saturating_sub(returned) < stores.settings.deliveries as u64
    {
        return requeue(stores, &corpse).await;
    }
    let reason = record.as_ref().and_then(|record| record.reason.clone());
    let reason = reason.unwrap_or_else(|| unfinished(record.as_ref(), advisory.deliveries));
    bury(stores, &corpse, reason).await
}

fn unfinished(record: Option<&Record>, deliveries: u64) -> Failure {
    let last = record
        .map(|record| record.worker.as_str())
        .filter(|name| !name.is_empty());
    let last = last
        .map(|name| format!(" (the last: {name})"))
        .unwrap_or_default();
    let message = format!(
        "{deliveries} workers began the job, and each died or was cut off before it finished{last}"
    );
    Failure::new(Code::Internal, message)
}

/// Keeps a job where people look for such, fails it, and takes it from the queue. What is done already is not done twice.
pub(super) async fn bury(stores: &Stores, corpse: &Corpse, reason: Failure) -> Result<(), Failure> {
    let record = record::read(&stores.state, corpse.id).await?;
    if record.is_some_and(|stored| stored.record.state.status.is_over()) {
        return remove(stores, corpse).await; // somebody was late, but did it
    }
    keep(stores, corpse, &reason.message).await?;
    let milliseconds = stores.settings.keep_results_ms();
    let changed = record::change(&stores.state, corpse.id, |record| {
        let open = !record.state.status.is_over();
        if open {
            record.end(Err(reason.clone()), milliseconds);
        }
        open
    });
    if let Some((stored, true)) = changed.await? {
        let state = stored.record.state;
        tracing::error!(job = %corpse.id, model = state.model, reason = reason.message, "given up: it is in X2I_DEAD");
        measure::over(&state.model, state.status);
        let told = Told::Status(Box::new(state)).json();
        let _ = stores
            .session
            .client
            .publish(names::progress(corpse.id), told)
            .await; // watchers read the state too
    }
    remove(stores, corpse).await
}

/// Puts a job back that workers gave back more often than they failed.
async fn requeue(stores: &Stores, corpse: &Corpse) -> Result<(), Failure> {
    // Kept meanwhile, so that a gateway that dies between the next two lines loses nothing.
    let kept = keep(stores, corpse, "it is put back into the queue").await?;
    remove(stores, corpse).await?;
    let message = PublishMessage::build()
        .payload(corpse.payload.clone())
        .message_id(format!("{}.{}", corpse.id, corpse.sequence));
    let sequence = loop {
        match publish(stores, corpse.subject.clone(), message.clone()).await {
            Ok(sequence) => break sequence,
            Err(failure) => tracing::warn!(job = %corpse.id, %failure, "can't be put back yet"),
        }
        tokio::time::sleep(PAUSE).await;
    };
    record::change(&stores.state, corpse.id, |record| {
        (record.returned, record.sequence) = (0, sequence);
        !record.state.status.is_over()
    })
    .await?;
    let dead = stores.session.jetstream.get_stream(names::DEAD).await;
    if let Ok(dead) = dead {
        let _ = dead.delete_message(kept).await; // an old copy does no harm
    }
    Ok(())
}

async fn keep(stores: &Stores, corpse: &Corpse, reason: &str) -> Result<u64, Failure> {
    let mut headers = HeaderMap::new();
    let plain = reason.replace(['\r', '\n'], " ");
    headers.insert("X2i-Reason", plain.as_str());
    let message = PublishMessage::build()
        .payload(corpse.payload.clone())
        .headers(headers)
        .message_id(format!("dead-{}-{}", corpse.id, corpse.sequence));
    publish(
        stores,
        corpse.subject.replacen("x2i.jobs.", "x2i.dead.", 1),
        message,
    )
    .await
}

async fn publish(
    stores: &Stores,
    subject: String,
    message: PublishMessage,
) -> Result<u64, Failure> {
    let refused = |error: &dyn std::fmt::Display| unavailable("a job", error);
    let sent = stores
        .session
        .jetstream
        .send_publish(subject, message)
        .await;
    let acknowledged = sent.map_err(|error| refused(&error))?.await;
    acknowledged
        .map(|ack| ack.sequence)
        .map_err(|error| refused(&error))
}

async fn remove(stores: &Stores, corpse: &Corpse) -> Result<(), Failure> {
    match stores.jobs.delete_message(corpse.sequence).await {
        Ok(_) => Ok(()),
        // Somebody removed it already.
        Err(_) if stores.jobs.get_raw_message(corpse.sequence).await.is_err() => Ok(()),
        Err(error) => Err(unavailable("a job", error)),
    }
}
