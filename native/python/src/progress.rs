//! What Python hears while it waits: its own function's calls, and its signals.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use x2i_core::Error;

use crate::errors::raised;
use crate::image::Image;

/// Signals are asked for at most this often: the interpreter's lock may be held by another thread.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// One event: `done` of `total` units of a phase.
#[pyclass(frozen, module = "x2i")]
pub(crate) struct Progress(x2i_core::Progress);

#[pymethods]
impl Progress {
    /// load, encode, denoise or decode.
    #[getter]
    fn phase(&self) -> String {
        format!("{:?}", self.0.phase).to_lowercase()
    }

    /// Units done: bytes while loading, tokens of the answer while encoding, blocks while denoising and decoding.
    #[getter]
    fn done(&self) -> u64 {
        self.0.done
    }

    /// Units in all.
    #[getter]
    fn total(&self) -> u64 {
        self.0.total
    }

    /// Finished steps, while denoising.
    #[getter]
    fn step(&self) -> Option<usize> {
        self.0.steps.map(|steps| steps.done)
    }

    /// Steps in all, while denoising.
    #[getter]
    fn steps(&self) -> Option<usize> {
        self.0.steps.map(|steps| steps.total)
    }

    /// The picture as it looks so far, on the event that ends a step, if previews were asked for.
    #[getter]
    fn preview(&self) -> Option<Image> {
        self.0.preview.clone().map(Image::from)
    }

    /// What the LLM answered, on the event that ends encoding.
    #[getter]
    fn answer(&self) -> Option<String> {
        self.0.answer.clone()
    }

    fn __repr__(&self) -> String {
        format!(
            "<x2i.Progress {} {}/{}>",
            self.phase(),
            self.0.done,
            self.0.total
        )
    }
}

/// Calls a function of Python with each event, and asks for signals.
pub(crate) struct Listener {
    callback: Option<Py<PyAny>>,
    asked: Option<Instant>,
    /// What the function raised, or a signal's handler.
    raised: Option<PyErr>,
}

impl Listener {
    /// `callback` hears; `False` or an exception from it cancels.
    pub(crate) fn new(callback: Option<Py<PyAny>>) -> Self {
        Self {
            callback,
            asked: None,
            raised: None,
        }
    }

    /// Tells Python of an event; called without the interpreter's lock.
    pub(crate) fn hear(&mut self, progress: x2i_core::Progress) -> ControlFlow<()> {
        if self.raised.is_some() {
            return ControlFlow::Break(());
        }
        let Some(callback) = &self.callback else {
            return self.signals();
        };
        let told = Python::attach(|py| {
            py.check_signals()?;
            let answer = callback.bind(py).call1((Progress(progress),))?;
            Ok(match answer.extract::<bool>() {
                Ok(false) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        });
        self.flow(told)
    }

    /// Runs the handlers of signals that have come, if the last time was a while ago.
    pub(crate) fn signals(&mut self) -> ControlFlow<()> {
        if self.asked.is_some_and(|at| at.elapsed() < SIGNALS_EVERY) {
            return ControlFlow::Continue(());
        }
        self.asked = Some(Instant::now());
        let told = Python::attach(|py| py.check_signals());
        self.flow(told.map(ControlFlow::Continue))
    }

    fn flow(&mut self, told: PyResult<ControlFlow<()>>) -> ControlFlow<()> {
        told.unwrap_or_else(|error| {
            self.raised = Some(error);
            ControlFlow::Break(())
        })
    }

    /// The outcome for Python: what was raised meanwhile comes first.
    pub(crate) fn outcome<T>(
        self,
        py: Python<'_>,
        outcome: std::thread::Result<Result<T, Error>>,
    ) -> PyResult<T> {
        if let Some(error) = self.raised {
            return Err(error);
        }
        match outcome {
            Ok(outcome) => outcome.map_err(|error| raised(py, &error)),
            Err(_) => Err(PyRuntimeError::new_err(
                "x2i failed in a way that it does not know; please report it with the message above",
            )),
        }
    }
}
