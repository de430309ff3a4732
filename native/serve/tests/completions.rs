//! Chat completions: words, and the picture of each turn.

mod client;

use client::{Server, data_url, png};
use serde_json::{Value, json};

fn picture(url: &str) -> image::RgbImage {
    use base64::Engine as _;
    let data = url.strip_prefix("data:image/png;base64,").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .unwrap();
    image::load_from_memory(&bytes).unwrap().into_rgb8()
}

#[test]
fn a_message_is_answered_with_words_and_a_picture() {
    let server = Server::start();
    let body = json!({
        "model": "emoji", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a red apple on a blue background"}],
        "seed": 7, "temperature": 0.7, "max_tokens": 100, "tools": [], "stream": false,
    });
    let answer = server.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("chat.completion"), &json!("emoji"))
    );
    let message = &answer["choices"][0]["message"];
    let url = message["images"][0]["image_url"]["url"].as_str().unwrap();
    let (words, markdown) = message["content"]
        .as_str()
        .unwrap()
        .split_once("\n\n")
        .unwrap();
    assert!(words.contains("apple"), "{words}");
    assert_eq!(markdown, format!("![image]({url})"));
    assert_eq!(picture(url).dimensions(), (64, 64));
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 2);
    assert_eq!(answer["usage"]["completion_tokens"], 16);

    // The same picture as an answer's on the other route; the prompt's own is another one.
    let image = |conditioning: &str| {
        let body = json!({"prompt": "a red apple on a blue background", "seed": 7, "conditioning": conditioning});
        server.post("/v1/images/generations", &body).json()["data"][0].clone()
    };
    let answered = image("answer");
    assert_eq!(client::decoded(&answered["b64_json"]), picture(url));
    assert_eq!(answered["revised_prompt"], words);
}

#[test]
fn earlier_messages_are_read_but_the_pictures_of_answers_are_not() {
    let server = Server::start();
    let talk = |before: Value| {
        let mut messages = before.as_array().unwrap().clone();
        messages.push(json!({"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": data_url("image/png", &png(56, 56, [200, 0, 0]))}},
            {"type": "text", "text": "the same in green"},
        ]}));
        let body = json!({"model": "tiny", "messages": messages, "seed": 2, "x2i": {"steps": 2}});
        let answer = server.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        (answer["choices"].clone(), tokens)
    };
    let after = |answer: Value| {
        talk(
            json!([{"role": "user", "content": "a cat"}, {"role": "assistant", "content": answer}]),
        )
    };
    let words = after(json!("a grey cat"));
    let shown = data_url("image/png", &png(8, 8, [0; 3]));
    assert_eq!(
        after(json!(format!("a grey cat\n\n![image]({shown})"))),
        words
    );
    assert_eq!(
        after(json!([{"type": "text", "text": "a grey cat"}])),
        words
    );
    let others = after(json!("a black dog that sleeps"));
    let none = talk(json!([{"role": "system", "content": "be brief"}]));
    assert!(words.0 != others.0 && words.0 != none.0);
    assert!(words.1 > none.1 && others.1 > words.1);
}

#[test]
fn words_come_first_in_a_stream_then_the_picture_then_the_end() {
    let server = Server::start();
    let mut body = json!({"messages": [{"role": "user", "content": "a fish"}], "seed": 3, "stream": true, "stream_options": {"include_usage": true}});
    let streamed = server.post("/v1/chat/completions", &body);
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let mut events: Vec<Value> = streamed
        .events()
        .into_iter()
        .map(|(_, data)| data)
        .collect();
    assert_eq!(events.pop().unwrap(), "[DONE]");
    let last = events.pop().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["completion_tokens"]),
        (&json!([]), &json!(16))
    );
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
    let deltas: Vec<_> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"])
        .collect();
    let content: String = deltas
        .iter()
        .filter_map(|delta| delta["content"].as_str())
        .collect();
    body["stream"] = false.into();
    let whole = server.post("/v1/chat/completions", &body).json();
    assert_eq!(
        content,
        whole["choices"][0]["message"]["content"].as_str().unwrap()
    );
    let shown = deltas
        .iter()
        .find(|delta| delta["images"].is_array())
        .unwrap();
    assert_eq!(shown["images"], whole["choices"][0]["message"]["images"]);
}

#[test]
fn what_can_not_be_answered_is_refused_by_its_name() {
    let server = Server::start();
    let refused = |body: Value| {
        let (status, _, param) = server.post("/v1/chat/completions", &body).error();
        (status, param)
    };
    let user = json!({"role": "user", "content": "a"});
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [user, {"role": "assistant", "content": "b"}]}),
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "file"}]}]}),
            "messages[0].content",
        ),
        (json!({"messages": [user], "colour": 1}), "colour"),
        (json!({"messages": [user], "turns": []}), "turns"),
        (json!({"messages": [user], "steps": 0}), "steps"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}]}),
            "messages[0].content[0]",
        ),
    ] {
        assert_eq!(refused(body.clone()), (400, param.to_owned()), "{body}");
    }
    let robot = json!({"messages": [{"role": "robot", "content": "a"}]});
    assert_eq!(refused(robot).1, "messages[0].role");
}

#[test]
fn conditioning_comes_as_safetensors() {
    let server = Server::start();
    let answer = server.post(
        "/v1/x2i/conditioning",
        &json!({"prompt": "a red apple", "conditioning": "answer"}),
    );
    assert_eq!(
        (answer.status, answer.headers["content-type"].as_str()),
        (200, "application/vnd.safetensors")
    );
    let length = u64::from_le_bytes(answer.body[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&answer.body[8..8 + length]).unwrap();
    let shape = |name: &str| {
        header[name]["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|side| side.as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let (txt, vec) = (shape("txt"), shape("vec"));
    assert!(txt.len() == 3 && txt[0] == 1 && vec.len() == 2, "{header}");
    let floats = txt.iter().product::<u64>() + vec.iter().product::<u64>();
    assert_eq!(answer.body.len() as u64, 8 + length as u64 + 4 * floats);
    assert!(
        header["__metadata__"]["answer"]
            .as_str()
            .unwrap()
            .contains("apple")
    );
    assert_eq!(
        server
            .post("/v1/x2i/conditioning", &json!({"prompt": ""}))
            .error()
            .2,
        "prompt"
    );
}
