//! `x2i bench`: measures prompt to PNG, blocks of FLUX's real width and its VAE against other
//! runtimes, and the loss of quality by block-quantized weights.

mod comparison;
mod folder;
mod make_model;
mod process;
mod quality;
mod stack;
mod stack_files;
mod stack_serve;
mod synthetic;
mod vae;
mod vae_files;

use std::io::Write;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::flags::{BenchArgs, BenchCommand, BenchPictureArgs};
use crate::terminal::table::{columns, row};
use x2i_engine::host::human_bytes;

/// Runs `x2i bench`.
///
/// # Errors
/// When a flag, a file or a measured process fails.
pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        None => picture(&args.picture),
        Some(BenchCommand::Stack(args)) => stack::warm(args),
        Some(BenchCommand::Cold(args)) => stack::cold(args),
        Some(BenchCommand::Quality(args)) => quality::run(args),
        Some(BenchCommand::MakeModel(args)) => make_model::run(args),
        Some(BenchCommand::StackServe(args)) => stack_serve::run(args),
        Some(BenchCommand::Vae(args)) => vae::warm(args),
        Some(BenchCommand::VaeServe(args)) => vae::run_served(args),
    }
}

/// Times of one run in seconds, and its peak memory in bytes.
struct Sample {
    wall: f64,
    phases: Vec<f64>,
    peak: Option<u64>,
}

const PHASES: [&str; 4] = ["load", "encode", "denoise", "decode"];

/// Prompt to PNG as users run it, with the start of the program and the writing of the file.
fn picture(args: &BenchPictureArgs) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("bench.png");
    let program = std::env::current_exe()?;
    let mut samples = Vec::new();
    for _ in 0..args.runs {
        let mut command = Command::new(&program);
        command.args([
            "generate",
            &args.prompt,
            "--json",
            "--seed",
            "1",
            "--device",
            &args.device.to_string(),
            "-o",
        ]);
        command.arg(&output);
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
        samples.push(sample(wall, &out.stdout)?);
    }
    let wall = median(samples.iter().map(|sample| sample.wall));
    let phase = |index: usize| median(samples.iter().map(|sample| sample.phases[index]));
    let phases: Vec<f64> = (0..PHASES.len()).map(phase).collect();
    let rest = (wall - phases.iter().sum::<f64>()).max(0.0);
    let peak = samples.iter().filter_map(|sample| sample.peak).max();
    let mut out = std::io::stdout();
    if args.json {
        let phases: serde_json::Map<_, _> = PHASES
            .iter()
            .map(|name| (*name).to_owned())
            .zip(phases.iter().map(|&seconds| json!(seconds)))
            .collect();
        let facts = json!({"seconds": wall, "phases": phases, "start_and_write": rest, "peak_memory": peak, "runs": args.runs});
        writeln!(out, "{facts}")?;
        return Ok(());
    }
    writeln!(
        out,
        "prompt to PNG, {}, median of {}:",
        args.device, args.runs
    )?;
    let mut rows = vec![row(["start, hash, write", &seconds(rest)])];
    rows.extend(
        PHASES
            .iter()
            .zip(&phases)
            .map(|(name, &value)| row([name, &seconds(value)])),
    );
    rows.push(row(["all", &seconds(wall)]));
    rows.push(row([
        "peak memory",
        &peak.map_or("unknown".into(), human_bytes),
    ]));
    out.write_all(columns(&rows).as_bytes())?;
    Ok(())
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

/// The median of the values; for an even count, the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (_, None) => f64::NAN,
        (1, Some(&value)) => value,
        (_, Some(&value)) => (values[middle - 1] + value) / 2.0,
    }
}

fn seconds(value: f64) -> String {
    format!("{value:.3} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
