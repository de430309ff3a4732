//! Ours and a reference implementation in turn: its Python process, and the ratio of both.
//!
//! Alternating runs share whatever else the machine does in those minutes, so that their ratio
//! holds on a loaded machine too; CPU seconds are printed beside wall seconds for the same reason.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{median, seconds};
use crate::host::{self, human_bytes};
use crate::table::{columns, row};

/// Wall and CPU seconds of one forward pass.
#[derive(Debug, Clone, Copy)]
struct Time {
    wall: f64,
    cpu: f64,
}

impl Time {
    fn median(times: &[Time]) -> Self {
        Self {
            wall: median(times.iter().map(|time| time.wall)),
            cpu: median(times.iter().map(|time| time.cpu)),
        }
    }
}

/// The times of alternating forward passes.
pub(super) struct Comparison {
    ours: Vec<Time>,
    theirs: Vec<Time>,
    reference: Option<Reference>,
}

impl Comparison {
    /// Times `forward` and the reference in turn, each `runs` times after a first pass that compiles
    /// kernels and touches memory.
    ///
    /// # Errors
    /// What `forward` returns, or when the reference fails.
    pub(super) fn run(
        runs: u32,
        mut reference: Option<Reference>,
        mut forward: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        forward()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let (began, cpu) = (Instant::now(), host::cpu_seconds().unwrap_or(0.0));
            forward()?;
            ours.push(Time {
                wall: began.elapsed().as_secs_f64(),
                cpu: host::cpu_seconds().unwrap_or(0.0) - cpu,
            });
            if let Some(reference) = &mut reference {
                theirs.push(reference.forward()?);
            }
        }
        Ok(Self {
            ours,
            theirs,
            reference,
        })
    }

    /// Prints the medians and their ratio under `title`, or as JSON.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn print(&self, device: &str, title: &str, as_json: bool) -> Result<()> {
        let (runs, our, peak) = (
            self.ours.len(),
            Time::median(&self.ours),
            host::peak_memory(),
        );
        let line = |name: &str, time: Time, peak: Option<u64>| {
            let peak = peak.map_or(String::new(), human_bytes);
            row([name, &seconds(time.wall), &seconds(time.cpu), &peak])
        };
        let mut facts = json!({
            "device": device, "runs": runs, "wall": our.wall, "cpu": our.cpu, "peak_memory": peak
        });
        let mut rows = vec![
            row(["", "wall", "cpu", "peak memory"]),
            line("x2i", our, peak),
        ];
        if let Some(Reference { versions, peak, .. }) = &self.reference {
            let their = Time::median(&self.theirs);
            let (wall, cpu) = (self.ratio(|time| time.wall), self.ratio(|time| time.cpu));
            rows.push(line(versions, their, *peak));
            rows.push(row([
                "x2i is faster by",
                &format!("{wall:.2}"),
                &format!("{cpu:.2}"),
                "",
            ]));
            facts["reference"] = json!({
                "versions": versions, "wall": their.wall, "cpu": their.cpu, "peak_memory": peak
            });
            facts["ratio"] = json!({"wall": wall, "cpu": cpu});
        }
        let mut out = std::io::stdout();
        if as_json {
            writeln!(out, "{facts}")?;
            return Ok(());
        }
        writeln!(out, "{title}, median of {runs}")?;
        out.write_all(columns(&rows).as_bytes())?;
        Ok(())
    }

    /// Of each pair, since the two of a pair ran in the same moments.
    fn ratio(&self, of: fn(&Time) -> f64) -> f64 {
        let pairs = self.theirs.iter().zip(&self.ours);
        median(pairs.map(|(their, our)| of(their) / of(our)))
    }
}

/// A Python process that times one forward pass of the reference for every line it reads.
pub(super) struct Reference {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    versions: String,
    /// The most memory it had resident, in bytes, where the script tells.
    peak: Option<u64>,
}

impl Reference {
    /// Starts `script`, and waits for its first pass.
    ///
    /// # Errors
    /// When there is no such script or Python, or it lacks a package.
    pub(super) fn start(python: &Path, script: &Path) -> Result<Self> {
        if !script.is_file() {
            bail!(
                "--script: {} is not there; run from the repository's root, or give its path",
                script.display()
            );
        }
        let mut command = Command::new(python);
        command
            .arg(script)
            .arg("--serve")
            .args(["--threads", &host::threads().to_string()]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("--python: {}", python.display()))?;
        let commands = child.stdin.take().context("--python: no pipe")?;
        let answers = BufReader::new(child.stdout.take().context("--python: no pipe")?);
        let mut reference = Self {
            child,
            commands,
            answers,
            versions: String::new(),
            peak: None,
        };
        let ready = reference.answer()?; // after its first pass
        reference.versions = ready["versions"].as_str().unwrap_or("reference").to_owned();
        Ok(reference)
    }

    fn forward(&mut self) -> Result<Time> {
        writeln!(self.commands, "forward").context("--python: the script ended")?;
        let answer = self.answer()?;
        self.peak = answer["peak"].as_u64().or(self.peak);
        let number = |name: &str| {
            answer[name]
                .as_f64()
                .with_context(|| format!("--python: no {name} time"))
        };
        Ok(Time {
            wall: number("wall")?,
            cpu: number("cpu")?,
        })
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("--python: the script ended; it needs `pip install torch diffusers`");
        }
        serde_json::from_str(&line)
            .with_context(|| format!("--python: the script said {}", line.trim()))
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // It holds gigabytes; its exit code says nothing that we want to know.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
