//! A process that repeats one piece of work on command and times itself.
//!
//! Every side runs in its own process, ours too, so that peak memory, threads and allocators do not
//! mix. The protocol has one line per message. After its first pass, the process prints `{"versions",
//! "cpu", "peak"}`: CPU seconds and peak bytes so far. It answers `forward` with `{"wall", "cpu",
//! "peak"}`, and `output FILE` with `{}` when the result of the last pass is in the file as raw f32.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::folder::write_floats;
use x2i_engine::host;

/// What starts this program again. The program itself cannot know where it was started by a loader of its own
/// (`scripts/build-cuda`), which sets `X2I_PROGRAM`.
pub(super) fn this_program() -> std::io::Result<PathBuf> {
    match std::env::var_os("X2I_PROGRAM") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe(),
    }
}

/// The cost of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Pass {
    /// Wall-clock seconds.
    pub wall: f64,
    /// CPU seconds of all threads.
    pub cpu: f64,
    /// The peak of resident memory so far, in bytes.
    pub peak: u64,
}

/// The first line of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Its name and versions, for people.
    pub versions: String,
    /// CPU seconds from the process's start to the end of its first pass.
    pub cpu: f64,
    /// As in [`Pass`].
    pub peak: u64,
}

/// A running process.
pub(super) struct Process {
    /// Its name in messages: the flag and the program.
    label: String,
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its first line.
    pub ready: Ready,
    /// Seconds from its start to its first line.
    pub start: f64,
}

impl Process {
    /// Starts the process and waits until its first pass is done.
    ///
    /// # Errors
    /// When it can't be started, ends early or prints something else.
    pub fn start(label: impl Into<String>, command: &mut Command) -> Result<Self> {
        let label = label.into();
        let began = Instant::now();
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| label.clone())?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.with_context(|| format!("{label}: no pipe"))?;
        let mut process = Self {
            label,
            child,
            commands,
            answers: BufReader::new(answers),
            ready: Ready {
                versions: String::new(),
                cpu: 0.0,
                peak: 0,
            },
            start: 0.0,
        };
        process.ready = process.answer()?;
        process.start = began.elapsed().as_secs_f64();
        Ok(process)
    }

    /// Runs one pass.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn forward(&mut self) -> Result<Pass> {
        self.ask("forward")?;
        self.answer()
    }

    /// Makes the process write the result of the last pass to `file`.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn output(&mut self, file: &Path) -> Result<()> {
        self.ask(&format!("output {}", file.display()))?;
        self.answer::<serde_json::Value>().map(|_| ())
    }

    fn ask(&mut self, line: &str) -> Result<()> {
        writeln!(self.commands, "{line}").with_context(|| format!("{}: it ended", self.label))
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("{}: it ended before it answered", self.label);
        }
        serde_json::from_str(&line)
            .with_context(|| format!("{}: it said {}", self.label, line.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds gigabytes, and its exit code does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our side of the protocol: `forward` returns a result; `label` is printed after our version.
///
/// # Errors
/// When `forward` fails, or standard output is closed.
pub(super) fn serve(label: &str, mut forward: impl FnMut() -> Result<Vec<f32>>) -> Result<()> {
    let mut result = forward()?; // compiles kernels and touches memory
    say(&Ready {
        versions: format!("x2i {} {label}", env!("CARGO_PKG_VERSION")),
        cpu: host::cpu_seconds().unwrap_or(0.0),
        peak: host::peak_memory().unwrap_or(0),
    })?;
    for line in std::io::stdin().lock().lines() {
        if let Some(file) = line?.strip_prefix("output ") {
            let mut out = Vec::with_capacity(4 * result.len());
            write_floats(&mut out, result.iter().copied())?;
            std::fs::write(Path::new(file), out)?;
            say(&json!({}))?;
            continue;
        }
        let (began, cpu) = (Instant::now(), host::cpu_seconds().unwrap_or(0.0));
        result = forward()?;
        say(&Pass {
            wall: began.elapsed().as_secs_f64(),
            cpu: host::cpu_seconds().unwrap_or(0.0) - cpu,
            peak: host::peak_memory().unwrap_or(0),
        })?;
    }
    Ok(())
}

fn say(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(out.flush()?)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Process> {
        Process::start("--compare: sh", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_process_is_asked_and_answers() -> Result<()> {
        let mut process = shell(
            r#"echo '{"versions": "sh 1", "cpu": 0.5, "peak": 7}'
               while read line; do echo '{"wall": 2, "cpu": 3, "peak": 8}'; done"#,
        )?;
        assert_eq!(
            (process.ready.versions.as_str(), process.ready.peak),
            ("sh 1", 7)
        );
        let expected = Pass {
            wall: 2.0,
            cpu: 3.0,
            peak: 8,
        };
        assert_eq!(process.forward()?, expected);
        process.output(Path::new("there"))
    }

    #[test]
    fn a_process_that_fails_is_named() {
        for (script, message) in [
            ("exit 1", "--compare: sh: it ended before it answered"),
            ("echo Traceback", "--compare: sh: it said Traceback"),
        ] {
            let error = shell(script).err().expect("no JSON came");
            assert_eq!(error.to_string(), message);
        }
    }
}
