//! The flags of `x2i gallery`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::adapters::AdapterArgs;
use super::engine::EngineArgs;
use super::paths::PathParser;
use super::settings::SettingsArgs;

/// `x2i gallery`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without files, the inputs are the model's first image, that image as a video, and a whistle.
Without --seed, all tasks have seed 7.

Example:
  x2i gallery --image cat.jpg --audio rain.mp3 --model DIR -o gallery.html
")]
pub struct GalleryArgs {
    /// A task; may be given several times
    #[arg(long = "task", value_enum, value_name = "TASK", default_value = "all")]
    pub tasks: Vec<TaskChoice>,
    /// The input image
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub image: Option<PathBuf>,
    /// The input video
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub video: Option<PathBuf>,
    /// The input audio
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub audio: Option<PathBuf>,
    /// The page to write; an existing one is replaced
    #[arg(short, long, value_name = "FILE", default_value = "gallery.html", value_parser = PathParser)]
    pub output: PathBuf,
    /// The size, the steps, the guidance, the cache and the seed of every task.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Adapters and images of every task.
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// The model and the device.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// The tasks, by X2I's names.
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
