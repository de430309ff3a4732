//! The jobs that came by `/sdapi` and are not over. Interrupting and progress know no others: the web UI has one user,
//! a server has many, and nobody else's job is stopped or shown.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::job::JobId;

/// The jobs, and the model that clients have chosen.
#[derive(Default)]
pub struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    model: Option<String>,
    /// In the order in which they came.
    tasks: Vec<Task>,
}

/// A job that a client waits for.
#[derive(Clone)]
pub(super) struct Task {
    /// The client's name for it (`force_task_id`).
    pub(super) name: Option<String>,
    pub(super) job: JobId,
    /// The image as it looks so far, a PNG.
    pub(super) preview: Option<Bytes>,
}

/// A job among the tasks, until this is dropped.
pub(super) struct Entered {
    tasks: Arc<Tasks>,
    job: JobId,
}

impl Tasks {
    /// A job begins.
    pub(super) fn enter(self: &Arc<Self>, name: Option<String>, job: JobId) -> Entered {
        self.table().tasks.push(Task {
            name,
            job,
            preview: None,
        });
        Entered {
            tasks: self.clone(),
            job,
        }
    }

    /// All jobs; only those of a name if there is one.
    pub(super) fn find(&self, name: Option<&str>) -> Vec<Task> {
        let table = self.table();
        let tasks = table.tasks.iter();
        let found = tasks.filter(|task| name.is_none() || task.name.as_deref() == name);
        found.cloned().collect()
    }

    /// The model that clients have chosen.
    pub(super) fn model(&self) -> Option<String> {
        self.table().model.clone()
    }

    /// Chooses a model.
    pub(super) fn choose(&self, model: String) {
        self.table().model = Some(model);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// Keeps the image as it looks so far.
    pub(super) fn show(&self, png: Bytes) {
        let mut table = self.tasks.table();
        if let Some(task) = table.tasks.iter_mut().find(|task| task.job == self.job) {
            task.preview = Some(png);
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.tasks.table().tasks.retain(|task| task.job != self.job);
    }
}
