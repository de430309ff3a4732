//! The recorder of what is measured: one for the process, whatever the number of servers in it.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Upper bounds of buckets, in seconds: from a step of a small model to an image of a large one on a CPU.
const SECONDS: [f64; 18] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    180.0, 600.0, 1800.0,
];

/// The recorder's handle; `None` where the program has another recorder.
pub fn recorder() -> Option<PrometheusHandle> {
    let installed = RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS).ok()?;
        builder.install_recorder().ok().inspect(|_| describe())
    });
    installed.clone()
}

/// Gives the memory of old samples back.
pub(crate) fn upkeep() {
    if let Some(Some(handle)) = RECORDER.get() {
        handle.run_upkeep();
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("x2i_jobs_total", "Jobs that are over, by model and status.");
    describe_counter!("x2i_images_total", "Images that were painted, by model.");
    describe_gauge!("x2i_queue_size", "Jobs that wait.");
    describe_gauge!("x2i_queue_limit", "The most jobs that may wait.");
    describe_gauge!("x2i_jobs_running", "Jobs that run.");
    describe_histogram!("x2i_queue_seconds", "How long jobs waited.");
    describe_histogram!("x2i_job_seconds", "How long the stages of a job took.");
    describe_histogram!(
        "x2i_step_seconds",
        "How long a step of the transformer took."
    );
    describe_histogram!("x2i_model_load_seconds", "How long a model took to load.");
    describe_gauge!(
        "x2i_nats_up",
        "1 where the queue between machines is reached."
    );
    describe_gauge!("x2i_worker_up", "1 where a device works.");
    describe_gauge!("x2i_device_memory_bytes", "Bytes of weights on a device.");
    describe_counter!("http_requests_total", "Requests that were answered.");
    describe_histogram!(
        "http_request_duration_seconds",
        "How long requests took until their answer began."
    );
    describe_gauge!(
        "http_requests_in_flight",
        "Requests that are not answered yet."
    );
}
