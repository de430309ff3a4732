//! `x2i serve` as a program: flags, signals, what it prints.
#![cfg(all(unix, feature = "serve"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program with a free port on the CPU, and the address that it prints.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_x2i"));
        command
            .args(["serve", "--port", "0", "--device", "cpu", "--log", "error"])
            .args(flags);
        let mut child = command
            .env_remove("X2I_API_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { child, address }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (length, address) = (body.len(), &self.address);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut answer = String::new();
        self.send(method, path, body)
            .read_to_string(&mut answer)
            .unwrap();
        answer
    }

    fn until(&self, path: &str, has: &str) {
        let begun = Instant::now();
        while !self.ask("GET", path, "").contains(has) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{path} never has {has}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The exit code, within a time.
    fn ends_within(&mut self, limit: Duration) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < limit, "it still runs after {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The message of a server that does not begin.
fn refused(flags: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_x2i"));
    command
        .args(["serve", "--device", "cpu"])
        .args(flags)
        .env_remove("X2I_API_KEY");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{flags:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.starts_with("error: ") && message.lines().count() == 1,
        "{message}"
    );
    message
}

#[test]
fn a_server_that_would_be_open_or_has_a_wrong_flag_does_not_begin() {
    assert!(refused(&["--host", "0.0.0.0"]).contains("--allow-unauthenticated"));
    assert!(refused(&["--model", "no-such-folder"]).contains("no-such-folder"));
    assert!(refused(&["--model", "a=emoji", "--model", "a=emoji"]).contains("two of the name a"));
    assert!(refused(&["--lora", "/nowhere/x.safetensors"]).contains("/nowhere/x.safetensors"));
    assert!(refused(&["--control-weights", "flux=/x"]).contains("no model flux"));
    assert!(refused(&["--cors-origin", "app.example"]).contains("no origin"));
    assert!(refused(&["--api-key-file", "/nowhere"]).contains("/nowhere"));
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "short\n").unwrap();
    assert!(refused(&["--api-key-file", keys.to_str().unwrap()]).contains("too short"));
}

#[test]
fn two_servers_can_not_have_one_port() {
    let serving = Serving::start(&[]);
    let port = serving.address.rsplit(':').next().unwrap();
    assert!(refused(&["--port", port]).contains("can't listen there"));
}

#[test]
fn a_signal_lets_jobs_end_and_answers_whoever_waits() {
    let mut serving = Serving::start(&[]);
    serving.until("/ready", "\"ready\":true");
    let created = serving.ask(
        "POST",
        "/v1/x2i/jobs",
        r#"{"prompt": "a cat", "steps": 60}"#,
    );
    let id = created
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap()
        .to_owned();
    let mut events = serving.send("GET", &format!("/v1/x2i/jobs/{id}/events"), "");
    serving.until(&format!("/v1/x2i/jobs/{id}"), "\"running\"");
    serving.signal("TERM");
    let mut told = String::new();
    events.read_to_string(&mut told).unwrap();
    assert!(told.contains("\"status\":\"succeeded\""), "{told}");
    assert_eq!(serving.ends_within(Duration::from_secs(20)), Some(0));
}

#[test]
fn a_server_that_stops_takes_no_jobs_and_a_second_signal_ends_it_at_once() {
    let mut serving = Serving::start(&[]);
    serving.until("/ready", "\"ready\":true");
    serving.ask(
        "POST",
        "/v1/x2i/jobs",
        r#"{"prompt": "a cat", "steps": 1000, "width": 256, "height": 256}"#,
    );
    serving.signal("TERM");
    serving.until("/ready", "the server stops");
    let answer = serving.ask("POST", "/v1/x2i/jobs", r#"{"prompt": "a cat"}"#);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    serving.signal("TERM");
    assert_eq!(serving.ends_within(Duration::from_secs(2)), Some(143));
}

#[test]
fn a_socket_that_systemd_gives_is_served() {
    use std::os::fd::AsRawFd;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // As systemd: the socket is file 3, and the variables name the process.
    let script = format!(
        "exec 3<&{fd}; export LISTEN_FDS=1 LISTEN_PID=$$; exec {x2i} serve --port 1 --device cpu --log error",
        fd = listener.as_raw_fd(),
        x2i = env!("CARGO_BIN_EXE_x2i"),
    );
    clear_close_on_exec(&listener);
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let serving = Serving {
        child,
        address: address.clone(),
    };
    assert!(line.contains(&address), "{line}");
    assert!(serving.ask("GET", "/health", "").contains("\"ok\""));
}

fn clear_close_on_exec(listener: &std::net::TcpListener) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open.
    let set = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, 0) };
    assert_eq!(set, 0);
}
