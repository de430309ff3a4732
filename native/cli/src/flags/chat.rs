//! The flags of `x2i chat`.

use std::path::PathBuf;

use clap::Args;

use super::{AdapterArgs, EngineArgs, Size};

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
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
    /// The folder of the images (default: the session file's, else the current one)
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Width and height in pixels, multiples of 16 (default: the model's)
    #[arg(long, value_name = "WxH", allow_hyphen_values = true)]
    pub size: Option<Size>,
    /// Number of steps (default: the model's)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// How closely a guidance-distilled transformer follows the prompt (default: the model's)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Seed of the noise, the same for all turns until /seed changes it (default: a random one)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
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
