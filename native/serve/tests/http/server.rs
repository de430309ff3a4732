//! What stands around the routes: keys, hosts, origins, limits, metrics, the end.

use std::time::{Duration, Instant};

use crate::common::{MANY_STEPS, options, shared, start};
use serde_json::json;

#[test]
fn health_readiness_and_metrics_tell_the_truth() {
    let server = shared();
    let id = server.order(&json!({"prompt": "a cat"}));
    server.until_status(&id, "succeeded");
    assert_eq!(server.get("/health").json()["status"], "ok");
    let ready = server.get("/ready").json();
    assert_eq!(
        (ready["ready"].clone(), ready["devices"].clone()),
        (json!(true), json!(1))
    );
    assert_eq!(ready["workers"][0]["loaded"][0], "emoji");
    let metrics = server.get("/metrics").text();
    for name in [
        "x2i_jobs_total{model=\"emoji\",status=\"succeeded\"}",
        "x2i_images_total{model=\"emoji\"}",
        "x2i_queue_size",
        "x2i_job_seconds_bucket{stage=\"denoise\"",
        "x2i_step_seconds_count",
        "x2i_model_load_seconds_count",
        "x2i_worker_up{device=\"cpu\"} 1",
        "x2i_device_memory_bytes{device=\"cpu\"}",
        "http_requests_total{",
        "http_request_duration_seconds_bucket{",
        "http_requests_in_flight",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
}

#[test]
fn a_key_opens_all_but_health() {
    let mut options = options();
    options.access.keys = vec!["a-long-secret".into()];
    let server = start(options);
    assert_eq!(server.get("/health").status, 200);
    let refused = server.get("/v1/x2i/jobs");
    assert_eq!(refused.status, 401);
    // Browsers ask for a password only where Basic has a line of its own.
    let schemes = refused
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate");
    assert_eq!(
        schemes
            .map(|(_, scheme)| scheme.as_str())
            .collect::<Vec<_>>(),
        ["Bearer", "Basic realm=\"x2i\""]
    );
    assert_eq!(refused.json()["error"]["code"], "invalid_api_key");
    let with = |value: &str| {
        server
            .request("GET", "/v1/x2i/jobs", &[("authorization", value)], b"")
            .status
    };
    assert_eq!(with("Bearer a-long-secret"), 200);
    assert_eq!(with("Bearer a-long-secre"), 401);
}

#[test]
fn strangers_names_and_pages_are_refused() {
    let mut options = options();
    options.access.origins = vec!["https://app.example".parse().unwrap()];
    let server = start(options);
    let host = |name: &str| {
        server
            .request("GET", "/health", &[("host", name)], b"")
            .status
    };
    assert_eq!((host("localhost:7860"), host("evil.example")), (200, 403));
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(server.request("GET", "/health", &two, b"").status, 403);
    let form = [
        ("sec-fetch-site", "cross-site"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(
        server
            .request("POST", "/v1/x2i/jobs", &form, br#"{"prompt": "a"}"#)
            .status,
        403
    );
    let page = |origin: &str| {
        let headers = [("origin", origin), ("content-type", "text/plain")];
        server.request("POST", "/v1/x2i/jobs", &headers, br#"{"prompt": "a"}"#)
    };
    assert_eq!(page("https://evil.example").status, 403);
    let allowed = page("https://app.example");
    assert_eq!(allowed.status, 201);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let asks = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,x-stainless-os",
        ),
    ];
    let preflight = server.request("OPTIONS", "/v1/x2i/jobs", &asks, b"");
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("authorization,x-stainless-os")
    );
}

#[test]
fn requests_are_bounded() {
    let mut options = options();
    options.limits.body = 10_000;
    options.limits.pixels = 128 * 128;
    options.limits.images = 3;
    options.limits.steps = 20;
    let server = start(options);
    let order = |body| server.post("/v1/x2i/jobs", &body);
    assert_eq!(order(json!({"prompt": "a".repeat(20_000)})).status, 413);
    assert_eq!(order(json!({"prompt": "a", "width": 256})).status, 201); // the model's default is 64 high
    assert_eq!(order(json!({"prompt": "a", "width": 272})).param(), "size");
    assert_eq!(
        order(json!({"prompt": "a", "width": 256, "height": 256})).param(),
        "size"
    );
    assert_eq!(order(json!({"prompt": "a", "n": 4})).param(), "n");
    assert_eq!(order(json!({"prompt": "a", "steps": 21})).param(), "steps");
    assert_eq!(
        server
            .request("POST", "/v1/x2i/uploads", &[], &[1; 20_000])
            .status,
        413
    );
}

#[test]
fn unknown_routes_and_methods_answer_with_openais_error() {
    let server = shared();
    let missing = server.get("/v1/nothing");
    assert_eq!(
        (missing.status, missing.json()["error"]["code"].clone()),
        (404, json!("not_found"))
    );
    let wrong = server.request("PATCH", "/v1/x2i/jobs", &[], b"");
    assert_eq!(
        (wrong.status, wrong.json()["error"]["type"].clone()),
        (405, json!("invalid_request_error"))
    );
    assert!(missing.header("x-request-id").is_some());
}

#[test]
fn a_server_that_stops_ends_its_jobs_within_its_time() {
    let mut options = options();
    options.drain = Duration::from_millis(100);
    let mut server = start(options);
    let id = server.order(&json!({"prompt": "a cat", "steps": MANY_STEPS}));
    server.until_status(&id, "running");
    let begun = Instant::now();
    server.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_server_without_a_device_that_opens_does_not_begin() {
    let mut options = options();
    options.devices = vec![x2i_engine::DeviceChoice::Wgpu(Some(4242)).into()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime
        .block_on(x2i_serve::server::Server::start(options))
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("wgpu:4242"), "{refused}");
}

#[test]
fn a_device_whose_model_does_not_fit_is_not_ready_after_a_failed_job_either() {
    let mut options = options();
    options.engine.max_device_memory = vec![1000];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(x2i_serve::server::Server::start(options))
        .unwrap();
    let ready = || {
        let workers = runtime.block_on(server.app.queue.workers()).unwrap();
        workers.first().map(|worker| worker.up)
    };
    while ready().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(ready(), Some(false));
    let order = x2i_serve::job::Order {
        parts: vec![x2i_serve::job::PartOrder::Text("a cat".into())],
        ..Default::default()
    };
    assert!(runtime.block_on(server.app.paint(order, false)).is_err());
    assert_eq!(ready(), Some(false));
}
