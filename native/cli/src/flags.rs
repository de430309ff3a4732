//! The command line: all flags and their help texts. Not here: what the flags do.

mod adapters;
mod bench;
mod chat;
mod convert;
mod doctor;
mod engine;
mod gallery;
mod generate;
mod inspect;
mod loading;
mod models;
mod parts;
pub mod paths;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "serve")]
mod queue;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod served;
mod settings;
mod train;
mod typed;
mod values;
#[cfg(feature = "serve")]
mod worker;

use clap::{Parser, Subcommand};

pub use adapters::{AdapterArgs, Scaled};
pub use bench::{
    BenchArgs, BenchCacheArgs, BenchCommand, BenchModelArgs, BenchPeakArgs, BenchPictureArgs,
    BenchQualityArgs, BenchServeArgs, BenchStackArgs, BenchTrainArgs, BenchTrainServeArgs,
    BenchVaeArgs, BenchVaeServeArgs, MadeWeights, Peer, TrainStep,
};
pub use chat::ChatArgs;
pub use convert::{ConvertArgs, Override};
pub use doctor::DoctorArgs;
pub use engine::EngineArgs;
pub use gallery::{GalleryArgs, TaskChoice};
pub use generate::{Alpha, GenerateArgs};
pub use inspect::InspectArgs;
pub use loading::{LoadingArgs, verify};
pub use models::{ModelsArgs, ModelsCommand, RmArgs};
pub use parts::{Given, PartArgs};
#[cfg(feature = "hub")]
pub use pull::PullArgs;
#[cfg(feature = "serve")]
pub use queue::NatsArgs;
#[cfg(feature = "serve")]
pub use serve::ServeArgs;
#[cfg(feature = "serve")]
pub use served::{LogArgs, ServedArgs};
pub use settings::SettingsArgs;
pub use train::{SettingFlags, TrainArgs, TrainCommand};
pub use typed::{arguments, flag_of};
pub use values::{ByteSize, MemoryChoice, Quantize, Seed, Size};
#[cfg(feature = "serve")]
pub use worker::WorkerArgs;

/// Generate images from text, images, videos and audio.
#[derive(Debug, Parser)]
#[command(name = "x2i", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one")]
pub enum Command {
    /// Generate an image from a prompt
    Generate(GenerateArgs),
    /// Hold a conversation; every answer of the LLM becomes an image
    Chat(ChatArgs),
    /// Run every task once, and write one page with inputs and results
    Gallery(GalleryArgs),
    /// Print the facts of an image, a weight file or a model folder
    Inspect(InspectArgs),
    /// List this machine's devices and what each can run
    Doctor(DoctorArgs),
    /// Serve models over HTTP: OpenAI's, A1111's and x2i's own API
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Download a model from the Hugging Face Hub
    #[cfg(feature = "hub")]
    Pull(PullArgs),
    /// List the downloaded models, or delete them
    Models(ModelsArgs),
    /// Paint the jobs of a queue between machines (NATS)
    #[cfg(feature = "serve")]
    Worker(WorkerArgs),
    /// Train a part of a model
    #[command(subcommand)]
    Train(TrainCommand),
    /// Convert a Hugging Face style folder to a model folder (model.json and GGUF)
    Convert(ConvertArgs),
    /// Measure speed and memory
    Bench(BenchArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
