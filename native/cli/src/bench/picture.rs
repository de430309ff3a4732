//! `x2i bench`: prompt to PNG as users run it, in processes of their own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use x2i_engine::host::human_bytes;

use super::numbers::{median, seconds};
use crate::flags::BenchPictureArgs;
use crate::terminal::table::{columns, row};

/// Times of one run in seconds, and its peak memory in bytes.
struct Sample {
    wall: f64,
    phases: Vec<f64>,
    peak: Option<u64>,
}

const PHASES: [&str; 4] = ["load", "encode", "denoise", "decode"];

/// What was measured, over all runs.
struct Summary {
    /// Seconds of a whole run.
    wall: f64,
    /// Seconds of each of [`PHASES`].
    phases: Vec<f64>,
    /// Seconds of all else.
    rest: f64,
    /// The most bytes of any run.
    peak: Option<u64>,
}

/// Prompt to PNG, with the start of the program and the writing of the file.
///
/// # Errors
/// When a run fails.
pub(super) fn run(args: &BenchPictureArgs) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("bench.png");
    let samples = (0..args.runs).map(|_| generate(args, &output));
    let summary = Summary::of(&samples.collect::<Result<Vec<_>>>()?);
    let text = match args.json {
        true => summary.json(args.runs),
        false => format!(
            "prompt to PNG, {}, median of {}:\n{}",
            args.device,
            args.runs,
            summary.table()
        ),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// One run of the program.
fn generate(args: &BenchPictureArgs, output: &Path) -> Result<Sample> {
    let mut command = Command::new(super::process::this_program()?);
    command.args(["generate", &args.prompt, "--json", "--seed", "1"]);
    command.args(["--device", &args.device.to_string(), "-o"]);
    command.arg(output);
    if let Some(model) = &args.model {
        command.args(["--model", model]);
    }
    let began = Instant::now();
    let out = command.output()?;
    let wall = began.elapsed().as_secs_f64();
    if !out.status.success() {
        let message = String::from_utf8_lossy(&out.stderr);
        bail!("{}", message.trim().trim_start_matches("error: "));
    }
    sample(wall, &out.stdout)
}

impl Summary {
    fn of(samples: &[Sample]) -> Self {
        let wall = median(samples.iter().map(|sample| sample.wall));
        let phase = |index: usize| median(samples.iter().map(|sample| sample.phases[index]));
        let phases: Vec<f64> = (0..PHASES.len()).map(phase).collect();
        Self {
            wall,
            rest: (wall - phases.iter().sum::<f64>()).max(0.0),
            phases,
            peak: samples.iter().filter_map(|sample| sample.peak).max(),
        }
    }

    fn json(&self, runs: u32) -> String {
        let phases = PHASES.iter().map(|name| (*name).to_owned());
        let phases = phases.zip(self.phases.iter().map(|&seconds| json!(seconds)));
        let phases: serde_json::Map<_, _> = phases.collect();
        let facts = json!({
            "seconds": self.wall,
            "phases": phases,
            "start_and_write": self.rest,
            "peak_memory": self.peak,
            "runs": runs,
        });
        format!("{facts}\n")
    }

    fn table(&self) -> String {
        let mut rows = vec![row(["start, hash, write", &seconds(self.rest)])];
        let phases = PHASES.iter().zip(&self.phases);
        rows.extend(phases.map(|(name, &value)| row([name, &seconds(value)])));
        rows.push(row(["all", &seconds(self.wall)]));
        let peak = self.peak.map_or("unknown".into(), human_bytes);
        rows.push(row(["peak memory", &peak]));
        columns(&rows)
    }
}

/// Reads the times from the last event of `generate --json`.
fn sample(wall: f64, stdout: &[u8]) -> Result<Sample> {
    let text = String::from_utf8_lossy(stdout);
    let last = text.lines().last().context("generate printed nothing")?;
    let event: Value = serde_json::from_str(last).context("generate --json")?;
    let phase = |name: &&str| {
        event["phases"][*name]
            .as_f64()
            .with_context(|| format!("generate --json has no {name} time"))
    };
    Ok(Sample {
        wall,
        phases: PHASES.iter().map(phase).collect::<Result<_>>()?,
        peak: event["peak_memory"].as_u64(),
    })
}
