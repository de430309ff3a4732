//! `x2i bench stack` and `x2i bench cold`: measure FLUX's blocks at their real width in turn with other
//! runtimes.
//!
//! All sides read the same weights and inputs. The error of each is relative to our result in f32 on
//! the CPU.

use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::comparison::{Report, Row, exact_result, in_turn};
use super::process::{Pass, Process};
use super::stack_files::{StackConfig, StackFiles, value_name};
use crate::flags::{BenchStackArgs, Peer, Quantize};
use x2i_engine::device::{DeviceChoice, Precision};
use x2i_engine::host;

/// One measured process: ours with one weight type, or a peer.
enum Side<'a> {
    Ours(Quantize),
    Theirs(&'a Peer),
}

impl Side<'_> {
    /// The type of the weights that it reads.
    fn weights(&self) -> Quantize {
        match self {
            Self::Ours(quantize) => *quantize,
            // For its other types (bf16, int8), the peer converts the bf16 file itself.
            Self::Theirs(peer) => {
                Quantize::from_str(&peer.variant, false).unwrap_or(Quantize::None)
            }
        }
    }

    fn command(&self, args: &BenchStackArgs) -> Result<Command> {
        let (mut command, variant) = match self {
            Self::Ours(quantize) => {
                return ours(args, *quantize, (args.sides.device, args.precision));
            }
            Self::Theirs(peer) => (
                Command::new(peer.program(&args.sides.peers, "")?),
                &peer.variant,
            ),
        };
        let threads = args
            .sides
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

fn ours(
    args: &BenchStackArgs,
    quantize: Quantize,
    (device, precision): (DeviceChoice, Precision),
) -> Result<Command> {
    let mut command = Command::new(super::process::this_program()?);
    command.args(["bench", "stack-serve", "--variant", &value_name(quantize)]);
    command.args(["--device", &device.to_string()]);
    command.args(["--precision", &precision.to_string()]);
    if let Some(threads) = args.sides.threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    Ok(with_files(command, args))
}

fn with_files(mut command: Command, args: &BenchStackArgs) -> Command {
    command.arg("--weights").arg(&args.weights);
    command.args(["--size", &args.size.to_string()]);
    command
}

/// Writes all files that the sides read.
fn prepare(args: &BenchStackArgs) -> Result<(StackFiles, Vec<Side<'_>>)> {
    let ours = args.quantize.iter().copied().map(Side::Ours);
    let sides: Vec<_> = ours
        .chain(args.sides.compare.iter().map(Side::Theirs))
        .collect();
    let config = StackConfig::flux(args.double_blocks.into(), args.single_blocks.into());
    let files = StackFiles::create(&args.weights, config)?;
    files.need_inputs(args.size)?;
    for side in &sides {
        files.need_weights(side.weights())?;
    }
    Ok((files, sides))
}

/// Runs `x2i bench stack`.
///
/// # Errors
/// When a file can't be written, or a process fails.
pub(super) fn warm(args: &BenchStackArgs) -> Result<()> {
    let (files, sides) = prepare(args)?;
    if args.prepare {
        return Ok(());
    }
    let name = format!("velocity-{}.f32", args.size);
    let exact = exact_result(&files.path(&name), || {
        files.need_weights(Quantize::None)?;
        let mut command = ours(args, Quantize::None, (DeviceChoice::Cpu, Precision::Auto))?;
        command.arg("--exact");
        Process::start("x2i bench stack-serve none", &mut command)
    })?;
    let starts = sides.iter().map(|side| side.start(args));
    let rows = in_turn(starts, &exact, args.sides.runs)?;
    report(args, "one pass", files.config(), &rows)
}

/// Runs `x2i bench cold`: from the start of a process to the end of its first pass, with the weights
/// in the page cache.
///
/// # Errors
/// As [`warm`].
pub(super) fn cold(args: &BenchStackArgs) -> Result<()> {
    let (files, sides) = prepare(args)?;
    if args.prepare {
        return Ok(());
    }
    for side in &sides {
        let path = files.weights(side.weights());
        let mut file = File::open(&path).with_context(|| path.display().to_string())?;
        std::io::copy(&mut file, &mut std::io::sink())?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for run in 0..args.sides.runs {
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

fn report(args: &BenchStackArgs, what: &str, config: &StackConfig, rows: &[Row]) -> Result<()> {
    let sizes = &config.transformer;
    let headline = format!(
        "FLUX stack, {what}: width {}, {} double + {} single blocks, {pixels}x{pixels} pixels, {} text tokens, \
         median of {}",
        sizes.hidden_size(),
        sizes.num_layers,
        sizes.num_single_layers,
        config.text_tokens,
        args.sides.runs,
        pixels = args.size
    );
    let report = Report {
        what,
        headline,
        size: args.size.into(),
        runs: args.sides.runs,
        threads: args.sides.threads,
        gflop: config.gflop(args.size),
    };
    report.print(rows, args.sides.json)
}
