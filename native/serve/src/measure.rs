//! What is measured, for Prometheus. The names are those of docs/OPERATIONS.md.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::job::Status;
use crate::queue::{Load, Worker};

/// A part of a job took so long on a device, or in the encoder of files.
pub(crate) fn stage(stage: &'static str, took: Duration) {
    histogram!("x2i_job_seconds", "stage" => stage).record(took);
}

/// A step of the transformer took so long.
pub(crate) fn step(took: Duration) {
    histogram!("x2i_step_seconds").record(took);
}

/// A model was loaded.
pub(crate) fn load(model: &str, took: Duration) {
    histogram!("x2i_model_load_seconds", "model" => model.to_owned()).record(took);
}

/// An image was painted.
pub(crate) fn image(model: &str) {
    counter!("x2i_images_total", "model" => model.to_owned()).increment(1);
}

/// A job waited so long.
pub(crate) fn waited(milliseconds: u64) {
    histogram!("x2i_queue_seconds").record(milliseconds as f64 / 1000.0);
}

/// A job is over.
pub(crate) fn over(model: &str, status: Status) {
    counter!("x2i_jobs_total", "model" => model.to_owned(), "status" => status.name()).increment(1);
}

/// How full the queue is.
pub(crate) fn queue(load: &Load) {
    gauge!("x2i_queue_size").set(load.waiting as f64);
    gauge!("x2i_jobs_running").set(load.running as f64);
    gauge!("x2i_queue_limit").set(load.limit as f64);
}

/// Whether NATS is reached.
pub(crate) fn nats(up: bool) {
    gauge!("x2i_nats_up").set(f64::from(u8::from(up)));
}

/// What a worker is and has.
pub(crate) fn worker(worker: &Worker) {
    let name = || worker.name.clone();
    gauge!("x2i_worker_up", "device" => name()).set(f64::from(u8::from(worker.up)));
    gauge!("x2i_device_memory_bytes", "device" => name()).set(worker.memory as f64);
}
