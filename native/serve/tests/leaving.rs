//! Clients that go away: their jobs end with them, on every route that waits for its images, unless they are kept.

mod client;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use client::{Server, wait_for};
use serde_json::{Value, json};

/// A request whose answer is not awaited.
fn send(server: &Server, path: &str, header: &str, body: &Value) -> TcpStream {
    let host = server.base.strip_prefix("http://").unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

fn newest(server: &Server) -> Value {
    server.get("/v1/x2i/jobs?limit=1").json()["jobs"][0].clone()
}

fn wait_until(server: &Server, status: &str) {
    wait_for(|| (newest(server)["status"] == status).then_some(()));
}

#[test]
fn a_client_that_goes_away_ends_its_job() {
    let server = Server::start();
    let talk = json!([{"role": "user", "content": "a cat"}]);
    for (path, body) in [
        ("/sdapi/v1/txt2img", json!({"prompt": "a", "steps": 1000})),
        (
            "/v1/images/generations",
            json!({"prompt": "a", "steps": 1000}),
        ),
        (
            "/v1/images/generations",
            json!({"prompt": "a", "steps": 1000, "stream": true, "partial_images": 3}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": talk, "steps": 1000}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": talk, "steps": 1000, "stream": true}),
        ),
    ] {
        let mut stream = send(&server, path, "", &body);
        wait_until(&server, "running");
        if body["stream"] == true {
            let mut begun = [0; 12];
            stream.read_exact(&mut begun).unwrap();
            assert_eq!(&begun, b"HTTP/1.1 200");
        }
        drop(stream);
        wait_until(&server, "canceled");
    }
}

#[test]
fn a_job_that_is_kept_goes_on_without_its_client() {
    let server = Server::start();
    let body = json!({"prompt": "a cat", "seed": 3, "steps": 200});
    let stream = send(
        &server,
        "/v1/images/generations",
        "x-x2i-keep: true\r\n",
        &body,
    );
    wait_until(&server, "running");
    drop(stream);
    std::thread::sleep(Duration::from_millis(50));
    wait_until(&server, "succeeded");
    let url = newest(&server)["outputs"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(server.get(&url).status, 200);
}
