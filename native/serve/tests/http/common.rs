//! A server with the embedded model on the CPU, and a client of plain HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use x2i_engine::{DeviceChoice, Model};
use x2i_serve::models::{Models, Served};
use x2i_serve::options::ServeOptions;
use x2i_serve::server::Server;

/// Steps that take long enough to hit a job while it is painted.
pub const MANY_STEPS: usize = 1000;

/// A server that ends with the test.
pub struct TestServer {
    runtime: Runtime,
    server: Option<Server>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The options of a server of the embedded model on one CPU studio.
pub fn options() -> ServeOptions {
    let mut models = Models::default();
    let model = Model::open("emoji").unwrap();
    models
        .add(
            "emoji",
            Served {
                model,
                control_weights: None,
            },
        )
        .unwrap();
    ServeOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        devices: vec![DeviceChoice::Cpu.into()],
        drain: Duration::ZERO,
        ..ServeOptions::local(models)
    }
}

/// A server with these options; it is ready.
pub fn start(options: ServeOptions) -> TestServer {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(options)).unwrap();
    let started = TestServer {
        address: server.address,
        server: Some(server),
        runtime,
    };
    started.until("/ready", |answer| answer.status == 200);
    started
}

/// A server with the default options.
pub fn server() -> TestServer {
    start(options())
}

impl TestServer {
    /// Stops it as a signal does.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.request("POST", path, &headers, body.to_string().as_bytes())
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.send(method, path, headers, body);
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        parsed(&answer)
    }

    /// Sends a request and does not read the answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(body); // a server that refuses early may not read it
        stream
    }

    /// Events of a stream: their names and JSON, until the stream ends or `last` says so.
    pub fn events(&self, path: &str, last: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
        let stream = self.send("GET", path, &[], b"");
        read_events(stream, last)
    }

    /// Asks until the answer is as it shall be.
    pub fn until(&self, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.get(path);
            if is_so(&answer) {
                return answer;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{path}: {answer:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a job has a status.
    pub fn until_status(&self, id: &str, status: &str) -> Value {
        let path = format!("/v1/x2i/jobs/{id}");
        self.until(&path, |answer| answer.json()["status"] == status)
            .json()
    }

    /// Orders a job and returns its id.
    pub fn order(&self, body: &Value) -> String {
        let answer = self.post("/v1/x2i/jobs", body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The parameter that an error names.
    pub fn param(&self) -> String {
        self.json()["error"]["param"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// An answer with its headers, its body unchunked.
fn parsed(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = &bytes[end + 4..];
    let body = if chunked {
        unchunked(body)
    } else {
        body.to_vec()
    };
    Answer {
        status,
        headers,
        body,
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = vec![];
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        whole.extend(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
    whole
}

/// Events of an open stream.
pub fn read_events(stream: TcpStream, last: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
    let (mut events, mut name) = (vec![], String::new());
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data = serde_json::from_str(data).unwrap_or(Value::Null);
            let is_last = last(&name, &data);
            events.push((std::mem::take(&mut name), data));
            if is_last {
                break;
            }
        }
    }
    events
}

/// The body of a form with fields and files, and its content type.
pub fn form(fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "x2i-test-boundary";
    let mut body = vec![];
    for (name, value) in fields {
        let part = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend(part.as_bytes());
    }
    for (name, file, bytes) in files {
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// A small PNG of one color.
pub fn picture(color: [u8; 3]) -> Vec<u8> {
    let picture = image::RgbImage::from_pixel(32, 32, image::Rgb(color));
    let mut bytes = std::io::Cursor::new(vec![]);
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Shares a server between the tests of a file.
pub fn shared() -> Arc<TestServer> {
    static SHARED: std::sync::OnceLock<Arc<TestServer>> = std::sync::OnceLock::new();
    SHARED.get_or_init(|| Arc::new(server())).clone()
}
