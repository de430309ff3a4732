//! The flags of `x2i chat`.

use std::path::PathBuf;

use clap::Args;

use super::adapters::AdapterArgs;
use super::engine::EngineArgs;
use super::paths::PathParser;
use super::settings::SettingsArgs;

/// `x2i chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Type what to paint. The LLM answers every turn, and its answer conditions an image. /help lists the
commands. Lines may also come from a pipe.

Examples:
  x2i chat
  x2i chat --session robots.json        (continues that conversation and updates the file)
")]
pub struct ChatArgs {
    /// The session file: read if it exists, written after every turn
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub session: Option<PathBuf>,
    /// The folder of the images (default: the session file's, else the current one)
    #[arg(short, long, value_name = "DIR", value_parser = PathParser)]
    pub output: Option<PathBuf>,
    /// The size, the steps, the guidance, the cache and the seed of every turn; /seed changes the seed.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Adapters and images of every turn.
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// The model and the device.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print answers and the names of images, but no progress
    #[arg(long, short)]
    pub quiet: bool,
}
