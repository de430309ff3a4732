//! `/v1/x2i/jobs` over HTTP, with the embedded model on the CPU.

use crate::common::{MANY_STEPS, form, options, picture, server, shared, start};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x2i_engine::{Engine, EngineOptions, JobSpec, Model, Settings, device, ignore_progress};

/// The pixels that the engine paints for a prompt and a seed.
fn painted(prompt: &str, seed: u64) -> Vec<u8> {
    let model = Model::open("emoji").unwrap();
    let device = device::acquire(x2i_engine::DeviceChoice::Cpu).unwrap();
    let settings = Settings {
        seed: Some(seed),
        ..Settings::default()
    };
    let job = JobSpec {
        settings,
        ..JobSpec::text(prompt)
    }
    .job(&model)
    .unwrap();
    let mut engine = Engine::open(
        model,
        device,
        &EngineOptions::default(),
        &mut ignore_progress,
    )
    .unwrap();
    engine
        .paint(&job, &mut ignore_progress)
        .unwrap()
        .image
        .pixels()
        .to_vec()
}

fn pixels(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).unwrap().into_rgb8().into_raw()
}

#[test]
fn a_jobs_images_are_those_of_the_engine() {
    let server = shared();
    let id = server.order(&json!({"prompt": "a red apple", "seed": 7, "n": 2}));
    let job = server.until_status(&id, "succeeded");
    assert_eq!(job["outputs"][0]["seed"], 7);
    assert_eq!(job["outputs"][1]["seed"], 8);
    assert_eq!(job["progress"]["value"], 1.0);
    assert!(job["metrics"]["execution_ms"].as_u64() > Some(0));
    for (index, seed) in [(0, 7), (1, 8)] {
        let output = server.get(&format!("/v1/x2i/jobs/{id}/outputs/{index}"));
        assert_eq!(output.header("content-type"), Some("image/png"));
        assert_eq!(pixels(&output.body), painted("a red apple", seed));
    }
    assert_eq!(
        server.get(&format!("/v1/x2i/jobs/{id}/outputs/2")).status,
        404
    );
}

#[test]
fn events_begin_with_the_state_and_end_with_it() {
    let server = shared();
    let order = json!({"prompt": "a cat", "seed": 1, "previews": true, "conditioning": "answer"});
    let id = server.order(&order);
    let events = server.events(&format!("/v1/x2i/jobs/{id}/events"), |_, _| false);
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.first(), Some(&"status"));
    let (last, state) = events.last().unwrap();
    assert_eq!(
        (last.as_str(), &state["status"]),
        ("status", &json!("succeeded"))
    );
    assert!(
        state["answer"]
            .as_str()
            .is_some_and(|answer| !answer.is_empty())
    );
    // A second look has the end alone.
    let again = server.events(&format!("/v1/x2i/jobs/{id}/events"), |_, _| false);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1["status"], "succeeded");
}

#[test]
fn a_running_job_tells_progress_and_shows_previews() {
    let server = shared();
    let id = server.order(&json!({"prompt": "a cat", "steps": 200, "previews": true}));
    let path = format!("/v1/x2i/jobs/{id}/events");
    let events = server.events(&path, |name, data| {
        name == "preview" && data["step"].as_u64() > Some(20)
    });
    let of = |name: &str| {
        events
            .iter()
            .filter(|(other, _)| other == name)
            .collect::<Vec<_>>()
    };
    let values: Vec<_> = of("progress")
        .iter()
        .filter_map(|(_, data)| data["value"].as_f64())
        .collect();
    assert!(
        values.len() > 3 && values.windows(2).all(|pair| pair[0] <= pair[1]),
        "{values:?}"
    );
    let preview = of("preview").last().unwrap().1["b64_json"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(image::load_from_memory(&STANDARD.decode(preview).unwrap()).is_ok());
    server.post(&format!("/v1/x2i/jobs/{id}/cancel"), &json!({}));
    server.until_status(&id, "canceled");
}

#[test]
fn cancelling_ends_waiting_running_and_finished_jobs_each_in_its_way() {
    let server = server();
    let running = server.order(&json!({"prompt": "a cat", "steps": MANY_STEPS}));
    let waiting = server.order(&json!({"prompt": "a dog", "steps": MANY_STEPS}));
    let last = server.order(&json!({"prompt": "a fox", "seed": 3}));
    server.until_status(&running, "running");
    assert_eq!(server.until_status(&last, "queued")["queue_position"], 1);
    let cancel = |id: &str| {
        server
            .post(&format!("/v1/x2i/jobs/{id}/cancel"), &json!({}))
            .json()
    };
    assert_eq!(cancel(&waiting)["status"], "canceled");
    assert_eq!(cancel(&running)["status"], "canceling");
    server.until_status(&running, "canceled");
    let done = server.until_status(&last, "succeeded");
    assert_eq!(cancel(&last)["status"], "succeeded");
    assert_eq!(done["outputs"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/v1/x2i/jobs/nonsense").status, 404);
    let list = server.get("/v1/x2i/jobs?limit=2").json();
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["jobs"][0]["id"], last);
}

#[test]
fn a_full_queue_refuses_with_the_time_to_wait() {
    let mut options = options();
    options.queue.waiting = 1;
    let server = start(options);
    let long = json!({"prompt": "a cat", "steps": MANY_STEPS});
    let running = server.order(&long);
    server.until_status(&running, "running");
    server.order(&long);
    let refused = server.post("/v1/x2i/jobs", &long);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    assert!(
        refused
            .header("retry-after")
            .and_then(|seconds| seconds.parse::<u64>().ok())
            > Some(0)
    );
}

#[test]
fn an_idempotency_key_makes_one_job_of_equal_requests() {
    let server = shared();
    let body = json!({"prompt": "a tree"});
    let send = |key: &str, body: &Value| {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        server.request(
            "POST",
            "/v1/x2i/jobs",
            &headers,
            body.to_string().as_bytes(),
        )
    };
    let first = send("key-1", &body);
    let again = send("key-1", &body);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = send("key-1", &json!({"prompt": "a house"}));
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["error"]["code"], "idempotency_key_reuse");
    assert_ne!(send("key-2", &body).json()["id"], first.json()["id"]);
}

#[test]
fn inputs_come_as_data_urls_as_uploads_and_in_forms() {
    let server = shared();
    let red = picture([200, 30, 30]);
    let upload = server.request("POST", "/v1/x2i/uploads", &[], &red);
    assert_eq!(upload.status, 201, "{}", upload.text());
    let id = upload.json()["id"].as_str().unwrap().to_owned();
    let data = format!("data:image/png;base64,{}", STANDARD.encode(&red));
    let order =
        |image: &str| json!({"parts": [{"image": image}, {"text": "as a drawing"}], "seed": 5});
    let mut pictures = vec![];
    for image in [id.as_str(), data.as_str()] {
        let job = server.order(&order(image));
        server.until_status(&job, "succeeded");
        pictures.push(pixels(
            &server.get(&format!("/v1/x2i/jobs/{job}/outputs/0")).body,
        ));
    }
    let parts = r#"[{"image": "@photo"}, {"text": "as a drawing"}]"#;
    let (kind, body) = form(
        &[("parts", parts), ("seed", "5")],
        &[("photo", "../../a/photo.png", &red)],
    );
    let answer = server.request("POST", "/v1/x2i/jobs", &[("content-type", &kind)], &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let job = answer.json()["id"].as_str().unwrap().to_owned();
    server.until_status(&job, "succeeded");
    let png = server.get(&format!("/v1/x2i/jobs/{job}/outputs/0")).body;
    pictures.push(pixels(&png));
    assert!(pictures.windows(2).all(|pair| pair[0] == pair[1]));
    // The record has the client's name of the file, and nothing of the server.
    let facts = x2i_core::png::decode("a.png", std::io::Cursor::new(&png)).unwrap();
    let record = facts.metadata.unwrap().to_json().unwrap();
    assert!(
        record.contains("photo.png") && !record.contains("/tmp") && !record.contains("../"),
        "{record}"
    );
}

#[test]
fn what_is_wrong_with_an_order_is_named() {
    let server = shared();
    let refused = |body: Value| {
        let answer = server.post("/v1/x2i/jobs", &body);
        assert_eq!(answer.status / 100, 4, "{body}: {}", answer.text());
        answer.param()
    };
    assert_eq!(refused(json!({"prompt": "a", "steps": 0})), "steps");
    assert_eq!(refused(json!({"prompt": "a", "width": 17})), "width");
    assert_eq!(refused(json!({"prompt": "a", "colour": "red"})), "colour");
    assert_eq!(refused(json!({"prompt": "a", "n": 65})), "n");
    assert_eq!(refused(json!({"prompt": " "})), "prompt");
    assert_eq!(refused(json!({"prompt": "a", "model": "flux"})), "model");
    assert_eq!(refused(json!({"prompt": "a", "strength": 0.5})), "strength");
    assert_eq!(
        refused(json!({"prompt": "a", "loras": [{"name": "../x"}]})),
        "loras"
    );
    assert_eq!(
        refused(json!({"prompt": "a", "control": {"image": "x"}})),
        "control.image"
    );
    assert_eq!(
        refused(json!({"parts": [{"image": "/etc/passwd"}]})),
        "image"
    );
    assert_eq!(
        refused(json!({"parts": [{"image": "http://localhost:1/a.png"}]})),
        "image"
    );
    assert_eq!(
        refused(json!({"parts": [{"image": "data:image/png;base64,AAAA"}]})),
        "image"
    );
    let answer = server.request(
        "POST",
        "/v1/x2i/jobs",
        &[("content-type", "application/json")],
        b"{",
    );
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (400, json!("invalid_json"))
    );
}

#[test]
fn a_broken_file_fails_its_job_with_a_sentence_without_paths() {
    let server = shared();
    // It begins like an image, and only decoding shows that it is none.
    let mut cut = picture([1, 2, 3]);
    cut.truncate(cut.len() - 30);
    let data = format!("data:image/png;base64,{}", STANDARD.encode(&cut));
    let answer = server.post("/v1/x2i/jobs", &json!({"parts": [{"image": data}]}));
    let message = match answer.status {
        201 => {
            let id = answer.json()["id"].as_str().unwrap().to_owned();
            server.until_status(&id, "failed")["error"]["message"]
                .as_str()
                .unwrap()
                .to_owned()
        }
        _ => answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    assert!(
        message.starts_with("image: image: ") && !message.contains("/tmp"),
        "{message}"
    );
}

#[test]
fn conditioning_is_an_output_for_other_samplers() {
    let server = shared();
    let id = server.order(&json!({"prompt": "a red apple", "wanted": "conditioning"}));
    let job = server.until_status(&id, "succeeded");
    assert_eq!(
        job["outputs"][0]["media_type"],
        "application/vnd.safetensors"
    );
    let file = server.get(&format!("/v1/x2i/jobs/{id}/outputs/0")).body;
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    assert_eq!(header["txt"]["shape"][0], 1);
    assert_eq!(header["vec"]["shape"].as_array().map(Vec::len), Some(2));
}
