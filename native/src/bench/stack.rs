//! `x2i bench stack` and `x2i bench cold`: FLUX's blocks at their real width, ours and others' in turn.
//!
//! Alternating runs share whatever else the machine does in those minutes, so that their ratio
//! holds on a loaded machine too; CPU seconds are printed beside wall seconds for the same reason.
//! All sides read the same weights and inputs, so that their results can be compared: the error of
//! each is relative to ours in f32 on the CPU.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::process::{Pass, Process};
use super::stack_files::{StackConfig, StackFiles, read_floats, value_name};
use super::{median, seconds};
use crate::cli::{BenchStackArgs, Peer, Quantize};
use crate::device::DeviceChoice;
use crate::host::{self, human_bytes};
use crate::table::{columns, row};

/// One process that is measured: ours with some weights, or a peer.
enum Side<'a> {
    Ours(Quantize),
    Theirs(&'a Peer),
}

impl Side<'_> {
    /// The weights that it reads.
    fn weights(&self) -> Quantize {
        match self {
            Self::Ours(quantize) => *quantize,
            // What is no type of ours (bf16, int8) is made of the bf16 file by the peer itself.
            Self::Theirs(peer) => {
                Quantize::from_str(&peer.variant, false).unwrap_or(Quantize::None)
            }
        }
    }

    fn command(&self, args: &BenchStackArgs) -> Result<Command> {
        let (mut command, variant) = match self {
            Self::Ours(quantize) => return ours(args, *quantize, args.device),
            Self::Theirs(peer) => (Command::new(peer.program(&args.peers)?), &peer.variant),
        };
        let threads = args
            .threads
            .map_or_else(host::threads, |threads| threads as usize);
        command.args(["--variant", variant]);
        command.args(["--threads", &threads.to_string()]);
        Ok(with_files(command, args))
    }

    fn start(&self, args: &BenchStackArgs) -> Result<Process> {
        let label = match self {
            Self::Ours(quantize) => format!("x2i bench stack-serve {}", value_name(*quantize)),
            Self::Theirs(peer) => format!("--compare: {}:{}", peer.name, peer.variant),
        };
        Process::start(label, &mut self.command(args)?)
    }
}

fn ours(args: &BenchStackArgs, quantize: Quantize, device: DeviceChoice) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "stack-serve", "--variant", &value_name(quantize)]);
    command.args(["--device", &device.to_string()]);
    if let Some(threads) = args.threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    Ok(with_files(command, args))
}

fn with_files(mut command: Command, args: &BenchStackArgs) -> Command {
    command.arg("--weights").arg(&args.weights);
    command.args(["--size", &args.size.to_string()]);
    command
}

/// Writes all files that are read.
fn prepare(args: &BenchStackArgs) -> Result<(StackFiles, Vec<Side<'_>>)> {
    let ours = args.quantize.iter().copied().map(Side::Ours);
    let sides: Vec<_> = ours.chain(args.compare.iter().map(Side::Theirs)).collect();
    let files = StackFiles::create(&args.weights, StackConfig::flux())?;
    files.need_inputs(args.size)?;
    for side in &sides {
        files.need_weights(side.weights())?;
    }
    Ok((files, sides))
}

/// What was measured of one side.
struct Row {
    versions: String,
    passes: Vec<Pass>,
    /// L2 norm of the difference to f32's velocity, relative to that velocity's.
    error: Option<f64>,
}

/// Runs `x2i bench stack`.
///
/// # Errors
/// When a file can't be written, or a process fails.
pub(super) fn warm(args: &BenchStackArgs) -> Result<()> {
    let (files, sides) = prepare(args)?;
    let exact = exact_velocity(args, &files)?;
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("velocity.f32");
    let mut processes = Vec::new();
    let mut rows = Vec::new();
    for side in &sides {
        let mut process = side.start(args)?;
        process.output(&output)?;
        rows.push(Row {
            versions: process.ready.versions.clone(),
            passes: Vec::new(),
            error: Some(relative_error(&read_floats(&output)?, &exact)),
        });
        processes.push(process);
    }
    for _ in 0..args.runs {
        for (row, process) in rows.iter_mut().zip(&mut processes) {
            row.passes.push(process.forward()?);
        }
    }
    report(args, "one pass", files.config(), &rows)
}

/// Runs `x2i bench cold`: from the start of a process to the end of its first pass, the weights
/// in the page cache.
///
/// # Errors
/// As [`warm`].
pub(super) fn cold(args: &BenchStackArgs) -> Result<()> {
    let (files, sides) = prepare(args)?;
    for side in &sides {
        let path = files.weights(side.weights());
        let mut file = File::open(&path).with_context(|| path.display().to_string())?;
        std::io::copy(&mut file, &mut std::io::sink())?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for run in 0..args.runs {
        for (index, side) in sides.iter().enumerate() {
            let process = side.start(args)?;
            if run == 0 {
                rows.push(Row {
                    versions: process.ready.versions.clone(),
                    passes: Vec::new(),
                    error: None,
                });
            }
            rows[index].passes.push(Pass {
                wall: process.start,
                cpu: process.ready.cpu,
                peak: process.ready.peak,
            });
        }
    }
    report(
        args,
        "start to first pass, weights in the page cache",
        files.config(),
        &rows,
    )
}

/// Our velocity in f32 on the CPU, computed once for a folder.
fn exact_velocity(args: &BenchStackArgs, files: &StackFiles) -> Result<Vec<f32>> {
    let path = files.path(&format!("velocity-{}.f32", args.size));
    if !path.exists() {
        files.need_weights(Quantize::None)?;
        let mut command = ours(args, Quantize::None, DeviceChoice::Cpu)?;
        let part = path.with_extension("f32.part");
        Process::start("x2i bench stack-serve none", &mut command)?.output(&part)?;
        std::fs::rename(&part, &path).with_context(|| path.display().to_string())?;
    }
    read_floats(&path)
}

fn relative_error(found: &[f32], exact: &[f32]) -> f64 {
    if found.len() != exact.len() {
        return f64::NAN;
    }
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(exact);
    let difference: f64 = pairs
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    let norm: f64 = exact.iter().map(|&b| square(f64::from(b))).sum();
    (difference / norm).sqrt()
}

fn report(args: &BenchStackArgs, what: &str, config: &StackConfig, rows: &[Row]) -> Result<()> {
    let gflop = config.gflop(args.size);
    let mut facts = Vec::new();
    let mut table = vec![row([
        "",
        "wall",
        "CPU",
        "GFLOP per CPU-s",
        "peak",
        "error",
        "times the CPU of the first",
    ])];
    for found in rows {
        let wall = median(found.passes.iter().map(|pass| pass.wall));
        let cpu = median(found.passes.iter().map(|pass| pass.cpu));
        let peak = found.passes.iter().map(|pass| pass.peak).max().unwrap_or(0);
        // Of each round, since all of a round ran in the same moments.
        let rounds = || found.passes.iter().zip(&rows[0].passes);
        let ratio_cpu = median(rounds().map(|(own, first)| own.cpu / first.cpu));
        let ratio_wall = median(rounds().map(|(own, first)| own.wall / first.wall));
        table.push(row([
            &found.versions,
            &seconds(wall),
            &seconds(cpu),
            &format!("{:.1}", gflop / cpu),
            &human_bytes(peak),
            &found
                .error
                .map_or("-".into(), |error| format!("{error:.2e}")),
            &format!("{ratio_cpu:.2}"),
        ]));
        facts.push(json!({
            "versions": found.versions,
            "wall": wall,
            "cpu": cpu,
            "peak_memory": peak,
            "error": found.error,
            "ratio": {"wall": ratio_wall, "cpu": ratio_cpu},
            "passes": found.passes,
        }));
    }
    let mut out = std::io::stdout();
    if args.json {
        let facts = json!({
            "what": what,
            "machine": host::facts(),
            "command": std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            "size": args.size,
            "runs": args.runs,
            "threads": args.threads.map_or_else(host::threads, |threads| threads as usize),
            "gflop": gflop,
            "sides": Value::from(facts),
        });
        writeln!(out, "{facts}")?;
        return Ok(());
    }
    let sizes = &config.transformer;
    writeln!(
        out,
        "FLUX stack, {what}: width {}, {} double + {} single blocks, {pixels}x{pixels} pixels, {} text tokens, \
         median of {}",
        sizes.hidden_size(),
        sizes.num_layers,
        sizes.num_single_layers,
        config.text_tokens,
        args.runs,
        pixels = args.size
    )?;
    out.write_all(columns(&table).as_bytes())?;
    Ok(())
}

impl Peer {
    /// The program in the folder of peers.
    fn program(&self, peers: &Path) -> Result<std::path::PathBuf> {
        let program = peers.join(&self.name);
        if !program.is_file() {
            bail!(
                "--compare: there is no {}; scripts/bench-peers makes it",
                program.display()
            );
        }
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_exact_result() {
        assert_eq!(relative_error(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(relative_error(&[0.0, 0.0], &[3.0, 4.0]), 1.0);
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert!(relative_error(&[3.0], &[3.0, 4.0]).is_nan());
    }
}
