//! The settings of a run: one TOML file, every key of which a caller may replace.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use x2i_core::config::Defaults;
use x2i_core::image::Hint;
use x2i_core::teacher::T5_TOKENS;
use x2i_core::training::Checkpoints;
use x2i_core::training::optimizer::{AdamW, Muon, Rule};
use x2i_core::training::schedule::{Schedule, Shape};

use super::control_keys;
pub use super::words::{
    ConditioningKind, DensityKind, FormatKind, LossKind, NoiseLevel, OptimizerKind, PromptKind,
    ScheduleKind, StartKind, TokensKind, WeightingKind, What,
};

/// Keys of AlignNet's runs. A key that two lists have is of both kinds of runs.
const OF_ALIGN: [&str; 15] = [
    "teacher",
    "teacher-tokens",
    "teacher-key",
    "answer-key",
    "layer-scales",
    "start",
    "loss",
    "temperature",
    "tokens",
    "mean",
    "velocity",
    "pooled",
    "noise-level",
    "prompt-format",
    "conditioning",
];

/// Keys of LoRA's runs.
const OF_LORA: [&str; 13] = [
    "rank",
    "alpha",
    "targets",
    "dora",
    "density",
    "shift",
    "weighting",
    "resolution",
    "caption-dropout",
    "trigger",
    "title",
    "license",
    "format",
];

/// The keys that runs of one kind have and not all others.
const OWN: [(What, &[&str]); 3] = [
    (What::Align, &OF_ALIGN),
    (What::Lora, &OF_LORA),
    (What::Control, &control_keys::ALL),
];

/// The kind of runs whose key this is, where it is none of `what`.
pub(super) fn stranger(what: What, key: &str) -> Option<What> {
    let owners = OWN.iter().filter(|(_, keys)| keys.contains(&key));
    let owners: Vec<What> = owners.map(|(owner, _)| *owner).collect();
    match owners.contains(&what) {
        true => None,
        false => owners.first().copied(),
    }
}

/// All settings, under the names of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    default = "Settings::of_nothing"
)]
pub struct Settings {
    /// The model: a folder, or the name of the embedded one.
    pub model: Option<String>,
    /// The device, as `generate` names them.
    pub device: String,
    /// The folder of the run.
    pub out: PathBuf,
    /// Shards, folders and JSONL files.
    pub data: Vec<String>,
    /// The same, not trained on.
    pub validation_data: Vec<String>,
    /// The most samples of it.
    pub validation_samples: usize,
    /// The field of the caption.
    pub caption_key: Option<String>,
    /// Updates of the run.
    pub updates: u64,
    /// Samples of a micro-batch.
    pub batch: usize,
    /// Micro-batches of an update.
    pub accumulation: usize,
    /// What the order of samples, noise and the start follow from.
    pub seed: u64,
    /// What changes the parameters.
    pub optimizer: OptimizerKind,
    /// AdamW's rate.
    pub learning_rate: f64,
    /// Muon's rate.
    pub muon_learning_rate: f64,
    /// Decays of AdamW's moments.
    pub betas: [f64; 2],
    /// AdamW's addition to the root.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The most norm of all gradients together; 0 for any.
    pub clip: f64,
    /// How rates change.
    pub schedule: ScheduleKind,
    /// Updates until the rate is full.
    pub warmup: u64,
    /// A trapezoid's part of the run in which it falls.
    pub decay: f64,
    /// A trapezoid's least factor.
    pub floor: f64,
    /// The decay of the moving average that is saved and shown; 0 for none.
    pub ema: f64,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// Updates between validations.
    pub validate_every: u64,
    /// Updates between samples.
    pub sample_every: u64,
    /// Prompts of the samples.
    pub sample_prompts: Vec<String>,
    /// Their steps.
    pub sample_steps: Option<usize>,
    /// The seed of the first; each next one has the next.
    pub sample_seed: u64,
    /// Updates with numbers that are not finite, one after the other, that end the run.
    pub nan_limit: u64,
    /// Blocks that are recorded together: fewer take less memory; 0 for all.
    pub recorded_blocks: usize,
    /// A folder for states that are computed once.
    pub cache: Option<PathBuf>,
    /// The most bytes of it, in GiB.
    pub cache_limit: f64,
    /// The folder of T5 and CLIP; without one, beside the model's transformer.
    pub teacher: Option<String>,
    /// Tokens of T5 for a caption.
    pub teacher_tokens: usize,
    /// The field that T5 and CLIP read; without one the caption.
    pub teacher_key: Option<String>,
    /// The field with the language model's answer; without one it answers itself.
    pub answer_key: Option<String>,
    /// Train on hidden states divided by the size of each layer's.
    pub layer_scales: bool,
    /// Width of the pictures.
    pub width: Option<usize>,
    /// Height of the pictures.
    pub height: Option<usize>,
    /// The guidance that is fed in; without one X2I's 3.5 for AlignNet and LightControl, 1 for LoRA.
    pub guidance: Option<f32>,
    /// How the parameters begin.
    pub start: StartKind,
    /// How attentions are compared.
    pub loss: LossKind,
    /// The divergence's temperature.
    pub temperature: f32,
    /// Which tokens are compared.
    pub tokens: TokensKind,
    /// The mean of all attentions' terms, not their sum.
    pub mean: bool,
    /// The weight of the velocities' difference.
    pub velocity: f32,
    /// The weight of the pooled conditioning's.
    pub pooled: f32,
    /// Noise levels.
    pub noise_level: NoiseLevel,
    /// What the student reads.
    pub prompt_format: PromptKind,
    /// Whose states condition the transformer.
    pub conditioning: ConditioningKind,
    /// A LoRA's rank.
    pub rank: usize,
    /// Its alpha; without one the rank.
    pub alpha: Option<f32>,
    /// What it changes: `attention`, `attention-mlp`, `blocks`, names of modules, or a pattern between slashes.
    pub targets: String,
    /// DoRA: the changed rows get lengths that learn.
    pub dora: bool,
    /// Noise levels of flow matching; without a word LoRA's are uniform, LightControl's `logit-normal` as in X2I.
    pub density: Option<DensityKind>,
    /// The shift of `density = "shift"`.
    pub shift: f32,
    /// How much a noise level counts.
    pub weighting: WeightingKind,
    /// The side of the square whose area all buckets have; without one all pictures get `width` and `height`.
    pub resolution: Option<usize>,
    /// The share of captions that are left empty.
    pub caption_dropout: f64,
    /// A word that goes into every caption.
    pub trigger: Option<String>,
    /// The LoRA's title, and its file's name.
    pub title: String,
    /// The licence that its file names.
    pub license: Option<String>,
    /// The names in its file.
    pub format: FormatKind,
    /// What LightControl sees.
    pub hint: Hint,
    /// The pictures of whose hints the sample prompts are painted, one each.
    pub sample_hints: Vec<PathBuf>,
    /// Fresh nets give nothing at first; else they begin as X2I's do.
    pub zero_start: bool,
    /// Nets to begin with, instead of fresh ones.
    pub control_weights: Option<PathBuf>,
    /// Channels of fresh nets: of three first convolutions and of two stages.
    pub control_channels: Vec<usize>,
    /// The width of their noise level's embedding.
    pub control_time: usize,
}

impl Settings {
    /// Those of a file that is empty.
    pub fn of_nothing() -> Self {
        Self {
            device: "auto".to_owned(),
            out: PathBuf::from("run"),
            validation_samples: 16,
            updates: 10_000,
            batch: 1,
            accumulation: 1,
            learning_rate: 1e-4,
            muon_learning_rate: 1e-2,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            warmup: 100,
            decay: 0.6,
            floor: 0.02,
            checkpoint_every: 500,
            keep: 3,
            validate_every: 500,
            sample_every: 500,
            sample_seed: 42,
            nan_limit: 20,
            recorded_blocks: 1,
            cache_limit: 50.0,
            teacher_tokens: T5_TOKENS,
            temperature: 3.0,
            rank: 16,
            targets: "attention-mlp".to_owned(),
            shift: 3.0,
            title: "lora".to_owned(),
            zero_start: true,
            control_channels: vec![64, 64, 128, 128, 256],
            control_time: 256,
            ..Self::default()
        }
    }

    /// Every key with its default.
    ///
    /// # Panics
    /// Never: the defaults are a table.
    pub fn table(&self) -> Table {
        Table::try_from(self).expect("settings are a table")
    }

    /// The keys of a run that trains `what`.
    pub fn of(&self, what: What) -> Table {
        let mut table = self.table();
        table.retain(|key, _| stranger(what, key).is_none());
        table
    }

    /// The names of all keys.
    pub fn keys() -> Vec<String> {
        let all = Self {
            model: Some(String::new()),
            caption_key: Some(String::new()),
            sample_steps: Some(0),
            cache: Some(PathBuf::new()),
            teacher: Some(String::new()),
            teacher_key: Some(String::new()),
            answer_key: Some(String::new()),
            width: Some(0),
            height: Some(0),
            guidance: Some(0.0),
            alpha: Some(0.0),
            resolution: Some(0),
            trigger: Some(String::new()),
            license: Some(String::new()),
            density: Some(DensityKind::default()),
            control_weights: Some(PathBuf::new()),
            ..Self::of_nothing()
        };
        all.table().keys().cloned().collect()
    }

    /// The optimizer.
    pub fn rule(&self) -> Rule {
        let adamw = AdamW {
            rate: self.learning_rate,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
        };
        match self.optimizer {
            OptimizerKind::Adamw => Rule::AdamW(adamw),
            OptimizerKind::Adamw8bit => Rule::AdamW8(adamw),
            OptimizerKind::Muon => Rule::Muon(
                Muon {
                    rate: self.muon_learning_rate,
                    ..Muon::default()
                },
                adamw,
            ),
        }
    }

    /// What is held for the way back.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::recorded(self.recorded_blocks)
    }

    /// Width and height of what is painted, in pixels.
    pub fn size(&self, defaults: &Defaults) -> [usize; 2] {
        [
            self.width.unwrap_or(defaults.width),
            self.height.unwrap_or(defaults.height),
        ]
    }

    /// Bytes of the optimizer's states for so many numbers.
    pub fn optimizer_bytes(&self, numbers: u64) -> u64 {
        match self.optimizer {
            OptimizerKind::Adamw => 8 * numbers,
            OptimizerKind::Adamw8bit => 2 * numbers,
            OptimizerKind::Muon => 4 * numbers,
        }
    }

    /// The schedule of rates.
    pub fn schedule(&self) -> Schedule {
        let shape = match self.schedule {
            ScheduleKind::Constant => Shape::Constant,
            ScheduleKind::ConstantWithWarmup => Shape::ConstantWithWarmup,
            ScheduleKind::Linear => Shape::Linear,
            ScheduleKind::Cosine => Shape::Cosine,
            ScheduleKind::Trapezoid => Shape::Trapezoid {
                decay: self.decay,
                floor: self.floor,
            },
        };
        Schedule {
            shape,
            warmup: self.warmup,
            total: self.updates,
        }
    }

    /// What differs from the settings of a run that goes on and changes its numbers, by key: `[then, now]`.
    pub fn differences(&self, then: &Self) -> BTreeMap<String, [String; 2]> {
        /// Keys that say where and how often, not what is computed; `updates` may grow.
        const FREE: [&str; 15] = [
            "out",
            "device",
            "updates",
            "checkpoint-every",
            "keep",
            "validate-every",
            "sample-every",
            "sample-prompts",
            "sample-hints",
            "sample-steps",
            "sample-seed",
            "nan-limit",
            "recorded-blocks",
            "cache",
            "cache-limit",
        ];
        let (now, then) = (self.table(), then.table());
        let keys = Self::keys().into_iter();
        let keys = keys.filter(|key| !FREE.contains(&key.as_str()));
        let shown = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
        keys.filter(|key| now.get(key) != then.get(key))
            .map(|key| {
                let both = [shown(then.get(&key)), shown(now.get(&key))];
                (key, both)
            })
            .collect()
    }
}
