//! `x2i bench vae`: measures a decode by FLUX's autoencoder in turn with other runtimes.
//!
//! Weights and latents are generated. The error of each side is relative to our result in f32 on the
//! CPU.

use std::process::Command;
use std::sync::Arc;

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::vae::Vae;
use x2i_core::weights::{Component, Weights};

use super::comparison::{Report, exact_result, in_turn};
use super::process::{Process, serve};
use super::vae_files::{VaeContent, VaeFiles};
use crate::flags::{BenchVaeArgs, BenchVaeServeArgs, Peer, Size};
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::host;
use x2i_engine::models::MappedFile;

/// Runs `x2i bench vae`.
///
/// # Errors
/// When a file can't be written, or a process fails.
pub(super) fn warm(args: &BenchVaeArgs) -> Result<()> {
    let content = VaeContent::flux()?;
    let gflop = content.gflop(args.size);
    let files = VaeFiles::create(&args.weights, content, args.size)?;
    let name = format!("picture-{}.f32", args.size);
    let exact = exact_result(&files.path(&name), || ours(args, DeviceChoice::Cpu))?;
    let peers = args.sides.compare.iter().map(|peer| theirs(args, peer));
    let starts = std::iter::once_with(|| ours(args, args.sides.device)).chain(peers);
    let rows = in_turn(starts, &exact, args.sides.runs)?;
    let report = Report {
        what: "one decode",
        headline: format!(
            "VAE decode, FLUX's shape, {} pixels, median of {}",
            args.size, args.sides.runs
        ),
        size: args.size.to_string().into(),
        runs: args.sides.runs,
        threads: args.sides.threads,
        gflop,
    };
    report.print(&rows, args.sides.json)
}

fn ours(args: &BenchVaeArgs, device: DeviceChoice) -> Result<Process> {
    let mut command = Command::new(super::process::this_program()?);
    command.args(["bench", "vae-serve", "--device", &device.to_string()]);
    if let Some(threads) = args.sides.threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    start("x2i bench vae-serve".into(), command, args)
}

fn theirs(args: &BenchVaeArgs, peer: &Peer) -> Result<Process> {
    let mut command = Command::new(peer.program(&args.sides.peers, "-vae")?);
    let threads = args
        .sides
        .threads
        .map_or_else(host::threads, |threads| threads as usize);
    command.args(["--variant", &peer.variant]);
    command.args(["--threads", &threads.to_string()]);
    let label = format!("--compare: {}:{}", peer.name, peer.variant);
    start(label, command, args)
}

fn start(label: String, mut command: Command, args: &BenchVaeArgs) -> Result<Process> {
    command.arg("--weights").arg(&args.weights);
    command.args(["--size", &args.size.to_string()]);
    Process::start(label, &mut command)
}

/// Runs `x2i bench vae-serve`.
///
/// # Errors
/// When the files do not exist, the device fails, or standard output is closed.
pub(super) fn run_served(args: &BenchVaeServeArgs) -> Result<()> {
    let files = VaeFiles::open(&args.weights)?;
    let opened = device::acquire(args.device)?;
    let vae = load(&files, &opened.device)?;
    let latents = latents(&files, args.size, &opened.device)?;
    let label = format!("f32, {}", opened.entry);
    serve(&label, || {
        Ok(opened.guard(|| {
            pollster::block_on(async {
                let latents = latents.clone();
                let picture = vae.decode(latents, &mut async |_, _| Ok(())).await?;
                let data = picture.into_data_async().await?;
                // A GPU's bytes arrive only when they are read.
                Ok(data.iter::<f32>().collect())
            })
        })?)
    })
}

fn load(files: &VaeFiles, device: &Device) -> Result<Vae> {
    let source = Arc::new(MappedFile::open(&files.path(VaeFiles::WEIGHTS))?);
    pollster::block_on(async {
        let weights = Weights::open("vae", Component::Vae, vec![source]).await?;
        let config = &files.content().vae;
        Ok(Vae::load_decoder(config, &weights.scope(device)).await?)
    })
}

fn latents(files: &VaeFiles, size: Size, device: &Device) -> Result<Tensor<4>> {
    let data = TensorData::new(files.latents(size)?, files.latents_shape(size));
    Ok(Tensor::from_data(data, device))
}
