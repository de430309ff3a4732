//! The x2i runtime: what you show, say or write becomes a picture.
//!
//! A multimodal LLM reads the prompt, [`align_net`] turns the hidden states of all its layers
//! into what a FLUX transformer expects from T5 and CLIP, [`flux`] paints in latent space and
//! [`vae`] decodes. The crate has no file, network, clock or log access: callers hand in a
//! [`weights::WeightSource`] and a burn device, and hear [`Progress`].
//!
//! ARCHITECTURE.md in the repository's root shows the way of one request.

pub mod align_net;
pub mod audio;
pub mod config;
pub mod encoders;
mod error;
pub mod flux;
pub mod image;
pub mod light_control;
mod lora;
pub mod model;
pub mod nn;
mod pipeline;
pub mod png;
pub mod prompt;
pub mod request;
pub mod sampler;
pub mod teacher;
pub mod tokenizer;
#[cfg(not(target_family = "wasm"))]
pub mod training;
pub mod vae;
pub mod video;
pub mod weights;

pub use audio::Audio;
pub use config::ModelConfig;
pub use error::{Error, Field, Result};
pub use image::{Background, Image};
pub use lora::{Lora, LoraConfig};
pub use nn::{
    CPU_VARIANTS, CpuCheck, CpuVariant, Half, InputBits, KernelCheck, Kernels, PEAKS, Peak, Units,
    check_cpu, check_kernels, choose_cpu, choose_kernels, kernels_agree, multiplies,
};
pub use pipeline::{
    Encoded, Layout, LoadOptions, Memory, OtherDevice, Painting, Pipeline, Share, check, layout,
};
pub use request::{
    Alternative, Answer, Cache, Conditioning, Control, Init, OnProgress, Part, Phase, Preview,
    Progress, Prompt, PromptTokens, Request, Steps, Turn,
};
pub use video::Video;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::model::ModelSource;
    use super::weights::{WeightFile, WeightSource, Weights};
    use super::*;

    fn assert_send<T: Send>() {}

    #[test]
    fn one_thread_may_prepare_what_another_paints() {
        assert_send::<LoadOptions>();
        assert_send::<Request>();
        assert_send::<ModelConfig>();
        assert_send::<Lora>();
        assert_send::<WeightFile>();
        assert_send::<Weights>();
        assert_send::<Arc<dyn WeightSource>>();
        assert_send::<Arc<dyn ModelSource>>();
        assert_send::<Pipeline>();
        assert_send::<Painting>();
        assert_send::<Error>();
    }
}
