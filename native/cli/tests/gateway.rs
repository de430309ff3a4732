//! `x2i serve --queue` and `x2i worker` as programs, over a real nats-server: `scripts/test-nats` gets one.
#![cfg(all(unix, feature = "serve"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process, killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// NATS, a gateway, and where it listens.
struct Gateway {
    _nats: Process,
    _serve: Process,
    _store: tempfile::TempDir,
    queue: String,
    address: String,
}

fn nats_server() -> Option<PathBuf> {
    let given = std::env::var_os("X2I_NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("nats-server"));
    given.or_else(|| found.find(|file| file.is_file()))
}

fn x2i(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_x2i"));
    command
        .args(arguments)
        .args(["--log", "error"])
        .env_remove("X2I_QUEUE")
        .env_remove("X2I_API_KEY");
    command
}

impl Gateway {
    /// `None`, said aloud, where there is no nats-server.
    fn start() -> Option<Self> {
        let Some(program) = nats_server() else {
            eprintln!(
                "NOT RUN: there is no nats-server in PATH and no X2I_NATS_SERVER (scripts/test-nats gets one)"
            );
            return None;
        };
        let store = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
            .to_string();
        let folder = store.path().to_str().unwrap();
        let flags = [
            "-a",
            "127.0.0.1",
            "-p",
            &port,
            "--jetstream",
            "--store_dir",
            folder,
        ];
        let nats = Command::new(program)
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let queue = format!("nats://127.0.0.1:{port}");
        let begun = Instant::now();
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nats-server does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut serve = x2i(&["serve", "--port", "0", "--queue", &queue])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(serve.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Some(Self {
            _nats: Process(nats),
            _serve: Process(serve),
            _store: store,
            queue,
            address,
        })
    }

    fn worker(&self) -> Process {
        let flags = [
            "worker",
            "--queue",
            &self.queue,
            "--device",
            "cpu",
            "--ack-wait",
            "2",
        ];
        Process(x2i(&flags).spawn().unwrap())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (length, address) = (body.len(), &self.address);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn until(&self, path: &str, has: &str) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.ask("GET", path, "");
            if answer.contains(has) {
                return answer;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{path} never has {has}: {answer}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn order(&self, body: &str) -> String {
        let created = self.ask("POST", "/v1/x2i/jobs", body);
        field(&created, "id").unwrap_or_else(|| panic!("{created}"))
    }
}

/// A text in JSON.
fn field(json: &str, name: &str) -> Option<String> {
    let rest = json.split(&format!("\"{name}\":\"")).nth(1)?;
    Some(rest.split('"').next()?.to_owned())
}

#[test]
fn a_gateway_without_a_device_answers_with_its_workers_images() {
    let Some(gateway) = Gateway::start() else {
        return;
    };
    assert!(gateway.ask("GET", "/ready", "").starts_with("HTTP/1.1 503"));
    let unpainted = gateway.ask(
        "POST",
        "/v1/images/generations",
        r#"{"prompt": "a red apple"}"#,
    );
    assert!(unpainted.starts_with("HTTP/1.1 503"), "{unpainted}");
    let worker = gateway.worker();
    gateway.until("/ready", "\"ready\":true");
    assert!(
        gateway
            .ask("GET", "/v1/models", "")
            .contains("\"id\":\"emoji\"")
    );
    let body = r#"{"prompt": "a red apple", "seed": 7}"#;
    let painted = gateway.ask("POST", "/v1/images/generations", body);
    assert!(painted.starts_with("HTTP/1.1 200"), "{painted}");
    // The file that `x2i generate` writes, but for the names of devices.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.png");
    let mut generate = Command::new(env!("CARGO_BIN_EXE_x2i"));
    generate
        .args([
            "generate",
            "a red apple",
            "--seed",
            "7",
            "--device",
            "cpu",
            "--quiet",
            "-o",
        ])
        .arg(&file);
    assert!(generate.status().unwrap().success());
    assert_eq!(
        pixels(&from_base64(&field(&painted, "b64_json").unwrap())),
        pixels(&std::fs::read(file).unwrap())
    );
    let wrong = gateway.ask(
        "POST",
        "/v1/images/generations",
        r#"{"prompt": "a", "size": "17x16"}"#,
    );
    assert!(wrong.starts_with("HTTP/1.1 400"), "{wrong}");
    let id = gateway.order(r#"{"prompt": "a cat", "steps": 1000, "n": 8}"#);
    gateway.until(&format!("/v1/x2i/jobs/{id}"), "\"running\"");
    gateway.ask("POST", &format!("/v1/x2i/jobs/{id}/cancel"), "{}");
    gateway.until(&format!("/v1/x2i/jobs/{id}"), "\"status\":\"canceled\"");
    drop(worker);
}

#[test]
fn a_job_of_a_worker_that_is_killed_is_painted_by_another() {
    let Some(gateway) = Gateway::start() else {
        return;
    };
    let mut first = gateway.worker();
    gateway.until("/ready", "\"ready\":true");
    let id = gateway.order(r#"{"prompt": "a cat", "steps": 300, "seed": 1}"#);
    gateway.until(&format!("/v1/x2i/jobs/{id}"), "\"running\"");
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let _second = gateway.worker();
    let done = gateway.until(&format!("/v1/x2i/jobs/{id}"), "\"status\":\"succeeded\"");
    assert_eq!(done.matches("\"index\":0").count(), 1, "{done}");
}

fn from_base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn pixels(png: &[u8]) -> Vec<u8> {
    image::load_from_memory(png).unwrap().into_rgb8().into_raw()
}
