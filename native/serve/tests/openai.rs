//! OpenAI's routes, as its clients call them.

mod client;

use client::{Server, data_url, decoded, png};
use serde_json::{Value, json};

#[test]
fn what_the_model_does_not_know_is_a_warning() {
    let server = Server::that_knows_no("red ");
    let warnings = |prompt: &str| {
        let body = json!({"prompt": prompt, "seed": 7, "x2i": {"steps": 1}});
        let answer = server.post("/v1/images/generations", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["x2i"]["warnings"].clone()
    };
    let unknown = warnings("a red apple on a blue background");
    assert_eq!(unknown.as_array().map(Vec::len), Some(1), "{unknown}");
    let warning = unknown[0].as_str().unwrap();
    assert!(
        warning.starts_with("I know no apple. Nearest: "),
        "{warning}"
    );
    let known = warnings("a cat on a blue background");
    assert!(known.as_array().is_none_or(Vec::is_empty), "{known}");
}

#[test]
fn a_prompt_becomes_an_image_with_its_seed_and_its_tokens() {
    let server = Server::start();
    let answer = server.post(
        "/v1/images/generations",
        &json!({"prompt": "a red apple", "model": "gpt-image-1", "seed": 7, "n": 2, "size": "auto", "user": "me", "quality": "high"}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!((&data[0]["seed"], &data[1]["seed"]), (&json!(7), &json!(8)));
    assert_eq!(decoded(&data[0]["b64_json"]).dimensions(), (64, 64));
    assert_eq!(
        (
            &answer["size"],
            &answer["output_format"],
            &answer["background"]
        ),
        (&json!("64x64"), &json!("png"), &json!("opaque"))
    );
    let usage = &answer["usage"];
    assert!(usage["input_tokens"].as_u64().unwrap() > 2);
    assert_eq!(usage["output_tokens"], 2 * 4 * 4);
    assert_eq!(answer["x2i"]["model"], "emoji");

    let again = server.post(
        "/v1/images/generations",
        &json!({"prompt": "a red apple", "x2i": {"seed": 8}}),
    );
    assert_eq!(
        decoded(&again.json()["data"][0]["b64_json"]),
        decoded(&data[1]["b64_json"])
    );
}

#[test]
fn an_image_also_comes_by_url_and_in_other_formats() {
    let server = Server::start();
    let body = json!({"prompt": "a fish", "response_format": "url", "output_format": "webp", "size": "96x64"});
    let answer = server.post("/v1/images/generations", &body).json();
    let url = answer["data"][0]["url"].as_str().unwrap();
    let file = server.get(url.strip_prefix(&server.base).unwrap());
    assert_eq!(
        (file.status, file.headers["content-type"].as_str()),
        (200, "image/webp")
    );
    assert_eq!(image::load_from_memory(&file.body).unwrap().width(), 96);
    assert_eq!(answer["output_format"], "webp");
}

#[test]
fn what_can_not_be_done_is_refused_by_its_name() {
    let server = Server::start();
    let refused = |extra: Value| {
        let mut body = json!({"prompt": "a"});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let (status, _, param) = server.post("/v1/images/generations", &body).error();
        (status, param)
    };
    for (extra, param) in [
        (json!({"background": "transparent"}), "background"),
        (json!({"output_format": "gif"}), "output_format"),
        (json!({"output_format": "svg"}), "output_format"),
        (json!({"mask": "data:,"}), "mask"),
        (json!({"colour": 1}), "colour"),
        (json!({"x2i": {"colour": 1}}), "x2i.colour"),
        (json!({"size": "100x100"}), "size"),
        (json!({"size": "16384x16"}), "size"),
        (json!({"n": 0}), "n"),
        (json!({"n": 65}), "n"),
        (json!({"steps": 0}), "steps"),
        (json!({"guidance": -1}), "guidance"),
        (json!({"partial_images": 4}), "partial_images"),
        (json!({"strength": 0.5}), "strength"),
        (json!({"loras": [{"name": "/etc/passwd"}]}), "loras"),
        (
            json!({"control": data_url("image/png", &png(8, 8, [0; 3]))}),
            "control",
        ),
        (json!({"init_image": "/etc/passwd"}), "init_image"),
        (json!({"image": "http://127.0.0.1/a.png"}), "image"),
        (json!({"audio": data_url("audio/wav", b"RIFF")}), "audio"),
        (json!({"prompt": " "}), "prompt"),
    ] {
        assert_eq!(refused(extra.clone()), (400, param.to_owned()), "{extra}");
    }
    let model = server.post(
        "/v1/images/generations",
        &json!({"prompt": "a", "model": "flux"}),
    );
    assert_eq!(
        model.error(),
        (404, "model_not_found".into(), "model".into())
    );
    assert_eq!(
        server.post("/v1/images/generations", &json!({})).error().2,
        "prompt"
    );
    let empty = server.post(
        "/v1/images/generations",
        &json!({"prompt": "a", "model": "", "seed": null}),
    );
    assert_eq!(empty.status, 200, "{}", empty.text());
}

#[test]
fn an_edit_shows_its_images_to_the_llm_or_begins_with_the_first() {
    let server = Server::start();
    let (red, blue) = (png(64, 64, [220, 20, 20]), png(64, 64, [20, 20, 220]));
    let form = |texts: &[(&str, &str)], files: &[(&str, &str, &[u8])]| {
        let mut all = vec![("prompt", "7"), ("seed", "3")];
        all.extend(texts);
        let answer = server.form("/v1/images/edits", &all, files);
        assert_eq!(answer.status, 200, "{}", answer.text());
        decoded(&answer.json()["data"][0]["b64_json"])
    };
    let one = form(&[], &[("image", "upload", &red)]);
    let other = form(&[], &[("image", "upload", &blue)]);
    let several = form(
        &[("x2i[steps]", "4")],
        &[("image[]", "a.png", &red), ("image[]", "b.png", &blue)],
    );
    assert!(one != other && several != one);
    let begun = form(
        &[("strength", "0.05"), ("steps", "20")],
        &[("image", "upload", &red)],
    );
    let near = |picture: &image::RgbImage| {
        picture
            .pixels()
            .filter(|pixel| pixel[0] > 150 && pixel[2] < 100)
            .count()
    };
    assert!(near(&begun) > 64 * 64 * 9 / 10, "{}", near(&begun));

    // The same in JSON, and as OpenAI's objects.
    let json_one = server.post(
        "/v1/images/edits",
        &json!({"prompt": "7", "seed": 3, "image": data_url("image/png", &red)}),
    );
    assert_eq!(decoded(&json_one.json()["data"][0]["b64_json"]), one);
    let objects =
        json!({"prompt": "7", "seed": 3, "images": [{"image_url": data_url("image/png", &red)}]});
    assert_eq!(
        decoded(&server.post("/v1/images/edits", &objects).json()["data"][0]["b64_json"]),
        one
    );
}

#[test]
fn an_edit_without_an_image_or_with_too_many_or_a_mask_is_refused() {
    let server = Server::start();
    let red = png(8, 8, [220, 20, 20]);
    let refused = |texts: &[(&str, &str)], files: &[(&str, &str, &[u8])]| {
        let mut all = vec![("prompt", "a")];
        all.extend(texts);
        let (status, _, param) = server.form("/v1/images/edits", &all, files).error();
        (status, param)
    };
    assert_eq!(refused(&[], &[]), (400, "image".into()));
    assert_eq!(
        refused(&[], &vec![("image[]", "a", &red[..]); 17]),
        (400, "image".into())
    );
    assert_eq!(
        refused(&[], &[("image", "a", &red), ("mask", "m", &red)]),
        (400, "mask".into())
    );
    assert_eq!(
        refused(&[], &[("image", "a", &red), ("markup", "m", &red)]),
        (400, "markup".into())
    );
    assert_eq!(
        refused(&[], &[("image", "a", b"no image")]),
        (400, "image".into())
    );
    assert_eq!(
        refused(&[("prompt", "b")], &[("image", "a", &red)]),
        (400, "prompt".into())
    );
}

#[test]
fn a_stream_shows_partial_images_and_completes_each() {
    let server = Server::start();
    let body = json!({"prompt": "a cat", "seed": 1, "n": 2, "steps": 4, "stream": true, "partial_images": 2});
    let answer = server.post("/v1/images/generations", &body);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let events = answer.events();
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    let (partial, completed) = (
        "image_generation.partial_image",
        "image_generation.completed",
    );
    assert_eq!(
        names,
        [partial, partial, completed, partial, partial, completed]
    );
    assert!(events.iter().all(|(name, data)| data["type"] == **name));
    let indices: Vec<_> = events
        .iter()
        .filter_map(|(_, data)| data["partial_image_index"].as_u64())
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    let still = server
        .post(
            "/v1/images/generations",
            &json!({"prompt": "a cat", "seed": 2, "steps": 4}),
        )
        .json();
    let last = &events[5].1;
    assert_eq!(
        decoded(&last["b64_json"]),
        decoded(&still["data"][0]["b64_json"])
    );
    assert_eq!((&last["seed"], &last["size"]), (&json!(2), &json!("64x64")));
    assert_eq!(
        last["usage"]["input_tokens"],
        still["usage"]["input_tokens"]
    );
}

#[test]
fn an_error_in_a_stream_is_an_event() {
    let server = Server::start();
    let broken = &png(64, 64, [1; 3])[..60];
    let body = json!({"prompt": "a", "stream": true, "image": data_url("image/png", broken)});
    let answer = server.post("/v1/images/edits", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (name, data) = answer.events().pop().unwrap();
    assert_eq!(
        (name.as_str(), &data["error"]["param"]),
        ("error", &json!("image"))
    );
}

#[test]
fn models_are_listed_and_found() {
    let server = Server::start();
    let list = server.get("/v1/models").json();
    assert_eq!(
        (&list["object"], &list["data"][0]["id"]),
        (&json!("list"), &json!("emoji"))
    );
    let emoji = server.get("/v1/models/emoji").json();
    assert_eq!(
        (&emoji["object"], &emoji["x2i"]["width"]),
        (&json!("model"), &json!(64))
    );
    assert!(
        emoji["x2i"]["modalities"]
            .as_array()
            .unwrap()
            .contains(&json!("text"))
    );
    let missing = server.get("/v1/models/black-forest-labs%2FFLUX");
    assert_eq!(
        missing.error(),
        (404, "model_not_found".into(), "model".into())
    );
}

#[test]
fn a_model_that_sees_is_shown_every_image_of_an_edit() {
    let server = Server::start();
    let (red, blue) = (png(56, 56, [220, 20, 20]), png(56, 56, [20, 20, 220]));
    let edit = |images: &[&[u8]]| {
        let files: Vec<_> = images
            .iter()
            .map(|bytes| ("image[]", "a.png", *bytes))
            .collect();
        let texts = [
            ("prompt", "both"),
            ("model", "tiny"),
            ("seed", "1"),
            ("steps", "2"),
        ];
        let answer = server.form("/v1/images/edits", &texts, &files);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        (
            answer["data"].clone(),
            answer["usage"]["input_tokens"].as_u64().unwrap(),
        )
    };
    let (one, tokens) = edit(&[&red]);
    let (two, more) = edit(&[&red, &blue]);
    let (swapped, _) = edit(&[&blue, &red]);
    assert!(more > tokens, "{tokens}, {more}");
    assert!(one != two && two != swapped);
}

#[test]
fn the_description_is_a_page_that_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let page = server.get("/docs");
    assert_eq!(
        (page.status, page.headers["content-type"].as_str()),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'"));
    let text = page.text();
    let links = text
        .split('"')
        .filter(|text| text.starts_with("docs/") || text.ends_with(".json"));
    let links: Vec<_> = links.map(str::to_owned).collect();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        assert_eq!(server.get(&format!("/{link}")).status, 200, "{link}");
    }
    assert_eq!(
        server.get("/").headers["content-type"],
        "text/html; charset=utf-8"
    );
    for file in ["/docs", "/docs/docs.js", "/docs/docs.css"] {
        assert!(!server.get(file).text().contains("://"), "{file}");
    }
    let description = server.get("/openapi.json").json();
    let routes = description["paths"].as_object().unwrap();
    for route in [
        "/v1/images/edits",
        "/v1/chat/completions",
        "/v1/x2i/conditioning",
        "/sdapi/v1/progress",
    ] {
        assert!(routes.contains_key(route), "{route}");
    }
    let images = &description["components"]["schemas"]["ImagesRequest"]["properties"];
    assert_eq!(
        (&images["n"]["maximum"], &images["steps"]["maximum"]),
        (&json!(64), &json!(1000))
    );
    assert!(images["x2i"].is_object() && images["mask"].is_null());
}
