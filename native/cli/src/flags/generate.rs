//! The flags of `x2i generate`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use x2i_core::Conditioning;
use x2i_engine::media::Background;

use super::adapters::AdapterArgs;
use super::engine::EngineArgs;
use super::parts::{self, PartArgs};
use super::paths::PathParser;
use super::settings::SettingsArgs;

/// `x2i generate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The PNG holds metadata that replays it: x2i generate --from out.png

Examples:
  x2i generate \"a red apple on a blue background\" -o apple.png
  x2i generate --image cat.jpg \"the same cat in a hat\" --model DIR
  x2i generate --image a.png --text \"in the style of\" --image b.png --model DIR
  x2i generate --image a.png b.png \"both in one room\" --model DIR
  x2i generate --lora style.safetensors:0.8 detail.safetensors \"a red apple\" --model DIR
  x2i generate --video clip.mp4 \"what happens next\" --model DIR
  echo \"ein roter Apfel\" | x2i generate - --num-images 4 --seed 7 -o apfel.png
")]
pub struct GenerateArgs {
    /// The parts of the prompt.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Frames per second that the LLM reads of a video; the rate of a folder of frames (default: the
    /// model's)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = frames_a_second)]
    pub video_fps: Option<f64>,
    /// The color under the transparent pixels of input images: white, black or RRGGBB in hex (default:
    /// white)
    #[arg(long, value_name = "COLOR", value_parser = color, conflicts_with = "alpha")]
    pub background: Option<Background>,
    /// `drop` ignores transparency: what lies below it becomes visible
    #[arg(long, value_enum, value_name = "HOW")]
    pub alpha: Option<Alpha>,
    /// Adapters, the initial image and the control image.
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// The size, the steps, the guidance, the cache and the seed.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Generate this many images with seeds N, N+1, ...
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub num_images: Option<u32>,
    /// Condition the image by the LLM's answer to the prompt (default: the model's choice)
    #[arg(long, overrides_with = "no_answer")]
    pub answer: bool,
    /// Condition the image by the prompt itself
    #[arg(long, overrides_with = "answer")]
    pub no_answer: bool,
    /// The PNG, JPEG (.jpg) or WebP (.webp) to write; an existing one is replaced (default: out.png). `{}`
    /// becomes the number of the image, a folder (`new/` is made) gets SEED.png, `-` is standard output
    #[arg(short, long, value_name = "FILE", value_parser = PathParser)]
    pub output: Option<PathBuf>,
    /// Quality of a JPEG, 1 to 100 (default: 95); PNG and WebP are written without loss
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: Option<u8>,
    /// Replay the image in this file from its metadata; other flags change the request
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub from: Option<PathBuf>,
    /// Let the metadata of --from name files anywhere and ask for any amount of work; without it, files
    /// and a model outside of the PNG's folder and the current one are refused
    #[arg(long, requires = "from")]
    pub trust: bool,
    /// Generate one image for each line into the folder -o: a prompt, or {"prompt": .., "seed": N, "out":
    /// "name.png"}; optional keys: images, videos, audios, answer, steps, guidance, cache, size, width,
    /// height. Instead of prompt and files, the key parts lists them in order:
    /// [{"image": "a.png"}, {"text": ".."}, {"video": ..}, {"audio": ..}]. The key earlier has the turns of a
    /// conversation before it: [{"prompt": "a cat", "answer": ".."}]. A JSON array is read too
    #[arg(long, value_name = "FILE", value_parser = PathParser, requires = "output", conflicts_with_all = parts::IDS, conflicts_with_all = ["from", "num_images"])]
    pub batch: Option<PathBuf>,
    /// Skip the images of --batch that are finished: those whose metadata has the same request
    #[arg(long, requires = "batch")]
    pub resume: bool,
    /// The model and the device.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Print one JSON object per line on standard output: progress, then each image
    #[arg(long)]
    pub json: bool,
}

/// What becomes of transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Alpha {
    /// It is ignored, as in transformers 4.49.
    Drop,
}

impl GenerateArgs {
    /// What lies under transparent pixels, by `--background` and `--alpha`.
    pub fn background(&self) -> Option<Background> {
        match (self.background, self.alpha) {
            (_, Some(Alpha::Drop)) => Some(Background::Dropped),
            (color, None) => color,
        }
    }

    /// The output: `-o`, else `out.png`, but never the replayed PNG.
    pub fn output(&self) -> &Path {
        let default = Path::new("out.png");
        match (&self.output, &self.from) {
            (Some(output), _) => output,
            (None, Some(from)) if from.canonicalize().ok() == default.canonicalize().ok() => {
                Path::new("out-again.png")
            }
            (None, _) => default,
        }
    }

    /// The choice of `--answer` and `--no-answer`.
    pub fn conditioning(&self) -> Option<Conditioning> {
        match (self.answer, self.no_answer) {
            (true, _) => Some(Conditioning::Answer),
            (_, true) => Some(Conditioning::Prompt),
            _ => None,
        }
    }
}

/// A color; dropped transparency is `--alpha`'s.
fn color(text: &str) -> Result<Background, String> {
    match text.parse()? {
        Background::Dropped => Err("is no color; give --alpha drop".into()),
        color => Ok(color),
    }
}

fn frames_a_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|&rate| rate > 0.0 && rate <= 1000.0)
        .ok_or_else(|| "expected a number above 0 and at most 1000".into())
}
