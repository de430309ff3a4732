//! A job goes into the queue: first its inputs, then its message, then its state.
//!
//! The message is what makes it a job. A gateway that dies before it leaves nothing but inputs that nobody needs; one that
//! dies after it leaves a job whose state the worker writes.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use super::NatsQueue;
use crate::inputs::Inputs;
use crate::job::{Code, Failure, InputId, JobId, JobState, Order};
use crate::measure;
use crate::nats::record::{self, Record};
use crate::nats::refusal::unavailable;
use crate::nats::{names, objects};
use crate::queue::Submission;

/// How often a message is sent whose answer did not come: the server knows it by its id.
const SENDS: usize = 3;
/// How long a job waits for a server that is away, before it is refused.
const AWAY: Duration = Duration::from_secs(2);
/// The name of the header with the time after which the server drops a message.
const TIME_TO_LIVE: &str = "Nats-TTL";

impl NatsQueue {
    pub(super) async fn submit_now(&self, job: Submission) -> Result<JobState, Failure> {
        if self.closed.load(Ordering::Relaxed) {
            let message = "the server stops; ask again later";
            return Err(Failure::new(Code::Unavailable, message));
        }
        self.stores.session.here(AWAY).await?;
        let Submission { id, order, inputs } = job;
        let model = order.model.clone().unwrap_or_default();
        let payload = payload(&order, self.stores.session.client.max_payload())?;
        self.upload(&order, &inputs).await?;
        let state = JobState::queued(id, &model);
        let sent = match self.publish(id, &model, payload).await {
            Ok(sent) => sent,
            Err(error) => return self.refused(id, &error).await,
        };
        let client = &self.stores.session.client;
        let _ = client.publish(names::wake(&model), Bytes::new()).await; // idle workers look by themselves too
        let record = Record::queued(state.clone(), sent.sequence);
        match record::create(&self.stores.state, record).await {
            Ok(Some(_)) => {
                if let Ok(load) = self.counted().await {
                    measure::queue(&load);
                }
                Ok(state)
            }
            // A worker was faster, or the job was there already.
            Ok(None) => Ok(self.state_now(id).await?.unwrap_or(state)),
            Err(failure) => {
                tracing::warn!(job = %id, %failure, "is in the queue; its worker will write its state");
                Ok(state)
            }
        }
    }

    /// Sends the message of a job.
    async fn publish(
        &self,
        id: JobId,
        model: &str,
        payload: Bytes,
    ) -> Result<PublishAck, PublishError> {
        let seconds = self.stores.settings.keep_state.as_secs().max(1);
        let mut message = PublishMessage::build()
            .payload(payload)
            .message_id(id.to_string());
        if self.stores.session.message_ttl {
            message = message.header(TIME_TO_LIVE, format!("{seconds}s"));
        }
        let mut sends = 0;
        loop {
            let subject = names::job(model, id);
            let answer = match self
                .stores
                .session
                .jetstream
                .send_publish(subject, message.clone())
                .await
            {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            sends += 1;
            match answer {
                Err(error) if sends < SENDS && is_worth_again(error.kind()) => {
                    tracing::warn!(job = %id, %error, "is sent again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                answer => return answer,
            }
        }
    }

    /// What a refused message means.
    async fn refused(&self, id: JobId, error: &PublishError) -> Result<JobState, Failure> {
        if server_code(error) != Some(ErrorCode::STREAM_STORE_FAILED) {
            return Err(unavailable("the job is not taken", error));
        }
        // Either there is no room, or the same job is in the queue.
        if let Some(state) = self.state_now(id).await? {
            return Ok(state);
        }
        let load = self.counted().await.unwrap_or_default();
        let seconds = load.retry_after();
        let message = format!(
            "the queue is full ({} jobs wait or run); ask again in {seconds:.1} s",
            load.limit
        );
        Err(Failure {
            retry_after: Some(seconds),
            ..Failure::new(Code::QueueFull, message)
        })
    }

    /// Stores the inputs of an order, each under the hash of its bytes.
    async fn upload(&self, order: &Order, inputs: &Inputs) -> Result<(), Failure> {
        let ids: BTreeSet<&InputId> = order.inputs().map(|input| &input.id).collect();
        inputs.hold(ids.iter().copied())?;
        let mut stored = Ok(());
        for id in &ids {
            stored = self.upload_one(id, inputs).await;
            if stored.is_err() {
                break;
            }
        }
        inputs.release(ids.into_iter());
        stored
    }

    async fn upload_one(&self, id: &InputId, inputs: &Inputs) -> Result<(), Failure> {
        let gone = || {
            Failure::new(
                Code::InvalidRequest,
                format!("there is no upload {id} (any more)"),
            )
        };
        let path = inputs.path(id).ok_or_else(gone)?;
        let mut file = tokio::fs::File::open(path).await.map_err(|_| gone())?;
        // One that is kept for long enough is not sent again.
        let fresh = self.stores.settings.keep_state / 2;
        objects::put(&self.stores.inputs, id.as_str(), fresh, &mut file).await
    }
}

fn payload(order: &Order, most: usize) -> Result<Bytes, Failure> {
    let json = serde_json::to_vec(order);
    let json = json.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    // Headers have some bytes too.
    match json.len() + 1024 > most {
        true => Err(Failure::new(
            Code::InvalidRequest,
            format!(
                "the order has {} bytes, and the queue takes {most}: shorten its texts",
                json.len()
            ),
        )),
        false => Ok(json.into()),
    }
}

fn is_worth_again(kind: PublishErrorKind) -> bool {
    matches!(
        kind,
        PublishErrorKind::TimedOut
            | PublishErrorKind::BrokenPipe
            | PublishErrorKind::StreamNotFound
    )
}

/// The server's own number of an error.
fn server_code(error: &PublishError) -> Option<ErrorCode> {
    let source = error.source()?.downcast_ref::<jetstream::Error>()?;
    Some(source.error_code())
}
