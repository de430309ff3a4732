//! The flags of `x2i gallery`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{AdapterArgs, EngineArgs, Size};

/// `x2i gallery`.
#[derive(Debug, Args)]
#[command(after_help = "\
Where no file is given, the model's own first picture is shown to it, that picture moving, and a
whistle.

Example:
  x2i gallery --image cat.jpg --audio rain.mp3 --model DIR -o gallery.html
")]
pub struct GalleryArgs {
    /// What to do; may be given several times
    #[arg(long = "task", value_enum, value_name = "TASK", default_value = "all")]
    pub tasks: Vec<TaskChoice>,
    /// The picture that is shown
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// The video that is shown
    #[arg(long, value_name = "FILE")]
    pub video: Option<PathBuf>,
    /// The sound that is played
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// The page to write, replacing an existing one
    #[arg(short, long, value_name = "FILE", default_value = "gallery.html")]
    pub output: PathBuf,
    /// Width and height in pixels, multiples of 16 (default: the model's)
    #[arg(long, value_name = "WxH", allow_hyphen_values = true)]
    pub size: Option<Size>,
    /// Steps of painting (default: the model's)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// Seed of the noise of all pictures
    #[arg(
        long,
        value_name = "N",
        default_value_t = 7,
        allow_negative_numbers = true
    )]
    pub seed: u64,
    /// What stands beside the model in every picture
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// The model, and where it runs
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// X2I's names of what can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
#[allow(missing_docs, reason = "X2I's own names")]
pub enum TaskChoice {
    All,
    Text2Image,
    Image2Image,
    ImageText2Image,
    Video2Image,
    Audio2Image,
    X2Image,
    Reasoning2Image,
    /// A conversation of two turns.
    #[value(name = "multi-turn")]
    MultiTurn,
}
