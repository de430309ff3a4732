//! The flags of `x2i train`: every key of a run's settings is a flag.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

/// What to train.
#[derive(Debug, Clone, Subcommand)]
pub enum TrainCommand {
    /// AlignNet, from captions alone: the transformer's attention outputs under it become those under T5 and CLIP
    Align(TrainArgs),
    /// LightControl, from pictures: nets that make the transformer's pictures follow edges, or any other picture
    Control(TrainArgs),
    /// A LoRA of the transformer, from pictures with captions
    Lora(TrainArgs),
}

/// A run of training: a settings file, and flags that replace its keys.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// A TOML file of settings; its keys are the names of the flags below
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Open everything, print what the run would do and need, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object a line instead of progress
    #[arg(long)]
    pub json: bool,
    /// Train in all processes that `mpirun` or Slurm has started (a build with the feature `mpi`)
    #[arg(long)]
    pub mpi: bool,
    /// What replaces the file's keys.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// The keys of a run's settings.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SettingFlags {
    /// A model folder, or the name of the embedded model (default: emoji)
    #[arg(long, value_name = "DIR|NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As in generate (default: auto)
    #[arg(long, value_name = "DEVICE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The folder of the run; the same command goes on where its last checkpoint is (default: run)
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// WebDataset shards (paths and URLs with braces, `*` and `::`), folders of pictures with captions, or JSONL files
    #[arg(long, value_name = "SOURCE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// The same, not trained on: their loss is logged at noise that never changes
    #[arg(long, value_name = "SOURCE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_data: Vec<String>,
    /// The most of their samples (default: 16)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_samples: Option<usize>,
    /// The field of the caption (default: caption_en; elsewhere than in shards also caption and text)
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_key: Option<String>,
    /// Updates of the run (default: 10000)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<u64>,
    /// Samples of a micro-batch (default: 1)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Micro-batches of an update, whose gradients are averaged (default: 1)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulation: Option<usize>,
    /// What the order of samples, noise and a fresh start follow from (default: 0)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What changes the parameters (default: adamw)
    #[arg(long, value_name = "adamw|adamw8bit|muon")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<String>,
    /// The rate of AdamW (default: 1e-4)
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The rate of Muon, which changes matrices (default: 1e-2)
    #[arg(long, value_name = "RATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muon_learning_rate: Option<f64>,
    /// Decays of AdamW's moments (default: 0.9,0.999)
    #[arg(long, value_name = "FIRST,SECOND", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<f64>,
    /// AdamW's addition to the root (default: 1e-8)
    #[arg(long, value_name = "EPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// Decoupled weight decay (default: 0.01)
    #[arg(long, value_name = "DECAY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The most norm of all gradients together; 0 for any (default: 1)
    #[arg(long, value_name = "NORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// constant, constant-with-warmup, linear, cosine or trapezoid (default: cosine)
    #[arg(long, value_name = "SCHEDULE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Updates until the rate is full (default: 100)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// The part of the run in which a trapezoid falls (default: 0.6)
    #[arg(long, value_name = "PART")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// The least factor of a trapezoid (default: 0.02)
    #[arg(long, value_name = "FACTOR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The decay of a moving average, which is saved and shown instead; 0 for none (default: 0)
    #[arg(long, value_name = "DECAY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Updates between checkpoints (default: 500)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints that are kept (default: 3)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// Updates between validations (default: 500)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<u64>,
    /// Updates between samples (default: 500)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_every: Option<u64>,
    /// A prompt to paint before the first update and then again and again; may be given several times
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample_prompts: Vec<String>,
    /// Steps of a sample (default: the model's)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_steps: Option<usize>,
    /// The seed of the first sample; each next one has the next (default: 42)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_seed: Option<u64>,
    /// Updates in a row with numbers that are not finite that end the run (default: 20)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nan_limit: Option<u64>,
    /// Transformer blocks that are recorded together: fewer take less memory; 0 for all (default: 1)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_blocks: Option<usize>,
    /// A folder for what the frozen encoders say, which is then computed once
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// The most GiB of it (default: 50)
    #[arg(long, value_name = "GIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_limit: Option<f64>,
    /// A folder with T5 and CLIP: text_encoder, text_encoder_2, tokenizer, tokenizer_2 (default: beside the model's transformer)
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Tokens of T5 for a caption: 512 of FLUX.1-dev, 256 of FLUX.1-schnell (default: 512)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_tokens: Option<usize>,
    /// The field of a sample that T5 and CLIP read (default: the caption)
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_key: Option<String>,
    /// The field of a sample with the language model's answer, whose states are learned from (default: it answers itself)
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_key: Option<String>,
    /// Train on hidden states divided by the size of each layer's, and put these sizes into the mix that is saved
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scales: Option<bool>,
    /// Width of what is painted (default: the model's)
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Height of it (default: the model's)
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// The guidance that is fed in (default: 3.5 for align and control, 1 for lora)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
    /// Begin with random numbers, with the same but a mix that is the first and the last layer, or the model's AlignNet (default: fresh)
    #[arg(long, value_name = "fresh|ends|model")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How attention outputs are compared: X2I's divergence, or the mean square of the differences over the teacher's (default: divergence)
    #[arg(long, value_name = "divergence|relative")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// The divergence's temperature (default: 3)
    #[arg(long, value_name = "T")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Whose attention outputs are compared (default: all)
    #[arg(long, value_name = "all|image")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// Take the mean of all attentions' terms instead of their sum
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<bool>,
    /// The weight of the velocities' mean square difference (default: 0)
    #[arg(long, value_name = "WEIGHT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub velocity: Option<f64>,
    /// The weight of the pooled conditioning's relative error (default: 0)
    #[arg(long, value_name = "WEIGHT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooled: Option<f64>,
    /// Pure noise as in X2I, or all levels over the samples' pictures, or those that the steps of a sample begin at (default: one)
    #[arg(long, value_name = "one|uniform|steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_level: Option<String>,
    /// What the language model reads: what generate makes of a prompt, or X2I's dictionary of its training (default: inference)
    #[arg(long, value_name = "inference|training")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_format: Option<String>,
    /// Whose hidden states condition the transformer (default: the model's choice)
    #[arg(long, value_name = "model|prompt|answer")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditioning: Option<String>,
    /// A LoRA's rank (default: 16)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// A change counts alpha / rank times (default: the rank)
    #[arg(long, value_name = "ALPHA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// What it changes: attention, attention-mlp, blocks, names of modules with commas between, or a pattern between slashes (default: attention-mlp)
    #[arg(long, value_name = "TARGETS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// DoRA: the changed rows get lengths that learn
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dora: Option<bool>,
    /// Noise levels: uniform, logit-normal, mode, shift or flux-shift (default: uniform for lora, logit-normal for control)
    #[arg(long, value_name = "DENSITY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<String>,
    /// The shift of `--density shift` (default: 3)
    #[arg(long, value_name = "SHIFT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
    /// How much a noise level counts (default: none)
    #[arg(long, value_name = "none|sigma-sqrt|cosmap")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighting: Option<String>,
    /// Pictures keep their shapes, in buckets of the area of a square with this side (default: all get width and height)
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// The share of captions that are left empty (default: 0)
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_dropout: Option<f64>,
    /// A word that goes into every caption
    #[arg(long, value_name = "WORD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The LoRA's title, and its file's name (default: lora)
    #[arg(long, value_name = "TITLE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The licence that its file names
    #[arg(long, value_name = "LICENCE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Whose names its file has (default: diffusers)
    #[arg(long, value_name = "diffusers|kohya")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What LightControl sees: the sample's source or hint picture as it is, its edges, or its brightness (default: source)
    #[arg(long, value_name = "source|edges|gray")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A picture of whose hint a sample prompt is painted; one for each prompt, in order
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample_hints: Vec<PathBuf>,
    /// Fresh nets of LightControl give nothing at first; false: they begin as X2I's do (default: true)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_start: Option<bool>,
    /// LightControl's weights to begin with (default: fresh nets)
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_weights: Option<PathBuf>,
    /// Channels of fresh nets: of their three first convolutions and of two stages (default: 64,64,128,128,256, X2I's)
    #[arg(long, value_name = "N,N,N,N,N", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub control_channels: Vec<usize>,
    /// The width of their noise level's embedding (default: 256)
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_time: Option<usize>,
}
