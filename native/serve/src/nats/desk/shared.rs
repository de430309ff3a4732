//! What the desk of a worker and the tasks of its jobs share.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::locking::lock;
use super::running::Running;
use crate::inputs::Inputs;
use crate::job::{JobId, Order};
use crate::nats::stores::Stores;

/// How much a new job counts in the mean of seconds.
const NEWEST: f64 = 0.2;

/// What the desk and its tasks share.
pub(super) struct Shared {
    pub stores: Stores,
    pub inputs: Arc<Inputs>,
    pub all: Mutex<HashMap<JobId, Running>>,
    /// Threads that have got a message and not yet decided what to do with it.
    pub deciding: AtomicUsize,
    /// No more jobs are taken.
    pub stopped: watch::Sender<bool>,
    /// The mean of the last jobs' seconds.
    seconds: Mutex<f64>,
}

impl Shared {
    /// With nothing that runs.
    pub(super) fn new(stores: Stores, inputs: Arc<Inputs>) -> Self {
        Self {
            stores,
            inputs,
            all: Mutex::default(),
            deciding: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
            seconds: Mutex::new(0.0),
        }
    }

    /// The mean of the last jobs' seconds; 0 before the first.
    pub(super) fn seconds(&self) -> f64 {
        *lock(&self.seconds)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        lock(&self.all)
    }

    /// A job took so many seconds.
    pub(super) fn took(&self, seconds: f64) {
        let mut mean = lock(&self.seconds);
        *mean = match *mean {
            0.0 => seconds,
            mean => mean + (seconds - mean) * NEWEST,
        };
    }

    pub(super) fn release(&self, order: &Order) {
        self.inputs.release(order.inputs().map(|input| &input.id));
        self.inputs.sweep();
    }
}
