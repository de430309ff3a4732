//! `x2i bench train`: measures one step of training in turn with PyTorch.
//!
//! A step of AlignNet is the teacher's pass, the student's, the way back and the update; a step of a LoRA has no teacher.
//! Weights, inputs and first parameters are generated. The error of each side is that of its gradients, relative to
//! ours from products in f32.

use std::process::Command;

use anyhow::Result;

use super::comparison::{Report, alone_in_turn, exact_result};
use super::process::{Process, this_program};
use super::stack_files::value_name;
use super::train_files::{TrainContent, TrainFiles};
use crate::flags::{BenchTrainArgs, Peer, Quantize, TrainStep};
use x2i_engine::device::DeviceChoice;
use x2i_engine::host;

/// One measured process.
enum Side<'a> {
    /// Ours: its type of weights, and how many blocks it records at once.
    Ours(Quantize, usize),
    Theirs(&'a Peer),
}

/// Runs `x2i bench train`.
///
/// # Errors
/// When a file can't be written, or a process fails.
pub(super) fn run(args: &BenchTrainArgs) -> Result<()> {
    let content = match args.small {
        true => TrainContent::small(),
        false => TrainContent::flux(),
    };
    let files = TrainFiles::create(&args.weights, content)?;
    // The peers and the exact side read bf16.
    for quantize in [Quantize::None].iter().chain(&args.quantize) {
        files.need_weights(*quantize)?;
    }
    for step in &args.step {
        files.need_inputs(*step, args.size)?;
    }
    if args.prepare {
        return Ok(());
    }
    args.step
        .iter()
        .try_for_each(|step| measure(args, &files, *step))
}

fn measure(args: &BenchTrainArgs, files: &TrainFiles, step: TrainStep) -> Result<()> {
    let recorded = || args.recorded_blocks.iter();
    let ours = args.quantize.iter();
    let ours = ours.flat_map(|&quantize| recorded().map(move |&count| Side::Ours(quantize, count)));
    let sides: Vec<Side<'_>> = ours
        .chain(args.sides.compare.iter().map(Side::Theirs))
        .collect();
    let name = format!("gradients-{step}-{}.f32", args.size);
    let exact = exact_result(&files.path(&name), || {
        let mut command = ours_command(args, step, (Quantize::None, 1), DeviceChoice::Cpu)?;
        command.arg("--exact");
        Process::start("x2i bench train-serve --exact", &mut command)
    })?;
    let start = |side: &Side<'_>| start(args, step, side);
    let rows = alone_in_turn(&sides, start, &exact, args.sides.runs)?;
    let content = files.content();
    let what = match step {
        TrainStep::Align => "one distillation step of AlignNet",
        TrainStep::Lora => "one step of a LoRA",
    };
    let sizes = &content.transformer;
    let report = Report {
        what,
        headline: format!(
            "{what}: width {}, {} double + {} single blocks, {pixels}x{pixels} pixels, {} text tokens, \
             median of {}",
            sizes.hidden_size(),
            sizes.num_layers,
            sizes.num_single_layers,
            content.text_tokens,
            args.sides.runs,
            pixels = args.size
        ),
        size: args.size.into(),
        runs: args.sides.runs,
        threads: args.sides.threads,
        gflop: content.gflop(step, args.size),
    };
    report.print(&rows, args.sides.json)
}

fn start(args: &BenchTrainArgs, step: TrainStep, side: &Side<'_>) -> Result<Process> {
    match side {
        Side::Ours(quantize, recorded) => {
            let device = args.sides.device;
            let mut command = ours_command(args, step, (*quantize, *recorded), device)?;
            Process::start("x2i bench train-serve", &mut command)
        }
        Side::Theirs(peer) => {
            let mut command = Command::new(peer.program(&args.sides.peers, "-train")?);
            let threads = args
                .sides
                .threads
                .map_or_else(host::threads, |threads| threads as usize);
            command.args(["--variant", &peer.variant]);
            command.args(["--threads", &threads.to_string()]);
            let label = format!("--compare: {}:{}", peer.name, peer.variant);
            Process::start(label, &mut with_files(command, args, step))
        }
    }
}

fn ours_command(
    args: &BenchTrainArgs,
    step: TrainStep,
    (quantize, recorded): (Quantize, usize),
    device: DeviceChoice,
) -> Result<Command> {
    let mut command = Command::new(this_program()?);
    command.args(["bench", "train-serve", "--variant", &value_name(quantize)]);
    command.args(["--recorded-blocks", &recorded.to_string()]);
    command.args(["--device", &device.to_string()]);
    if let Some(threads) = args.sides.threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    Ok(with_files(command, args, step))
}

fn with_files(mut command: Command, args: &BenchTrainArgs, step: TrainStep) -> Command {
    command.arg("--weights").arg(&args.weights);
    command.args(["--step", &step.to_string()]);
    command.args(["--size", &args.size.to_string()]);
    command
}
