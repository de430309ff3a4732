//! Training: the runs of `x2i train` with settings from Python.

use std::ops::ControlFlow;

use pyo3::prelude::*;
use serde_json::{Value, json};
use toml::Table;
use x2i_core::{Error, Result};
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::models::ModelFiles;
use x2i_engine::{Model, OpenDevice, allocator};
use x2i_train::align::Align;
use x2i_train::control::Control;
use x2i_train::lora::Lora;
use x2i_train::run::{Alone, Event, Settings, Subject, Trainer, What};

use crate::deep::guarded;
use crate::errors::refused;
use crate::fork;
use crate::progress::Listener;

/// Makes a run of align, control or lora. `text` is a file of settings and `name` its name; `given` is JSON that replaces
/// its keys. The callback hears JSON, of warnings too. True when the run has ended, false when the callback ended it before.
#[pyfunction]
pub(crate) fn train(
    py: Python<'_>,
    what: &str,
    name: &str,
    text: &str,
    given: &str,
    callback: Py<PyAny>,
) -> PyResult<bool> {
    fork::check(py)?;
    allocator::keep_freed_memory();
    let what = match what {
        "align" => What::Align,
        "control" => What::Control,
        "lora" => What::Lora,
        other => {
            let reason = format!("`{other}` is none of align, control and lora");
            return Err(refused(py, "what", &reason));
        }
    };
    let given: Value =
        serde_json::from_str(given).map_err(|error| refused(py, "config", &error.to_string()))?;
    let given =
        Table::try_from(given).map_err(|error| refused(py, "config", &error.to_string()))?;
    let mut listener = Listener::new(None);
    let mut told = Told {
        callback,
        raised: None,
    };
    let ended = py.detach(|| {
        let run = || {
            let settings = Settings::read(what, name, text, given)?;
            run(what, &settings, &mut told, &mut listener)
        };
        guarded(run)
    });
    match told.raised {
        Some(error) => Err(error),
        None => listener.outcome(py, ended),
    }
}

/// Tells Python of a run.
struct Told {
    callback: Py<PyAny>,
    raised: Option<PyErr>,
}

impl Told {
    fn tell(&mut self, event: &Value) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            let answer = self.callback.bind(py).call1((event.to_string(),))?;
            PyResult::Ok(matches!(answer.extract::<bool>(), Ok(false)))
        });
        match told {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => ControlFlow::Break(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

fn run(what: What, settings: &Settings, told: &mut Told, listener: &mut Listener) -> Result<bool> {
    let model = Model::from_files(ModelFiles::find(settings.model.as_deref())?)?;
    let choice = settings.device.parse::<DeviceChoice>();
    let choice = choice.map_err(|reason| Error::device(settings.device.clone(), reason))?;
    let opened = device::acquire(choice)?;
    let place = [1, 0]; // one process, the first
    let mut warn = |line: String| {
        let _ = told.tell(&json!({ "type": "warning", "text": line })); // the run has not begun
    };
    let on = &opened.device;
    match what {
        What::Align => {
            let subject = opened.guard(|| Align::open(settings, &model, on, place, &mut warn))?;
            updates(what, settings, subject, &opened, (told, listener))
        }
        What::Control => {
            let subject = opened.guard(|| Control::open(settings, &model, on, place, &mut warn))?;
            updates(what, settings, subject, &opened, (told, listener))
        }
        What::Lora => {
            let subject = opened.guard(|| Lora::open(settings, &model, on, place, &mut warn))?;
            updates(what, settings, subject, &opened, (told, listener))
        }
    }
}

/// All updates that are left.
fn updates(
    what: What,
    settings: &Settings,
    subject: impl Subject,
    opened: &OpenDevice,
    (told, listener): (&mut Told, &mut Listener),
) -> Result<bool> {
    let world = &Alone;
    let device = opened.device.clone();
    let mut trainer = opened.guard(|| Trainer::open(settings, what, subject, world, device))?;
    opened.guard(|| {
        trainer.run(&mut |event| match told.tell(&line(&event)) {
            ControlFlow::Continue(()) => listener.signals(),
            broken @ ControlFlow::Break(()) => broken,
        })
    })
}

/// An event as the program's `--json` prints it.
fn line(event: &Event<'_>) -> Value {
    match event {
        Event::Begun {
            updates,
            numbers,
            epoch,
        } => json!({ "type": "begun", "updates": updates, "numbers": numbers, "epoch": epoch }),
        Event::Updated(line) => {
            let mut value = serde_json::to_value(line).unwrap_or_default();
            value["type"] = "update".into();
            value
        }
        Event::Saved(path) => json!({ "type": "saved", "text": path.display().to_string() }),
        Event::Shown(update) => json!({ "type": "samples", "update": update }),
    }
}
