//! The keeper of a running job: it alone changes the job's record, tells watchers, and gives the message back or ends it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::AckKind;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answering::{Taken, answer, tell_over};
use super::beat::Beat;
use super::running::{Heard, Running};
use super::shared::Shared;
use crate::job::{Code, Failure, JobState, Order, Status};
use crate::nats::record::{self, Record, Stored};
use crate::nats::wire::{self, Told};
use crate::nats::{dead, names};
use crate::studio::News;

/// How often a record is written, at most.
const WRITES: Duration = Duration::from_secs(1);
/// How often it is read where there is nothing to write.
const READS: Duration = Duration::from_secs(5);
/// Pause before a server that is away is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// After what time another worker gets a job that this one failed at.
const LATER: Duration = Duration::from_secs(1);

/// How a job ended here.
enum End {
    /// Its studio has finished.
    Over(Result<(), Failure>),
    /// The worker stops.
    GivenBack,
}

/// The keeper.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    taken: Taken,
    order: Arc<Order>,
    running: Running,
    /// As this worker last wrote or read it.
    mine: Stored,
    /// The record has more than what was written.
    dirty: bool,
    /// Another worker has the job too: only the end is written, if it comes first.
    superseded: bool,
    /// The job is over: somebody else was first.
    lost: bool,
    failed: Option<Failure>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        (taken, order): (Taken, Arc<Order>),
        mine: Stored,
        running: Running,
    ) -> Self {
        Self {
            shared,
            taken,
            order,
            running,
            mine,
            dirty: false,
            superseded: false,
            lost: false,
            failed: None,
        }
    }

    /// Keeps the job until it is over; `beat` ends with it.
    pub(super) async fn keep(
        mut self,
        mut hears: mpsc::Receiver<Heard>,
        mut cancels: Subscriber,
        beat: Beat,
    ) {
        let end = self.follow(&mut hears, &mut cancels).await;
        hears.close();
        match end {
            End::Over(outcome) => self.end(outcome).await,
            End::GivenBack => self.return_it().await,
        }
        drop(beat);
        self.shared.running().remove(&self.taken.corpse.id);
        self.shared.release(&self.order);
    }

    async fn follow(&mut self, hears: &mut mpsc::Receiver<Heard>, cancels: &mut Subscriber) -> End {
        let give_back = self.running.give_back.clone();
        let mut looked = Instant::now();
        loop {
            let pause = if self.dirty { WRITES } else { READS };
            tokio::select! {
                heard = hears.recv() => match heard {
                    Some(Heard::Over(outcome)) => return End::Over(outcome),
                    Some(heard) => self.hear(heard).await,
                    None => return End::GivenBack, // the desk is gone
                },
                message = cancels.next() => {
                    if message.is_some() {
                        self.running.cancel();
                    } else {
                        tokio::time::sleep(PAUSE).await; // the connection is closed for good
                    }
                }
                () = give_back.notified() => return End::GivenBack,
                () = tokio::time::sleep_until(looked + pause) => {
                    self.look().await;
                    looked = Instant::now();
                }
            }
        }
    }

    async fn hear(&mut self, heard: Heard) {
        let state = &mut self.mine.record.state;
        let told = match heard {
            Heard::News(News::Progress(progress)) => {
                state.progress = Some(progress.clone());
                Told::Progress(progress)
            }
            Heard::News(News::Answer(answer)) if state.answer.is_none() => {
                state.answer = Some(answer.clone());
                Told::Answer(answer)
            }
            Heard::News(News::Preview(preview)) => return self.show(preview).await,
            Heard::News(News::PromptTokens(tokens)) => {
                state.prompt_tokens = Some(tokens);
                return self.dirty = true;
            }
            Heard::News(News::Warning(warning)) => {
                state.warnings.push(warning);
                return self.dirty = true;
            }
            Heard::Output(output) => {
                record::add(&mut state.outputs, output.clone());
                Told::Output(output)
            }
            Heard::Failed(failure) => {
                self.failed.get_or_insert(failure);
                return;
            }
            Heard::News(News::Answer(_)) | Heard::Over(_) => return,
        };
        self.dirty = true;
        if !self.superseded {
            self.tell(&told).await;
        }
    }

    /// Writes what is new, or reads whether others changed the record.
    async fn look(&mut self) {
        let id = self.taken.corpse.id;
        if self.dirty && !self.superseded && !self.lost {
            match record::replace(
                &self.shared.stores.state,
                self.mine.revision,
                self.mine.record.clone(),
            )
            .await
            {
                Ok(Some(stored)) => {
                    self.mine.revision = stored.revision;
                    self.dirty = false;
                    return;
                }
                Ok(None) => {}
                Err(failure) => {
                    return tracing::debug!(job = %id, %failure, "its state is written later");
                }
            }
        }
        match record::read(&self.shared.stores.state, id).await {
            Ok(Some(stored)) => self.compare(stored),
            Ok(None) => {} // not kept any more: its end is
            Err(failure) => tracing::debug!(job = %id, %failure, "its state is read later"),
        }
    }

    /// Learns from a record that others may have changed.
    fn compare(&mut self, stored: Stored) {
        let there = &stored.record;
        if there.state.status.is_over() {
            self.lost = true;
            self.running.cancel();
            return;
        }
        self.superseded = !self.is_mine(there);
        if self.superseded {
            return;
        }
        if there.state.status == Status::Canceling {
            self.mine.record.state.status = Status::Canceling;
            self.running.cancel();
        }
        self.mine.revision = stored.revision;
    }

    fn is_mine(&self, there: &Record) -> bool {
        let mine = &self.mine.record;
        (&there.worker, there.deliveries) == (&mine.worker, mine.deliveries)
    }

    /// Ends the job, if nobody did.
    async fn end(&mut self, outcome: Result<(), Failure>) {
        let outcome = self.failed.take().map_or(outcome, Err);
        match outcome {
            Err(failure) if is_of_this_worker(&failure) => self.fail(failure).await,
            outcome => self.commit(outcome).await,
        }
    }

    /// Stores the result; whoever does so first has made it. Waits for a server that is away.
    async fn commit(&mut self, outcome: Result<(), Failure>) {
        let kind = match &outcome {
            Err(failure) if failure.code != Code::Canceled => AckKind::Term,
            _ => AckKind::Ack,
        };
        let mut ended = self.mine.record.clone();
        ended.end(outcome, self.shared.stores.settings.keep_results_ms());
        if let Some(state) = self.until_stored(&ended).await {
            if state.status == Status::Succeeded {
                self.shared
                    .took(state.execution_ms().unwrap_or_default() as f64 / 1000.0);
            }
            tell_over(&self.shared, &state).await;
        } else {
            tracing::info!(job = %self.taken.corpse.id, "another worker was first: this result is dropped");
        }
        answer(&self.taken, kind).await;
    }

    /// Stores the last record; `None` where the job was over.
    async fn until_stored(&self, ended: &Record) -> Option<JobState> {
        let id = self.taken.corpse.id;
        loop {
            let stored = match record::change(&self.shared.stores.state, id, |record| {
                let open = !record.state.status.is_over();
                if open {
                    let sequence = record.sequence;
                    *record = Record {
                        sequence,
                        ..ended.clone()
                    };
                }
                open
            })
            .await
            {
                Ok(Some((stored, changed))) => return changed.then_some(stored.record.state),
                // It was not kept for as long as it took.
                Ok(None) => record::create(&self.shared.stores.state, ended.clone()).await,
                Err(failure) => Err(failure),
            };
            match stored {
                Ok(Some(stored)) => return Some(stored.record.state),
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!(job = %id, %failure, "its result is stored later");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            self.running.alive();
        }
    }

    /// This worker could not do it: another tries, until as many have as may.
    async fn fail(&mut self, failure: Failure) {
        let last = self
            .taken
            .deliveries
            .saturating_sub(self.mine.record.returned)
            >= self.shared.stores.settings.deliveries as u64;
        if last {
            while let Err(failure) =
                dead::bury(&self.shared.stores, &self.taken.corpse, failure.clone()).await
            {
                tracing::warn!(job = %self.taken.corpse.id, %failure, "is given up later");
                tokio::time::sleep(PAUSE).await;
            }
            return answer(&self.taken, AckKind::Term).await;
        }
        tracing::warn!(job = %self.taken.corpse.id, %failure, "failed here: another worker gets it");
        if self.wait_again(Some(failure)).await {
            answer(&self.taken, AckKind::Nak(Some(LATER))).await;
        }
    }

    /// Gives the job back because this worker stops.
    async fn return_it(&mut self) {
        self.running.cancel();
        if self.wait_again(None).await {
            tracing::info!(job = %self.taken.corpse.id, "goes back to the queue");
            answer(&self.taken, AckKind::Nak(None)).await;
        }
    }

    /// The record says that the job waits. False where it is not this worker's any more, so that its message is another's.
    async fn wait_again(&mut self, reason: Option<Failure>) -> bool {
        let (id, returned) = (self.taken.corpse.id, u64::from(reason.is_none()));
        let changed = record::change(&self.shared.stores.state, id, |record| {
            let mine = self.is_mine(record) && record.state.status == Status::Running;
            if mine {
                record.wait_again(reason.clone());
                record.returned += returned;
            }
            mine
        });
        match changed.await {
            Ok(Some((stored, true))) => {
                self.tell(&Told::Status(Box::new(stored.record.state)))
                    .await;
                true
            }
            // Cancelled meanwhile: the next worker reads that, and ends it.
            Ok(Some((stored, false))) => stored.record.state.status == Status::Canceling,
            Ok(None) => true,
            Err(failure) => {
                tracing::warn!(job = %id, %failure, "the server will find out by itself");
                false
            }
        }
    }

    async fn show(&self, preview: crate::job::Preview) {
        let session = &self.shared.stores.session;
        let fits = preview.png.len() + 1024 <= session.client.max_payload();
        if fits && session.is_connected() && !self.superseded {
            let subject = names::preview(self.taken.corpse.id);
            let headers = wire::headers(&preview);
            let _ = session
                .client
                .publish_with_headers(subject, headers, preview.png)
                .await; // nobody needs it
        }
    }

    async fn tell(&self, told: &Told) {
        let session = &self.shared.stores.session;
        if session.is_connected() {
            let subject = names::progress(self.taken.corpse.id);
            let _ = session.client.publish(subject, told.json()).await; // watchers read the state too
        }
    }
}

/// Whether another worker may do what this one could not.
fn is_of_this_worker(failure: &Failure) -> bool {
    matches!(failure.code, Code::Internal | Code::Unavailable)
}
