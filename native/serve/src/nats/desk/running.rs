//! A running job, as the threads of its studio see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};

use super::beat::Life;
use crate::job::{Failure, Output};
use crate::studio::News;

/// What a keeper hears of its studio.
pub(super) enum Heard {
    News(News),
    Output(Output),
    Failed(Failure),
    Over(Result<(), Failure>),
}

/// A running job, as the studio's threads see it.
#[derive(Clone)]
pub(super) struct Running {
    heard: mpsc::Sender<Heard>,
    cancelled: Arc<AtomicBool>,
    /// Told when it goes back to the queue.
    pub give_back: Arc<Notify>,
    life: Life,
}

impl Running {
    pub(super) fn new(heard: mpsc::Sender<Heard>, life: Life) -> Self {
        Self {
            heard,
            cancelled: Arc::default(),
            give_back: Arc::default(),
            life,
        }
    }

    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        self.cancelled.clone()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// The studio ends it at the next block.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Gives it back to the queue.
    pub(super) fn give_back(&self) {
        self.give_back.notify_one();
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        self.life.sign();
    }

    /// Offers news that are dropped while too much waits, since the server is away then.
    pub(super) fn offer(&self, news: News) {
        self.alive();
        let _ = self.heard.try_send(Heard::News(news));
    }

    /// Where what may not be lost is sent. The caller sends it without the table's lock.
    pub(super) fn sender(&self) -> mpsc::Sender<Heard> {
        self.alive();
        self.heard.clone()
    }
}
