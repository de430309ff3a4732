//! The command line: all flags and their help texts. Not here: what the flags do.

mod adapters;
mod bench;
mod chat;
mod engine;
mod gallery;
mod parts;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regex::Regex;
use x2i_core::Conditioning;
use x2i_core::weights::StoredType;

pub use adapters::{AdapterArgs, Scaled};
pub use bench::{
    BenchArgs, BenchCommand, BenchModelArgs, BenchPictureArgs, BenchQualityArgs, BenchServeArgs,
    BenchStackArgs, BenchVaeArgs, BenchVaeServeArgs, Peer,
};
pub use chat::ChatArgs;
pub use engine::EngineArgs;
pub use gallery::{GalleryArgs, TaskChoice};
pub use parts::{Given, PartArgs};

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
    /// Convert a Hugging Face style folder to a model folder (model.json and GGUF)
    Convert(ConvertArgs),
    /// Measure speed and memory
    Bench(BenchArgs),
}

/// `x2i generate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The PNG holds metadata that replays it: x2i generate --from out.png

Examples:
  x2i generate \"a red apple on a blue background\" -o apple.png
  x2i generate --image cat.jpg \"the same cat in a hat\" --model DIR
  x2i generate --image a.png --text \"in the style of\" --image b.png --model DIR
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
    /// Adapters, the initial image and the control image.
    #[command(flatten)]
    pub adapters: AdapterArgs,
    /// Number of steps (default: the model's)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// How closely a guidance-distilled transformer follows the prompt (default: the model's)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Width and height in pixels, multiples of 16 (default: the model's)
    #[arg(long, value_name = "WxH", allow_hyphen_values = true)]
    pub size: Option<Size>,
    /// Seed of the noise; the same seed gives the same image (default: a random one, printed)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub seed: Option<u64>,
    /// Generate this many images with seeds N, N+1, ...
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub num_images: Option<u32>,
    /// Condition the image by the LLM's answer to the prompt (default: the model's choice)
    #[arg(long, overrides_with = "no_answer")]
    pub answer: bool,
    /// Condition the image by the prompt itself
    #[arg(long, overrides_with = "answer")]
    pub no_answer: bool,
    /// The PNG to write; an existing one is replaced (default: out.png). `{}` becomes the number of the
    /// image, a folder gets SEED.png, `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replay the image in this PNG from its metadata; other flags change the request
    #[arg(long, value_name = "PNG")]
    pub from: Option<PathBuf>,
    /// Generate one image for each line {"prompt": .., "seed": N, "out": "name.png"} into the folder -o;
    /// optional keys: images, videos, audios, answer, steps, guidance, size. Instead of prompt and
    /// files, the key parts lists them in order:
    /// [{"image": "a.png"}, {"text": ".."}, {"video": ..}, {"audio": ..}]
    #[arg(long, value_name = "JSONL", requires = "output", conflicts_with_all = parts::IDS, conflicts_with_all = ["from", "num_images"])]
    pub batch: Option<PathBuf>,
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

impl GenerateArgs {
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

fn frames_a_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|&rate| rate > 0.0 && rate <= 1000.0)
        .ok_or_else(|| "expected a number above 0 and at most 1000".into())
}

/// `WxH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Size {
    /// Width and height in pixels.
    pub fn sides(self) -> (usize, usize) {
        (self.width, self.height)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once(['x', 'X', '×']);
        let sides =
            sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        let (width, height) = sides.ok_or("expected WIDTHxHEIGHT in pixels, such as 512x512")?;
        Ok(Self { width, height })
    }
}

/// Which components of a model stay on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "described in the command's help")]
pub enum MemoryChoice {
    #[default]
    Auto,
    Low,
    High,
}

/// A number of bytes: `3GiB`, `3G` (the same), `3GB` (decimal), `3000M`, `3221225472`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
        let scale: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => 0,
        };
        let bytes = match number.contains('.') {
            false => number
                .parse::<u64>()
                .ok()
                .and_then(|whole| whole.checked_mul(scale)),
            true => {
                let bytes = number.parse::<f64>().ok().map(|part| part * scale as f64);
                bytes
                    .filter(|bytes| *bytes < u64::MAX as f64)
                    .map(|bytes| bytes as u64)
            }
        };
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| "expected a size, such as 3GiB, 3G, 3000M or a number of bytes".into())
    }
}

/// `x2i inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A PNG, a weight file (GGUF, safetensors, PyTorch) or a model folder; `emoji` is the embedded model
    pub path: PathBuf,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `x2i doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A model: check it, and which devices can run it
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `x2i convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
SRC holds flux/ (diffusers: transformer, vae, scheduler), mllm/ (transformers) and proj/ (X2I's
AlignNet), or says in x2i.json where they are. DST gets model.json, encoder.gguf, align_net.gguf,
flux.gguf, vae.gguf and tokenizer.json.

Weight types:
  none   as in the source (64-bit floats become f32)
  f32    all as f32
  f16    tensors of two and more axes as f16, vectors as f32
  q8_0   blocks of 32 numbers of 8 bits
  q4_0   blocks of 32 numbers of 4 bits
  q4_k   blocks of 256 numbers of 4 bits: slower to make than q4_0, more exact

The last three store the matrices of linear layers and token embeddings in ggml's blocks. Vectors
(norms, biases) stay f32. These become f16, or stay bf16: FLUX's embedders (img_in, txt_in, time_in,
vector_in, guidance_in) and final_layer, as in ComfyUI's GGUF files; the whole VAE; convolutions;
the vision tower's patch_embed; T5's table of relative biases. A row length that is not a multiple
of 256 takes q8_0 instead of q4_k; one that is not a multiple of 32 takes f16.

--override stores the tensors whose names match a regular expression as another type. It is applied
after these rules. x2i inspect --tensors lists names. Example:
  --override '^single_blocks\\..*modulation=q8_0'
")]
pub struct ConvertArgs {
    /// A Hugging Face style model folder
    pub source: PathBuf,
    /// The folder to make
    pub destination: PathBuf,
    /// Weight type of the matrices
    #[arg(long, value_enum, default_value_t = Quantize::None)]
    pub quantize: Quantize,
    /// Store tensors with matching names as f32, f16, bf16, q8_0, q4_0 or q4_k; may be given several
    /// times, the last match counts
    #[arg(long = "override", value_name = "REGEX=TYPE")]
    pub overrides: Vec<Override>,
    /// Replace an existing folder
    #[arg(long)]
    pub force: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// `REGEX=TYPE`.
#[derive(Debug, Clone)]
pub struct Override {
    /// The text of the flag.
    pub text: String,
    /// Matches names of tensors.
    pub names: Regex,
    /// The type of these tensors.
    pub stored: StoredType,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, stored) = text
            .rsplit_once('=')
            .ok_or("expected REGEX=TYPE, such as 'img_mlp=q8_0'")?;
        let stored = match stored {
            "f32" => StoredType::F32,
            "f16" => StoredType::F16,
            "bf16" => StoredType::BF16,
            "q8_0" => StoredType::Q8_0,
            "q4_0" => StoredType::Q4_0,
            "q4_k" => StoredType::Q4K,
            other => {
                return Err(format!(
                    "`{other}` is not f32, f16, bf16, q8_0, q4_0 or q4_k"
                ));
            }
        };
        let names = Regex::new(names)
            .map_err(|_| format!("`{names}` is not a regular expression; a literal dot is \\."))?;
        Ok(Self {
            text: text.to_owned(),
            names,
            stored,
        })
    }
}

/// The values of `--quantize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "described in the command's help")]
pub enum Quantize {
    None,
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(
            "640x480".parse(),
            Ok(Size {
                width: 640,
                height: 480
            })
        );
        for text in [
            "",
            "640",
            "x",
            "640x",
            "axb",
            "-1x16",
            "1x2x3",
            "99999999999999999999x1",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_in_bytes_are_read_with_and_without_a_unit() {
        let bytes = |text: &str| text.parse().map(|ByteSize(bytes)| bytes);
        for text in [
            "3GiB",
            "3G",
            "3g",
            "3 GiB",
            "3072M",
            "3072MiB",
            "3221225472",
            "3221225472B",
        ] {
            assert_eq!(bytes(text), Ok(3 << 30), "{text}");
        }
        assert_eq!(bytes("1.5G"), Ok(3 << 29));
        assert_eq!(bytes("3GB"), Ok(3_000_000_000));
        for text in [
            "",
            "G",
            "-1G",
            "0",
            "0.0G",
            "3X",
            "3 G B",
            "1.2.3G",
            "99999999999999999999",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes("99999999999G").is_err());
    }
}
