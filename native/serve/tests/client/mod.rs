//! A server in the test's process, and a client of it.

#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use x2i_engine::{DeviceChoice, Model};
use x2i_serve::models::{Models, Served};
use x2i_serve::options::ServeOptions;
use x2i_serve::server;

/// A server that ends with its test.
pub struct Server {
    /// `http://ADDRESS`.
    pub base: String,
    server: Option<server::Server>,
    runtime: Runtime,
    _folder: TempDir,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error's code and parameter.
    pub fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("code"), text("param"))
    }

    /// The JSON of server-sent events with their names.
    pub fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let blocks = text.split("\n\n").filter(|block| block.contains("data:"));
        let events = blocks.map(|block| {
            let line = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let data = line("data:");
            let json = serde_json::from_str(&data).unwrap_or(Value::String(data));
            (line("event:"), json)
        });
        events.collect()
    }
}

impl Server {
    /// With the embedded model on the CPU, on a free port. The model `tiny` sees images and reads earlier turns.
    pub fn start() -> Self {
        let tiny = tiny_model();
        let path = tiny.path().to_str().unwrap().to_owned();
        Self::of(&[("emoji", "emoji"), ("tiny", &path)], tiny)
    }

    /// With the embedded model, to whom answers that begin with `prefix` name something unknown.
    pub fn that_knows_no(prefix: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/models/emoji");
        let config = fs::read(emoji.join("model.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        for (name, _) in config["files"].as_object().unwrap() {
            fs::copy(emoji.join(name), folder.path().join(name)).unwrap();
        }
        config["defaults"]["unknown"] = json!({"prefix": prefix, "until": " on a "});
        fs::write(folder.path().join("model.json"), config.to_string()).unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        Self::of(&[("emoji", &path)], folder)
    }

    /// With these models by their names, of which some are in `folder`.
    fn of(named: &[(&str, &str)], folder: TempDir) -> Self {
        let mut models = Models::default();
        for (name, model) in named {
            let served = Served {
                model: Model::open(model).unwrap(),
                control_weights: None,
            };
            models.add(*name, served).unwrap();
        }
        let options = ServeOptions {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            devices: vec![DeviceChoice::Cpu.into()],
            drain: Duration::ZERO,
            ..ServeOptions::local(models)
        };
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(server::Server::start(options)).unwrap();
        Self {
            base: format!("http://{}", server.address),
            server: Some(server),
            runtime,
            _folder: folder,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.base);
        answered(agent().get(&url).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, "application/json", body.to_string().into_bytes())
    }

    pub fn send(&self, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let url = format!("{}{path}", self.base);
        let request = agent().post(&url).header("content-type", kind);
        answered(request.send(&body[..]).unwrap())
    }

    /// Posts a form: texts, and files with their names.
    pub fn form(
        &self,
        path: &str,
        texts: &[(&str, &str)],
        files: &[(&str, &str, &[u8])],
    ) -> Answer {
        let mut body = vec![];
        for (name, text) in texts {
            let head = format!(
                "--x2i\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n"
            );
            body.extend(head.into_bytes());
        }
        for (name, file, bytes) in files {
            let head = format!(
                "--x2i\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\ncontent-type: application/octet-stream\r\n\r\n"
            );
            body.extend(head.into_bytes());
            body.extend(*bytes);
            body.extend(b"\r\n");
        }
        body.extend(b"--x2i--\r\n");
        self.send(path, "multipart/form-data; boundary=x2i", body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

/// The reference model of the parity tests: its parts lie in two golden folders.
fn tiny_model() -> TempDir {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let goldens = goldens.canonicalize().unwrap();
    let hints = json!({
        "name": "tiny",
        "flux": goldens.join("pipeline_tiny/flux"),
        "proj": goldens.join("pipeline_tiny/proj"),
        "mllm": goldens.join("qwen2_5_vl_tiny"),
        "defaults": {"width": 64, "height": 64, "padding": null, "input_image_size": null, "max_new_tokens": 4},
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x2i.json"), hints.to_string()).unwrap();
    folder
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .new_agent()
}

fn answered(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let headers = response.headers().iter();
    let headers = headers
        .map(|(name, value)| {
            (
                name.to_string(),
                value.to_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    Answer {
        status: response.status().as_u16(),
        headers,
        body: response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_vec()
            .unwrap(),
    }
}

/// A picture of one colour as a PNG.
pub fn png(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    let picture = image::RgbImage::from_pixel(width, height, image::Rgb(color));
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Bytes as a data URL.
pub fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// The picture of a base64 text: its size, and its pixels.
pub fn decoded(text: &Value) -> image::RgbImage {
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    image::load_from_memory(&bytes).unwrap().into_rgb8()
}

/// What `ask` says, as soon as it says something.
pub fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}
