//! A real nats-server on loopback, which tests kill and start again on the same store.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server with its store; killed with the test.
pub struct Server {
    folder: TempDir,
    program: PathBuf,
    child: Child,
    pub port: u16,
}

/// Says that a test was not run, past the harness that keeps what tests print.
pub fn not_run(reason: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {reason}");
}

/// The program: X2I_NATS_SERVER, else in PATH.
fn program() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("X2I_NATS_SERVER").filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        assert!(
            given.is_file(),
            "X2I_NATS_SERVER: there is no {}",
            given.display()
        );
        return Some(given);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
}

impl Server {
    /// Starts one; `None`, said aloud, where there is no nats-server.
    pub fn start() -> Option<Self> {
        Self::with("")
    }

    /// With more lines in its settings.
    pub fn with(settings: &str) -> Option<Self> {
        let Some(program) = program() else {
            not_run(
                "there is no nats-server in PATH and no X2I_NATS_SERVER (scripts/test-nats gets one)",
            );
            return None;
        };
        let folder = tempfile::Builder::new()
            .prefix("x2i-nats-")
            .tempdir()
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n{settings}\n",
            folder.path().join("store").display(),
        );
        std::fs::write(folder.path().join("nats.conf"), text).unwrap();
        let child = spawn(&program, &folder);
        let server = Self {
            folder,
            program,
            child,
            port,
        };
        server.wait();
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same store and port.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.folder);
        self.wait();
    }

    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nats-server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &PathBuf, folder: &TempDir) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .unwrap();
    Command::new(program)
        .arg("-c")
        .arg(folder.path().join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
