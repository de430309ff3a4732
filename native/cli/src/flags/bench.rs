//! The flags of `x2i bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{ByteSize, Quantize, Size};
use x2i_core::Cache;
use x2i_engine::device::{DeviceChoice, Precision};

/// `x2i bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// What to measure; without a subcommand, prompt to PNG.
    #[command(subcommand)]
    pub what: Option<BenchCommand>,
    /// Flags of prompt to PNG.
    #[command(flatten)]
    pub picture: BenchPictureArgs,
}

/// The subcommands of `x2i bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// One pass of a stack of FLUX's real width: 2 double and 4 single blocks, 256 text tokens
    Stack(BenchStackArgs),
    /// The same as stack, from the start of a process to the end of its first pass
    Cold(BenchStackArgs),
    /// The most operations per second of each instruction that the CPU's kernels multiply with
    Peak(BenchPeakArgs),
    /// One step of AlignNet and one of a LoRA on a stack of FLUX's real width: 2 double and 4 single blocks, 512 text
    /// tokens
    Train(BenchTrainArgs),
    /// The distance of images from quantized weights to those of the same model in f32
    Quality(BenchQualityArgs),
    /// The time and the distance of images that are painted with --cache to those without
    Cache(BenchCacheArgs),
    /// One decode by a VAE of FLUX's shape: 128 to 512 channels, 16 latent channels
    Vae(BenchVaeArgs),
    /// Write a model folder of FLUX.1-schnell's shape with generated weights in q4_0 (7 GB) or bf16 (24 GB),
    /// to measure memory with x2i generate --model DIR
    MakeModel(BenchModelArgs),
    /// Our side of stack and cold, in a process of its own
    #[command(hide = true)]
    StackServe(BenchServeArgs),
    /// Our side of train, in a process of its own
    #[command(hide = true)]
    TrainServe(BenchTrainServeArgs),
    /// Our side of vae, in a process of its own
    #[command(hide = true)]
    VaeServe(BenchVaeServeArgs),
}

/// `x2i bench`.
#[derive(Debug, Args)]
pub struct BenchPictureArgs {
    /// A model folder, or the name of the embedded model
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// As in generate
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// The prompt
    #[arg(long, default_value = "a red apple on a blue background")]
    pub prompt: String,
    /// Number of runs; the median is printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How our side and the other runtimes' run, equal in `bench stack`, `cold`, `train` and `vae`.
#[derive(Debug, Args)]
pub struct SidesArgs {
    /// Other runtimes to measure in turn with ours: PROGRAM:VARIANT, such as torch:f32;
    /// `scripts/bench-peers` makes the programs
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub compare: Vec<Peer>,
    /// As in generate
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// Passes of each side; the median is printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// CPU threads of each side (default: all)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// The folder of the other runtimes' programs
    #[arg(long, value_name = "DIR", default_value = "target/bench/peers")]
    pub peers: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `x2i bench stack` and `x2i bench cold`.
#[derive(Debug, Args)]
pub struct BenchStackArgs {
    /// Types of our weights; several are measured in turn. `none` is bf16
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none")]
    pub quantize: Vec<Quantize>,
    /// Width and height of the image in pixels, a multiple of 16
    #[arg(long, default_value = "256", value_parser = pixels)]
    pub size: usize,
    /// The folder for weights and inputs, which are written once: up to 5 GB
    #[arg(long, value_name = "DIR", default_value = "target/bench/stack")]
    pub weights: PathBuf,
    /// As in generate
    #[arg(long, value_name = "auto|f32|f16|bf16", default_value = "auto")]
    pub precision: Precision,
    /// Write the files and measure nothing
    #[arg(long)]
    pub prepare: bool,
    /// Number of double blocks
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub double_blocks: u16,
    /// Number of single blocks
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub single_blocks: u16,
    /// How both sides run.
    #[command(flatten)]
    pub sides: SidesArgs,
}

/// `x2i bench peak`.
#[derive(Debug, Args)]
pub struct BenchPeakArgs {
    /// Runs of each instruction, half a second each; the fastest is printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `x2i bench quality`.
#[derive(Debug, Args)]
pub struct BenchQualityArgs {
    /// A model folder, or a Hugging Face style one
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Types to compare with f32
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "f16,q8_0,q4_k,q4_0"
    )]
    pub quantize: Vec<Quantize>,
    /// A folder of the same model in another type, compared as it is; may be given several times
    #[arg(long, value_name = "DIR")]
    pub compare: Vec<PathBuf>,
    /// A file with one prompt per line; prompt n has seed n (default: eight prompts in eight languages)
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// As in generate
    #[arg(long)]
    pub exact: bool,
    /// As in generate
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// The folder for converted models; it holds one at a time, at most the size of the model in f32
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub work: PathBuf,
    /// Print JSON, one line per type
    #[arg(long)]
    pub json: bool,
}

/// `x2i bench cache`.
#[derive(Debug, Args)]
pub struct BenchCacheArgs {
    /// A model folder, or the name of the embedded model
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<String>,
    /// Thresholds to compare with none
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "X",
        default_value = "0.05,0.08,0.1,0.15,0.2"
    )]
    pub cache: Vec<Cache>,
    /// Number of steps
    #[arg(long, default_value_t = 28)]
    pub steps: usize,
    /// As in generate
    #[arg(long, value_name = "WxH", value_parser = picture)]
    pub size: Option<Size>,
    /// A file with one prompt per line; prompt n has seed n (default: eight prompts in eight languages)
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// As in generate
    #[arg(long, default_value = "cpu")]
    pub device: DeviceChoice,
    /// As in generate; all parts of the model are then loaded one after the other
    #[arg(long, value_name = "SIZE")]
    pub max_device_memory: Option<ByteSize>,
    /// Print JSON, one line per threshold
    #[arg(long)]
    pub json: bool,
}

/// `x2i bench train`.
#[derive(Debug, Args)]
pub struct BenchTrainArgs {
    /// The steps to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "align,lora")]
    pub step: Vec<TrainStep>,
    /// Types of our frozen weights; several are measured in turn. `none` is bf16
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none,q8_0")]
    pub quantize: Vec<Quantize>,
    /// As in train; several are measured in turn
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1,0"
    )]
    pub recorded_blocks: Vec<usize>,
    /// Width and height of the image in pixels, a multiple of 16
    #[arg(long, default_value = "256", value_parser = pixels)]
    pub size: usize,
    /// The folder for weights, inputs and results, which are written once: up to 5 GB
    #[arg(long, value_name = "DIR", default_value = "target/bench/train")]
    pub weights: PathBuf,
    /// Write the files and measure nothing
    #[arg(long)]
    pub prepare: bool,
    /// Sizes of a test: width 256, 1 double and 2 single blocks, 16 text tokens
    #[arg(long)]
    pub small: bool,
    /// How both sides run.
    #[command(flatten)]
    pub sides: SidesArgs,
}

/// What a step of `x2i bench train` trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainStep {
    /// AlignNet, by distillation.
    Align,
    /// A LoRA of the transformer's attention and MLPs.
    Lora,
}

/// `x2i bench train-serve`.
#[derive(Debug, Args)]
pub struct BenchTrainServeArgs {
    /// The folder that `bench train` wrote
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// What the step trains
    #[arg(long, value_enum)]
    pub step: TrainStep,
    /// The type of the weights
    #[arg(long, value_enum)]
    pub variant: Quantize,
    /// As in train
    #[arg(long)]
    pub recorded_blocks: usize,
    /// Width and height of the image in pixels
    #[arg(long, value_parser = pixels)]
    pub size: usize,
    /// As in generate
    #[arg(long)]
    pub exact: bool,
    /// As in generate
    #[arg(long)]
    pub device: DeviceChoice,
}

/// `x2i bench vae`.
#[derive(Debug, Args)]
pub struct BenchVaeArgs {
    /// Width and height in pixels, multiples of 16
    #[arg(long, value_name = "WxH", default_value = "512x512", value_parser = picture)]
    pub size: Size,
    /// The folder for weights and inputs, which are written once: 100 MB
    #[arg(long, value_name = "DIR", default_value = "target/bench/vae")]
    pub weights: PathBuf,
    /// How both sides run.
    #[command(flatten)]
    pub sides: SidesArgs,
}

/// `x2i bench vae-serve`.
#[derive(Debug, Args)]
pub struct BenchVaeServeArgs {
    /// The folder that `bench vae` wrote
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Width and height in pixels
    #[arg(long, value_name = "WxH", value_parser = picture)]
    pub size: Size,
    /// As in generate
    #[arg(long)]
    pub device: DeviceChoice,
}

/// `x2i bench make-model`.
#[derive(Debug, Args)]
pub struct BenchModelArgs {
    /// The folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The type of the transformer's matrices
    #[arg(long, value_enum, default_value_t)]
    pub weights: MadeWeights,
    /// Number of double blocks (default: 19, as in FLUX.1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub double_blocks: Option<u16>,
    /// Number of single blocks (default: 38, as in FLUX.1)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub single_blocks: Option<u16>,
}

/// The type of the matrices that `x2i bench make-model` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum MadeWeights {
    /// Blocks of 4 bits.
    #[default]
    #[value(name = "q4_0")]
    Q4_0,
    /// 16 bits.
    Bf16,
}

/// `x2i bench stack-serve`.
#[derive(Debug, Args)]
pub struct BenchServeArgs {
    /// The folder that `bench stack` wrote
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// The type of the weights
    #[arg(long, value_enum)]
    pub variant: Quantize,
    /// Width and height of the image in pixels
    #[arg(long, value_parser = pixels)]
    pub size: usize,
    /// As in generate
    #[arg(long)]
    pub exact: bool,
    /// As in generate
    #[arg(long)]
    pub device: DeviceChoice,
    /// As in generate
    #[arg(long, default_value = "auto")]
    pub precision: Precision,
}

/// Pixels along a side: a multiple of 16, up to 4096.
fn pixels(text: &str) -> Result<usize, String> {
    let pixels = text.parse().ok().filter(|pixels| pixels % 16 == 0);
    let pixels = pixels.filter(|pixels| (16..=4096).contains(pixels));
    pixels.ok_or_else(|| "expected a multiple of 16 up to 4096".into())
}

/// A size in whole tokens, up to 4096 pixels along a side.
fn picture(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    let fits = |side: usize| side.is_multiple_of(16) && (16..=4096).contains(&side);
    match fits(size.width) && fits(size.height) {
        true => Ok(size),
        false => Err("expected multiples of 16 up to 4096, such as 512x512".into()),
    }
}

/// `PROGRAM:VARIANT`: another runtime, and its type of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The program's file name in the folder of peers.
    pub name: String,
    /// Its own name of the weight type: `int8`, `q4_0`.
    pub variant: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, variant))
                if !name.is_empty() && !variant.is_empty() && !name.contains(['/', '\\']) =>
            {
                Ok(Self {
                    name: name.to_owned(),
                    variant: variant.to_owned(),
                })
            }
            _ => Err("expected PROGRAM:VARIANT, such as torch:int8".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_a_program_and_a_variant() {
        let peer: Peer = "sd-cpp:q4_0".parse().expect("the form of the help");
        assert_eq!((&*peer.name, &*peer.variant), ("sd-cpp", "q4_0"));
        for text in ["", "torch", ":int8", "torch:", "../torch:int8"] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn sides_are_whole_tokens() {
        assert_eq!(pixels("256"), Ok(256));
        for text in ["", "0", "100", "-16", "8192"] {
            assert!(pixels(text).is_err(), "{text}");
        }
    }
}
