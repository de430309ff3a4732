//! The web UI's routes, as its clients call them.

mod client;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Server, decoded, png, wait_for};
use serde_json::{Value, json};

fn info(answer: &Value) -> Value {
    serde_json::from_str(answer["info"].as_str().unwrap()).unwrap()
}

#[test]
fn a_prompt_becomes_images_with_their_settings() {
    let server = Server::start();
    // What webuiapi sends, mostly.
    let body = json!({
        "enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7, "prompt": "a red apple",
        "styles": [], "seed": 5, "subseed": -1, "batch_size": 2, "n_iter": 2, "steps": 4, "cfg_scale": 7.0, "width": 64,
        "height": 64, "restore_faces": false, "tiling": false, "negative_prompt": "", "eta": 1.0, "override_settings": {},
        "sampler_name": "Euler", "scheduler": "automatic", "sampler_index": "Euler a", "script_name": null,
        "script_args": [], "send_images": true, "save_images": false, "alwayson_scripts": {},
    });
    let answer = server.post("/sdapi/v1/txt2img", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["images"].as_array().unwrap().len(), 4);
    assert_eq!(decoded(&answer["images"][3]).dimensions(), (64, 64));
    assert_eq!(answer["parameters"]["cfg_scale"], 7.0);
    let info = info(&answer);
    assert_eq!(
        (&info["seed"], &info["all_seeds"]),
        (&json!(5), &json!([5, 6, 7, 8]))
    );
    assert_eq!(info["warnings"], json!([]));
    let text = info["infotexts"][1].as_str().unwrap();
    assert!(
        text.starts_with("a red apple\nSteps: 4, Sampler: Euler, "),
        "{text}"
    );
    assert!(
        text.contains("Seed: 6, Size: 64x64, Model: emoji"),
        "{text}"
    );
    let same = server
        .post(
            "/v1/images/generations",
            &json!({"prompt": "a red apple", "seed": 6, "steps": 4}),
        )
        .json();
    assert_eq!(
        decoded(&same["data"][0]["b64_json"]),
        decoded(&answer["images"][1])
    );
}

#[test]
fn what_is_not_done_is_told_and_what_would_mislead_is_refused() {
    let server = Server::start();
    let body = json!({"prompt": "a cat", "seed": -1, "negative_prompt": "dogs", "sampler_name": "DPM++ 2M", "enable_hr": true});
    let answer = server.post("/sdapi/v1/txt2img", &body).json();
    let warnings = info(&answer)["warnings"].to_string();
    for name in ["negative_prompt", "sampler_name", "enable_hr"] {
        assert!(warnings.contains(name), "{warnings}");
    }
    let image = STANDARD.encode(png(64, 64, [9; 3]));
    let refused = |route: &str, body: Value| server.post(route, &body).error();
    let param = |(status, _, param): (u16, String, String)| (status, param);
    assert_eq!(
        param(refused(
            "/sdapi/v1/img2img",
            json!({"prompt": "a", "init_images": [image], "mask": image})
        )),
        (400, "mask".into())
    );
    assert_eq!(
        param(refused("/sdapi/v1/img2img", json!({"prompt": "a"}))),
        (400, "init_images".into())
    );
    assert_eq!(
        param(refused(
            "/sdapi/v1/txt2img",
            json!({"prompt": "a <lora:ink:0.8>"})
        )),
        (400, "loras".into())
    );
    assert_eq!(
        param(refused(
            "/sdapi/v1/txt2img",
            json!({"prompt": "a", "width": 100})
        )),
        (400, "width".into())
    );
    assert_eq!(
        param(refused(
            "/sdapi/v1/txt2img",
            json!({"prompt": "a", "batch_size": 60, "n_iter": 60})
        )),
        (400, "n".into())
    );
    let other = json!({"prompt": "a", "override_settings": {"sd_model_checkpoint": "sdxl"}});
    assert_eq!(
        param(refused("/sdapi/v1/txt2img", other)),
        (404, "model".into())
    );
}

#[test]
fn an_image_to_begin_with_is_left_as_far_as_asked() {
    let server = Server::start();
    let red = STANDARD.encode(png(64, 64, [220, 20, 20]));
    let body = json!({"prompt": "a cat", "seed": 1, "steps": 20, "init_images": [format!("data:image/png;base64,{red}")], "denoising_strength": 0.05});
    let answer = server.post("/sdapi/v1/img2img", &body).json();
    let picture = decoded(&answer["images"][0]);
    let near = picture
        .pixels()
        .filter(|pixel| pixel[0] > 150 && pixel[2] < 100)
        .count();
    assert!(near > 64 * 64 * 9 / 10, "{near}");
    assert!(
        info(&answer)["infotexts"][0]
            .as_str()
            .unwrap()
            .contains("Denoising strength: 0.05")
    );
}

#[test]
fn settings_of_an_image_are_read_back() {
    let server = Server::start();
    let painted = server
        .post(
            "/sdapi/v1/txt2img",
            &json!({"prompt": "a fish", "seed": 11}),
        )
        .json();
    let read = server
        .post(
            "/sdapi/v1/png-info",
            &json!({"image": painted["images"][0]}),
        )
        .json();
    assert_eq!(
        (&read["parameters"]["Prompt"], &read["parameters"]["Seed"]),
        (&json!("a fish"), &json!("11"))
    );
    assert!(
        read["info"]
            .as_str()
            .unwrap()
            .starts_with("a fish\nSteps: ")
    );
    assert!(read["items"]["x2i"].as_str().unwrap().contains("\"seed\""));

    let mut theirs = vec![];
    let mut encoder = png::Encoder::new(&mut theirs, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let text = "a dog\nNegative prompt: cats\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 1x1";
    encoder
        .add_text_chunk("parameters".into(), text.into())
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0; 3]).unwrap();
    writer.finish().unwrap();
    let read = server
        .post(
            "/sdapi/v1/png-info",
            &json!({"image": STANDARD.encode(&theirs)}),
        )
        .json();
    assert_eq!(read["info"], text);
    assert_eq!(read["parameters"]["Negative prompt"], "cats");

    let plain = server
        .post(
            "/sdapi/v1/png-info",
            &json!({"image": STANDARD.encode(png(8, 8, [0; 3]))}),
        )
        .json();
    assert_eq!((&plain["info"], &plain["items"]), (&json!(""), &json!({})));
    let none = server.post(
        "/sdapi/v1/png-info",
        &json!({"image": STANDARD.encode([1; 80])}),
    );
    assert_eq!(none.error().2, "image");
}

#[test]
fn interrupting_stops_the_web_uis_jobs_and_no_others() {
    let server = Server::start();
    let long = json!({"prompt": "a cat", "steps": 1000, "batch_size": 8, "force_task_id": "mine"});
    std::thread::scope(|scope| {
        let painting = scope.spawn(|| server.post("/sdapi/v1/txt2img", &long));
        let mine = wait_for(|| {
            let progress = server.get("/sdapi/v1/progress?id_task=mine").json();
            (!progress["current_image"].is_null()).then_some(progress)
        });
        assert!(mine["progress"].as_f64().unwrap() > 0.0);
        assert!(mine["state"]["sampling_step"].as_u64().unwrap() > 0);
        assert_eq!(mine["state"]["sampling_steps"], 1000);
        assert_eq!(decoded(&mine["current_image"]).dimensions(), (64, 64));
        let hidden = server
            .get("/sdapi/v1/progress?skip_current_image=true")
            .json();
        assert_eq!(hidden["current_image"], Value::Null);
        let others = server.get("/sdapi/v1/progress?id_task=yours").json();
        assert_eq!(
            (&others["progress"], &others["state"]["job_count"]),
            (&json!(0.0), &json!(0))
        );

        let other = server
            .post("/v1/x2i/jobs", &json!({"prompt": "a dog"}))
            .json();
        assert_eq!(server.post("/sdapi/v1/interrupt", &json!({})).status, 200);
        let answer = painting.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert!(answer["images"].as_array().unwrap().len() < 8);
        assert_eq!(info(&answer)["interrupted"], true);
        let url = other["urls"]["self"].as_str().unwrap();
        wait_for(|| (server.get(url).json()["status"] == "succeeded").then_some(()));
        let idle = server.get("/sdapi/v1/progress").json();
        assert_eq!(
            (&idle["progress"], &idle["state"]["job_count"]),
            (&json!(0.0), &json!(0))
        );
    });
}

#[test]
fn lists_and_options_are_what_clients_ask_for() {
    let server = Server::start();
    let named =
        |path: &str, field: &str| server.get(&format!("/sdapi/v1/{path}")).json()[0][field].clone();
    assert_eq!(named("sd-models", "title"), "emoji");
    assert_eq!(named("samplers", "name"), "Euler");
    assert_eq!(named("schedulers", "label"), "Simple");
    assert_eq!(named("upscalers", "name"), "None");
    for empty in [
        "latent-upscale-modes",
        "sd-vae",
        "loras",
        "prompt-styles",
        "hypernetworks",
    ] {
        assert_eq!(
            server.get(&format!("/sdapi/v1/{empty}")).json(),
            json!([]),
            "{empty}"
        );
    }
    assert!(
        server.get("/sdapi/v1/memory").json()["ram"]["total"]
            .as_u64()
            .unwrap()
            > 0
    );
    assert_eq!(
        server.get("/sdapi/v1/options").json()["sd_model_checkpoint"],
        "emoji"
    );
    let set = |model: &str| {
        server.post(
            "/sdapi/v1/options",
            &json!({"sd_model_checkpoint": model, "CLIP_stop_at_last_layers": 2}),
        )
    };
    assert_eq!(
        (set("emoji").status, set("emoji").text().as_str()),
        (200, "null")
    );
    assert_eq!(
        set("sdxl").error(),
        (404, "model_not_found".into(), "sd_model_checkpoint".into())
    );
}
