//! Clients that are broken, slow or hostile: each gets an answer or a closed connection, and the server serves on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::common::{MANY_STEPS, TestServer, form, options, start};

/// A server that serves nobody else; at the end it must have nothing to do and paint.
fn harmed(harm: impl FnOnce(&TestServer)) {
    let server = start(options());
    harm(&server);
    server.until("/ready", |ready| {
        let ready = ready.json();
        ready["waiting"] == 0 && ready["running"] == 0 && ready["devices"] == 1
    });
    let id = server.order(&json!({"prompt": "a cat"}));
    server.until_status(&id, "succeeded");
}

/// What comes of raw bytes.
fn raw(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer); // it may be cut
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_no_http_is_refused() {
    harmed(|server| {
        for bytes in [
            &b"\x00\x01\x02"[..],
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"",
        ] {
            let answer = raw(server, bytes);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
                "{answer}"
            );
        }
        let long = format!(
            "GET /health HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "a".repeat(1 << 20)
        );
        let answer = raw(server, long.as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    });
}

#[test]
fn bodies_that_are_cut_or_nested_or_too_many_are_refused() {
    harmed(|server| {
        let cut = "POST /v1/x2i/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"prompt\":";
        let answer = raw(server, cut.as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        let json = [("content-type", "application/json")];
        let nested = format!("{{\"turns\": {}", "[".repeat(100_000));
        assert_eq!(
            server
                .request("POST", "/v1/x2i/jobs", &json, nested.as_bytes())
                .status,
            400
        );
        assert_eq!(
            server.request("POST", "/v1/x2i/jobs", &json, b"[1]").status,
            400
        );
        assert_eq!(
            server
                .request("POST", "/v1/x2i/jobs", &json, b"\xff\xfe")
                .status,
            400
        );
        let many: Vec<_> = (0..300)
            .map(|n| (format!("x{n}"), "1".to_owned()))
            .collect();
        let many: Vec<_> = many
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let (kind, body) = form(&many, &[]);
        assert_eq!(
            server
                .request("POST", "/v1/x2i/jobs", &[("content-type", &kind)], &body)
                .status,
            400
        );
        let (kind, body) = form(&[], &[("a", "a.png", b"1234")]);
        let half = &body[..body.len() / 2];
        assert_eq!(
            server
                .request("POST", "/v1/x2i/jobs", &[("content-type", &kind)], half)
                .status,
            400
        );
        let bare = [("content-type", "multipart/form-data")];
        assert_eq!(
            server.request("POST", "/v1/x2i/jobs", &bare, b"x").status,
            400
        );
        let xml = [("content-type", "application/xml")];
        assert_eq!(
            server.request("POST", "/v1/x2i/jobs", &xml, b"<a/>").status,
            415
        );
    });
}

#[test]
fn paths_lead_nowhere_but_to_jobs() {
    harmed(|server| {
        for path in [
            "/v1/x2i/jobs/..%2f..%2fetc%2fpasswd",
            "/v1/x2i/jobs/../../etc/passwd",
            "/v1/x2i/jobs/%00",
            "/v1/x2i/jobs/%ff%fe",
            "/v1/x2i/jobs/00000000-0000-0000-0000-000000000000/outputs/..%2f0",
            "/v1/x2i/jobs/00000000-0000-0000-0000-000000000000/events",
        ] {
            let status = server.get(path).status;
            assert!([400, 404].contains(&status), "{path}: {status}");
        }
        let list = server.get("/v1/x2i/jobs?limit=99999999999999999999");
        assert_eq!(list.status, 400);
    });
}

#[test]
fn slow_clients_do_not_hold_others_up() {
    harmed(|server| {
        let slow: Vec<_> = (0..300)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address).unwrap();
                stream
                    .write_all(b"POST /v1/x2i/jobs HTTP/1.1\r\nhost: local")
                    .unwrap();
                stream
            })
            .collect();
        assert_eq!(server.get("/health").status, 200);
        drop(slow);
    });
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let mut options = options();
    options.limits.connections = 4;
    let server = start(options);
    let idle: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    let mut waiting = server.send("GET", "/health", &[], b"");
    waiting
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(waiting.read(&mut [0; 16]).is_err());
    drop(idle);
    waiting
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn too_many_streams_are_refused_and_closed_ones_make_room() {
    let mut options = options();
    options.limits.streams = 2;
    let server = start(options);
    let id = server.order(&json!({"prompt": "a cat", "steps": MANY_STEPS}));
    let path = format!("/v1/x2i/jobs/{id}/events");
    let open: Vec<_> = (0..2)
        .map(|_| server.send("GET", &path, &[], b""))
        .collect();
    server.until(&path.replace("/events", ""), |job| {
        job.json()["status"] == "running"
    });
    let mut begun = [0; 12];
    for mut stream in &open {
        stream.read_exact(&mut begun).unwrap(); // it has its place
    }
    let refused = server.get(&path);
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].clone()),
        (429, json!("too_many_streams"))
    );
    drop(open);
    let mut again = server.send("GET", &path, &[], b"");
    let mut status = [0; 12];
    again.read_exact(&mut status).unwrap();
    if &status != b"HTTP/1.1 200" {
        // The server hears of closed streams with their next event.
        std::thread::sleep(Duration::from_millis(500));
        again = server.send("GET", &path, &[], b"");
        again.read_exact(&mut status).unwrap();
    }
    assert_eq!(&status, b"HTTP/1.1 200");
    server.post(&format!("/v1/x2i/jobs/{id}/cancel"), &json!({}));
}

#[test]
fn callers_that_go_away_leave_no_job_behind() {
    harmed(|server| {
        let body = json!({"prompt": "a cat", "steps": MANY_STEPS}).to_string();
        let json = [("content-type", "application/json")];
        let callers: Vec<_> = (0..5)
            .map(|_| server.send("POST", "/v1/images/generations", &json, body.as_bytes()))
            .collect();
        server.until("/ready", |ready| {
            let ready = ready.json();
            ready["waiting"] == 4 && ready["running"] == 1
        });
        drop(callers); // at most 1 of 5000 steps may be painted for them
    });
}

#[test]
fn connections_that_say_nothing_or_read_nothing_are_closed() {
    let mut options = options();
    options.limits.connections = 2;
    options.limits.patience = Duration::from_millis(300);
    let server = start(options);
    let begins: [&[u8]; 3] = [b"", b"P", b"PRI * HTTP/2.0\r\n\r\n"];
    for begin in begins {
        let silent: Vec<_> = (0..2)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address).unwrap();
                stream.write_all(begin).unwrap();
                stream
            })
            .collect();
        assert_eq!(server.get("/health").status, 200, "{begin:?}");
        drop(silent);
    }
    let deaf: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream
                .set_write_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            for _ in 0..300 {
                let asked =
                    stream.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n");
                if asked.is_err() {
                    break; // it waits for us to read
                }
            }
            stream
        })
        .collect();
    assert_eq!(server.get("/health").status, 200);
    drop(deaf);
}

#[test]
fn what_is_small_as_text_and_large_in_memory_is_refused_before_it_is_made() {
    harmed(|server| {
        let json = [("content-type", "application/json")];
        let before = memory();
        let bomb = format!("{{\"parts\": [{}0]}}", "0,".repeat(10_000_000));
        let answer = server.request("POST", "/v1/x2i/jobs", &json, bomb.as_bytes());
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].clone()),
            (400, json!("body_too_complex"))
        );
        drop(bomb);
        let (kind, body) = form(&[("parts", &format!("[{}0]", "0,".repeat(3_000_000)))], &[]);
        assert_eq!(
            server
                .request("POST", "/v1/x2i/jobs", &[("content-type", &kind)], &body)
                .status,
            400
        );
        let grown = memory().saturating_sub(before) / 1_000_000;
        assert!(grown < 300, "{grown} MB more");
        let parts: Vec<_> = (0..600).map(|_| json!({"text": "a"})).collect();
        assert_eq!(
            server
                .post("/v1/x2i/jobs", &json!({"parts": parts}))
                .param(),
            "parts"
        );
        let long = json!({"prompt": "a".repeat(5 << 20)});
        assert_eq!(server.post("/v1/x2i/jobs", &long).param(), "prompt");
    });
}

/// Bytes that this process has in memory.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[test]
fn a_key_of_a_request_that_was_refused_may_be_used_again() {
    harmed(|server| {
        let send = |body: &str| {
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", "again"),
            ];
            server
                .request("POST", "/v1/x2i/jobs", &headers, body.as_bytes())
                .status
        };
        assert_eq!(send(r#"{"prompt": "a", "steps": 0}"#), 400);
        assert_eq!(send(r#"{"prompt": "a", "steps": 1}"#), 201);
        assert_eq!(send(r#"{"prompt": "a", "steps": 1}"#), 200);
    });
}

#[test]
fn methods_that_clients_make_up_are_one_in_the_metrics() {
    harmed(|server| {
        server.request("MADEUP1", "/health", &[], b"");
        let metrics = server.get("/metrics").text();
        assert!(!metrics.contains("MADEUP1") && metrics.contains("method=\"other\""));
    });
}
