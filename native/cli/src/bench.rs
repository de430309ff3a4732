//! `x2i bench`: measures prompt to PNG, blocks of FLUX's real width, steps of training on them and its VAE against
//! other runtimes, the loss of quality by block-quantized weights and by first-block caching, and the peak of the
//! processor.

mod cache;
mod comparison;
mod folder;
mod make_model;
mod numbers;
mod peak;
mod picture;
mod process;
mod quality;
mod stack;
mod stack_files;
mod stack_serve;
mod synthetic;
mod train;
mod train_files;
mod train_serve;
mod vae;
mod vae_files;

use anyhow::Result;

use crate::flags::{BenchArgs, BenchCommand};

/// Runs `x2i bench`.
///
/// # Errors
/// When a flag, a file or a measured process fails.
pub fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        None => picture::run(&args.picture),
        Some(BenchCommand::Stack(args)) => stack::warm(args),
        Some(BenchCommand::Cold(args)) => stack::cold(args),
        Some(BenchCommand::Peak(args)) => peak::run(args),
        Some(BenchCommand::Quality(args)) => quality::run(args),
        Some(BenchCommand::Cache(args)) => cache::run(args),
        Some(BenchCommand::MakeModel(args)) => make_model::run(args),
        Some(BenchCommand::StackServe(args)) => stack_serve::run(args),
        Some(BenchCommand::Train(args)) => train::run(args),
        Some(BenchCommand::TrainServe(args)) => train_serve::run(args),
        Some(BenchCommand::Vae(args)) => vae::warm(args),
        Some(BenchCommand::VaeServe(args)) => vae::run_served(args),
    }
}
