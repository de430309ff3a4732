//! Progress of loading: the bytes of every tensor that was read, over all parts of a model.

use std::cell::Cell;

use crate::error::Result;
use crate::request::{OnProgress, Phase, Progress};
use crate::weights::{LocalBoxFuture, OnRead};

/// A model in few large tensors is told of at least so often; in bytes.
const STRIDE: u64 = 16 << 20;
/// A small model in many tensors is told of at most so often.
const EVENTS: u64 = 100;

/// Tells the caller of bytes that were read.
pub(super) struct LoadMeter<'a, F> {
    /// Taken while it is asked; one tensor is read at a time.
    on_progress: Cell<Option<&'a mut F>>,
    done: Cell<u64>,
    told: Cell<u64>,
    total: u64,
}

impl<'a, F: OnProgress> LoadMeter<'a, F> {
    pub(super) fn new(on_progress: &'a mut F, total: u64) -> Self {
        Self {
            on_progress: Cell::new(Some(on_progress)),
            done: Cell::new(0),
            told: Cell::new(0),
            total,
        }
    }

    /// Before the first byte.
    pub(super) async fn begin(&self) -> Result<()> {
        self.tell(0).await
    }

    /// After the last one. A file may hold tensors that no part asks for.
    pub(super) async fn end(&self) -> Result<()> {
        self.tell(self.total).await
    }

    async fn tell(&self, done: u64) -> Result<()> {
        self.told.set(done);
        let Some(on_progress) = self.on_progress.take() else {
            return Ok(());
        };
        let progress = Progress {
            done,
            total: self.total,
            ..Progress::count(Phase::Load, 0, 0)
        };
        let heard = progress.tell(on_progress).await;
        self.on_progress.set(Some(on_progress));
        heard
    }
}

impl<F: OnProgress> OnRead for LoadMeter<'_, F> {
    fn on_read(&self, bytes: usize) -> LocalBoxFuture<'_, Result<()>> {
        let done = self.done.get() + bytes as u64;
        self.done.set(done);
        let enough = STRIDE.min(self.total / EVENTS);
        Box::pin(async move {
            if done - self.told.get() < enough {
                return Ok(());
            }
            // The total is the headers'; what is read twice must not exceed it.
            self.tell(done.min(self.total)).await
        })
    }
}
