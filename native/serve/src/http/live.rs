//! A job whose caller waits for it: a stream of what it tells, which owns the wish to cancel. A caller that goes away
//! drops the stream, and with it the job.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::response::Response;
use axum::response::sse;
use tokio::sync::OwnedSemaphorePermit;

use super::app::{App, succeeded};
use super::cancelling::Cancelling;
use super::error::ApiError;
use super::sse::answer;
use crate::job::{Event, JobState, Order, Output};
use crate::queue::Watch;

/// How a route words what a job tells.
pub(super) trait Words: Send + 'static {
    /// Events for something that was told. It is never a status, and each output comes once, in order. The state is as
    /// old as the last status.
    fn heard(
        &mut self,
        app: &Arc<App>,
        state: &JobState,
        event: Event,
    ) -> impl Future<Output = Result<Vec<sse::Event>, ApiError>> + Send;

    /// The last events of a job that succeeded.
    fn end(&mut self, state: &JobState) -> Vec<sse::Event>;

    /// The event for what went wrong.
    fn failed(&mut self, error: &ApiError) -> sse::Event;
}

/// What a job tells, with nothing missed that its state keeps: every output once, and its end.
pub(super) struct Live {
    app: Arc<App>,
    watch: Watch,
    cancelling: Option<Cancelling>,
    /// Outputs that were told.
    outputs: usize,
    ready: VecDeque<Event>,
    over: bool,
}

impl Live {
    /// Begins a job.
    ///
    /// # Errors
    /// As [`App::begin`].
    pub(super) async fn begin(app: &Arc<App>, order: Order, keep: bool) -> Result<Self, ApiError> {
        let (watch, cancelling) = app.begin(order, keep).await?;
        let mut live = Self {
            app: app.clone(),
            watch,
            cancelling: Some(cancelling),
            outputs: 0,
            ready: VecDeque::new(),
            over: false,
        };
        live.status(live.watch.state.clone());
        Ok(live)
    }

    /// The job as it was last heard of.
    pub(super) fn state(&self) -> &JobState {
        &self.watch.state
    }

    /// What it tells next; `None` after its end. Statuses are taken in and not told.
    ///
    /// # Errors
    /// Of the queue.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            match self.app.next(&mut self.watch).await? {
                Some(Event::Status(state)) => self.status((*state).clone()),
                Some(Event::Output(output)) => self.output(output),
                Some(event) => return Ok(Some(event)),
                None => self.end(),
            }
        }
    }

    fn status(&mut self, state: JobState) {
        for output in &state.outputs {
            self.output(output.clone());
        }
        self.watch.state = state;
        if self.watch.state.status.is_over() {
            self.end();
        }
    }

    /// An output, if it was not told.
    fn output(&mut self, output: Output) {
        if output.index == self.outputs {
            self.outputs += 1;
            self.ready.push_back(Event::Output(output));
        }
    }

    fn end(&mut self) {
        self.over = true;
        if let Some(cancelling) = self.cancelling.take() {
            cancelling.done();
        }
    }
}

/// The answer to a request that streams.
///
/// # Errors
/// As [`App::begin`]; too many streams.
pub(super) async fn stream(
    app: &Arc<App>,
    order: Order,
    keep: bool,
    words: impl Words,
) -> Result<Response, ApiError> {
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            http::StatusCode::TOO_MANY_REQUESTS,
            "too_many_streams",
            "too many streams of events are open; ask without stream",
        )
    })?;
    let stream = Stream {
        live: Live::begin(app, order, keep).await?,
        words,
        ready: VecDeque::new(),
        over: false,
        _permit: permit,
    };
    Ok(answer(futures_util::stream::unfold(stream, Stream::step)))
}

struct Stream<W> {
    live: Live,
    words: W,
    ready: VecDeque<sse::Event>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl<W: Words> Stream<W> {
    async fn step(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        while self.ready.is_empty() && !self.over {
            if let Err(error) = self.hear().await {
                self.over = true;
                self.ready.push_back(self.words.failed(&error));
            }
        }
        Some((Ok(self.ready.pop_front()?), self))
    }

    async fn hear(&mut self) -> Result<(), ApiError> {
        match self.live.next().await? {
            Some(event) => {
                let (app, state) = (&self.live.app, self.live.state());
                self.ready
                    .extend(self.words.heard(app, state, event).await?);
            }
            None => {
                let state = succeeded(self.live.state().clone())?;
                self.over = true;
                self.ready.extend(self.words.end(&state));
            }
        }
        Ok(())
    }
}
