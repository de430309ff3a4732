//! Runs the program under limits of memory and time.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a run may take.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Private memory in KiB: mapped files do not count.
    memory: u64,
    time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 2 << 20,
            time: Duration::from_secs(20),
        }
    }
}

pub struct Run {
    /// `None` when it was stopped at the limit.
    status: Option<ExitStatus>,
    pub stderr: String,
}

impl Run {
    pub fn of(arguments: &[&str], limits: Limits) -> Self {
        let shell = format!("ulimit -d {} && exec \"$0\" \"$@\"", limits.memory);
        let mut child = Command::new("sh")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_x2i")])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stderr.take().expect("a pipe");
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes)
                .map(|_| bytes)
                .unwrap_or_default()
        });
        let start = Instant::now();
        let status = loop {
            match child.try_wait().expect("the program can be waited for") {
                Some(status) => break Some(status),
                None if start.elapsed() > limits.time => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child
                .kill()
                .and_then(|()| child.wait())
                .expect("the program can be stopped");
        }
        let stderr = reader.join().expect("the pipe is read");
        Self {
            status,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// No hang, no signal, no panic; a refusal is one short line after warnings.
    pub fn is_clean(&self) -> Result<(), String> {
        let Some(status) = self.status else {
            return Err("runs for more than 20 s".into());
        };
        let start: String = self.stderr.chars().take(300).collect();
        if self.stderr.contains("panicked") || !matches!(status.code(), Some(0..=2)) {
            return Err(format!("ends with {status}: {start}"));
        }
        let errors = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        let errors: Vec<&str> = errors.collect();
        match (status.success(), errors.as_slice()) {
            (true, []) => Ok(()),
            (false, [error]) if error.len() <= 2000 => Ok(()),
            (false, [error]) => Err(format!("a sentence of {} bytes: {start}", error.len())),
            (_, errors) => Err(format!("{} errors with {status}: {start}", errors.len())),
        }
    }

    /// Whether the refusal holds one of the words.
    pub fn names_one(&self, words: &[String]) -> Result<(), String> {
        match words.iter().any(|word| self.stderr.contains(word.as_str())) {
            true => Ok(()),
            false => Err(format!("names none of {words:?}: {}", self.stderr.trim())),
        }
    }
}
