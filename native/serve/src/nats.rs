//! The queue between machines, over NATS JetStream: gateways take jobs in, workers with devices do them.
//!
//! | what | where |
//! |---|---|
//! | jobs that wait or run | stream `X2I_JOBS` (work queue), one subject a job: `x2i.jobs.MODEL.ID` |
//! | who does them | one durable consumer a model, `x2i-MODEL`, shared by all of its workers |
//! | where they stand | key-value bucket `X2I_STATE`, changed only by compare-and-set |
//! | inputs, outputs | object stores `X2I_INPUTS` and `X2I_RESULTS` |
//! | progress, previews, cancelling | core subjects `x2i.progress.ID`, `x2i.preview.ID`, `x2i.cancel.ID`: not stored |
//! | workers | key-value bucket `X2I_WORKERS`, half a minute |
//! | jobs that nobody could do | advisories in stream `X2I_ADVISORIES`, the jobs in `X2I_DEAD` |
//!
//! A message is removed after its result is stored and the state says so. Whatever dies before that, the message is
//! given to another worker; whoever changes the state to one that is over first has made the result, others drop
//! theirs.
//!
//! Left out: priority groups, scheduling of messages, mirrors between clusters.

mod connection;
mod dead;
mod desk;
mod names;
mod objects;
mod options;
mod queue;
mod record;
mod refusal;
mod roster;
mod stores;
mod watching;
mod wire;
mod worker;

pub use connection::Session;
pub use desk::NatsDesk;
pub use options::{NatsOptions, NatsSettings};
pub use queue::NatsQueue;
pub use record::Record;
pub use stores::{Stores, Upkeep};
pub use worker::{WorkerOptions, work};
