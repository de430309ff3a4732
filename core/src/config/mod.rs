//! Every number of a model comes from JSON: the published configs as they are, and our `model.json`.
//!
//! Configs are checked once, here; the graph trusts them. Field names are the published ones
//! (diffusers, transformers, X2I's `config.json`).

mod align_net;
mod checks;
mod culprit;
mod defaults;
mod encoder;
mod flux;
mod gguf_keys;
mod internvl2_5;
mod internvl_hf;
mod json;
mod keys;
mod limits;
mod minicpm_o;
mod model;
mod processing;
mod qwen2;
mod qwen2_5_vl;
mod qwen2_5_vl_gguf;
mod rope;
mod scheduler;
mod teacher;
mod transformers;
mod vae;

pub use align_net::{AlignNetConfig, Mix, T5StackConfig};
pub use defaults::{
    Certainty, Conditioning, Defaults, Padding, PaddingSide, PromptFormat, Unknown,
};
pub use encoder::EncoderConfig;
pub use flux::FluxConfig;
pub use internvl2_5::{InternLlmConfig, InternVitConfig, InternVl2_5Config, NormType};
pub use minicpm_o::{MiniCpmOConfig, SiglipConfig, SliceConfig, WhisperConfig};
pub use model::{EncoderPart, FileRecord, GraphPart, ModelConfig, VisionPart};
pub use processing::{GenerationConfig, PreprocessorConfig};
pub use qwen2::Qwen2Config;
pub use qwen2_5_vl::{Qwen2_5VlConfig, RopeScaling, VisionConfig};
pub use scheduler::SchedulerConfig;
pub use teacher::{ClipTextConfig, T5Config};
pub use vae::VaeConfig;

pub(crate) use checks::{from_value, parse};
#[cfg(test)]
pub(crate) use internvl2_5::MOST_TILES;
pub(crate) use json::plain_json;
pub(crate) use minicpm_o::RESAMPLER_HEAD_DIM;
pub(crate) use model::FORMAT;
pub(crate) use qwen2_5_vl_gguf::Qwen2_5VlGguf;
