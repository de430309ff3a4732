//! What becomes of a message: a job that this worker begins, or one that is over, cancelled or wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use tokio::sync::mpsc;

use super::answering::{Taken, answer, tell_over};
use super::beat::{Beat, Life};
use super::keeper::Keeper;
use super::running::Running;
use super::shared::Shared;
use crate::job::{Code, Failure, InputId, JobState, MAX_IMAGES, Order, Status};
use crate::measure;
use crate::nats::dead::Corpse;
use crate::nats::names;
use crate::nats::objects::{self, Piece};
use crate::nats::record::{self, Record, Stored};
use crate::nats::refusal::unavailable;
use crate::nats::wire::Told;
use crate::queue::Worker;
use crate::studio::Task;

/// What may wait for a keeper, so that memory is bounded while the server is away.
const HEARD: usize = 64;
/// After what time another worker is offered a job that this one can't begin.
const LATER: Duration = Duration::from_secs(1);

/// Begins a message's job; `None` where there is nothing to do.
pub(super) async fn claim(shared: &Arc<Shared>, message: Message, worker: &Worker) -> Option<Task> {
    let taken = match taken(message) {
        Ok(taken) => taken,
        Err(acker) => {
            let _ = acker.ack_with(AckKind::Term).await; // somebody else's; it would hold a place for ever
            return None;
        }
    };
    let id = taken.corpse.id;
    if *shared.stopped.borrow() {
        answer(&taken, AckKind::Nak(None)).await;
        return None;
    }
    if shared.running().contains_key(&id) {
        // The server missed this very process for a while. Its beats hold the job from now on.
        tracing::info!(job = %id, "is worked on here already");
        return None;
    }
    let life = Life::of_this_thread();
    let pulse = (taken.acker.clone(), shared.stores.session.clone());
    let beat = Beat::start(id, pulse, life.clone(), shared.stores.settings.ack_wait);
    match begin(shared, &taken, worker).await {
        Ok(Some((stored, order, cancels))) => {
            let (heard, hears) = mpsc::channel(HEARD);
            let running = Running::new(heard, life);
            let task = Task {
                id,
                order: Arc::new(order),
                inputs: shared.inputs.clone(),
                cancelled: running.cancelled(),
            };
            shared.running().insert(id, running.clone());
            let keeper = Keeper::new(shared.clone(), (taken, task.order.clone()), stored, running);
            tokio::spawn(keeper.keep(hears, cancels, beat));
            Some(task)
        }
        Ok(None) => None,
        Err(failure) => {
            tracing::warn!(job = %id, %failure, "can't be begun: another worker gets it");
            answer(&taken, AckKind::Nak(Some(LATER))).await;
            None
        }
    }
}

/// The parts of a message; of one that is no job, what answers it.
fn taken(message: Message) -> Result<Taken, Box<Acker>> {
    let deliveries = message
        .info()
        .map(|info| (info.delivered, info.stream_sequence));
    let (delivered, sequence) = deliveries.unwrap_or((1, 0));
    let (message, acker) = message.split();
    let Some(id) = names::job_of(&message.subject) else {
        tracing::warn!(subject = %message.subject, "is no job: dropped");
        return Err(Box::new(acker));
    };
    let corpse = Corpse {
        id,
        subject: message.subject.to_string(),
        sequence,
        payload: message.payload,
    };
    let deliveries = u64::try_from(delivered).unwrap_or(1);
    Ok(Taken {
        corpse,
        deliveries,
        acker: Arc::new(acker),
    })
}

/// The record with this worker in it, the order with its inputs here, and where cancelling is heard. `None` for a job
/// that needs no work: it is answered.
async fn begin(
    shared: &Arc<Shared>,
    taken: &Taken,
    worker: &Worker,
) -> Result<Option<(Stored, Order, async_nats::Subscriber)>, Failure> {
    let id = taken.corpse.id;
    let client = &shared.stores.session.client;
    let cancels = client.subscribe(names::cancel(id)).await;
    let cancels = cancels.map_err(|error| unavailable("cancelling", error))?;
    let order = match serde_json::from_slice::<Order>(&taken.corpse.payload) {
        Ok(order) if order.images.get() <= MAX_IMAGES => order,
        Ok(order) => {
            let message = format!("n: {} is more than {MAX_IMAGES}", order.images);
            refuse(shared, taken, Failure::param("n", message)).await?;
            return Ok(None);
        }
        Err(error) => {
            let message =
                format!("the worker can't read the order (is it of a newer version?): {error}");
            refuse(shared, taken, Failure::new(Code::InvalidRequest, message)).await?;
            return Ok(None);
        }
    };
    let Some(stored) = enter(shared, taken, &order, worker).await? else {
        return Ok(None);
    };
    measure::waited(stored.record.state.queue_ms());
    let told = Told::Status(Box::new(stored.record.state.clone())).json();
    let _ = client.publish(names::progress(id), told).await; // watchers read the state too
    match fetch(shared, &order).await {
        Ok(()) => Ok(Some((stored, order, cancels))),
        Err(failure) if failure.code == Code::InvalidRequest => {
            refuse(shared, taken, failure).await?;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Enters this worker into the job's record. `None` where the job is over: the message is answered then.
async fn enter(
    shared: &Shared,
    taken: &Taken,
    order: &Order,
    worker: &Worker,
) -> Result<Option<Stored>, Failure> {
    let (id, states) = (taken.corpse.id, &shared.stores.state);
    let keep = shared.stores.settings.keep_results_ms();
    let mut was = Status::Queued;
    let mut enter = |record: &mut Record| {
        was = record.state.status;
        match was {
            Status::Queued | Status::Running => {
                record.begin(&worker.name, &worker.device, taken.deliveries);
                true
            }
            Status::Canceling => {
                record.end(Err(Failure::new(Code::Canceled, "cancelled")), keep);
                true
            }
            _ => false,
        }
    };
    let stored = loop {
        if let Some((stored, _)) = record::change(states, id, &mut enter).await? {
            break stored;
        }
        // Its gateway died before it could write it, or is about to.
        let state = JobState::queued(id, order.model.clone().unwrap_or_default());
        let mut record = Record::queued(state, taken.corpse.sequence);
        enter(&mut record);
        if let Some(stored) = record::create(states, record).await? {
            break stored;
        }
    };
    if stored.record.state.status.is_over() {
        tracing::info!(job = %id, status = stored.record.state.status.name(), "is over already");
        if was == Status::Canceling {
            tell_over(shared, &stored.record.state).await;
        }
        answer(taken, AckKind::Ack).await;
        return Ok(None);
    }
    Ok(Some(stored))
}

/// Fails a job that no worker can do, and takes it from the queue.
async fn refuse(shared: &Shared, taken: &Taken, failure: Failure) -> Result<(), Failure> {
    let keep = shared.stores.settings.keep_results_ms();
    let (id, states) = (taken.corpse.id, &shared.stores.state);
    let ended = loop {
        let changed = record::change(states, id, |record| {
            let open = !record.state.status.is_over();
            if open {
                record.end(Err(failure.clone()), keep);
            }
            open
        });
        if let Some((stored, changed)) = changed.await? {
            break changed.then_some(stored);
        }
        // Nobody has written its record yet.
        let model = names::model_of(&taken.corpse.subject).unwrap_or_default();
        let mut record = Record::queued(JobState::queued(id, model), taken.corpse.sequence);
        record.end(Err(failure.clone()), keep);
        if let Some(stored) = record::create(states, record).await? {
            break Some(stored);
        }
    };
    if let Some(stored) = ended {
        tell_over(shared, &stored.record.state).await;
    }
    answer(taken, AckKind::Term).await;
    Ok(())
}

/// Gets the inputs of an order, and holds them.
async fn fetch(shared: &Shared, order: &Order) -> Result<(), Failure> {
    let ids: BTreeSet<&InputId> = order.inputs().map(|input| &input.id).collect();
    for id in ids {
        if shared.inputs.path(id).is_none() {
            fetch_one(shared, id).await?;
        }
    }
    shared.inputs.hold(order.inputs().map(|input| &input.id))
}

async fn fetch_one(shared: &Shared, id: &InputId) -> Result<(), Failure> {
    let mut receiving = None;
    let found = objects::read(&shared.stores.inputs, id.as_str(), |piece| {
        match piece {
            Piece::Start => receiving = Some(shared.inputs.receive()?),
            Piece::Bytes(bytes) => {
                if let Some(receiving) = &mut receiving {
                    receiving.write(bytes)?;
                }
            }
        }
        Ok(())
    });
    let found = found.await?;
    let kept = receiving
        .filter(|_| found)
        .map(|receiving| shared.inputs.finish(receiving));
    match kept.transpose()? {
        Some(kept) if kept == *id => Ok(()),
        Some(_) => Err(objects::damaged(id.as_str())),
        None => {
            let message = format!("there is no upload {id} (any more)");
            Err(Failure::new(Code::InvalidRequest, message))
        }
    }
}
