//! Which code runs which golden folder.

mod align_net;
mod first_block_cache;
mod flux;
mod internvl2_5_tiny;
mod lightcontrol_tiny;
mod minicpm_o_tiny;
mod pipeline;
mod prompt_strings;
mod qwen2_5_vl_tiny;
mod scheduler;
mod teacher;
mod tokenizer_qwen_real;
mod torch_randn;
#[cfg(not(target_family = "wasm"))]
mod training;
mod vae;

use x2i_core::weights::LocalBoxFuture;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// Compares one case.
pub type Run = for<'a> fn(&'a Case<'_>, &'a mut Report) -> LocalBoxFuture<'a, Outcome>;

/// What a case asks of the machine it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Numbers of the host, the same on every device.
    Host,
    /// Tensors.
    Device,
    /// Gradients, which a build for browsers has no code for.
    Training,
}

/// A kind of case.
pub struct Kind {
    pub work: Work,
    /// None where this build lacks what the case needs.
    pub run: Option<Run>,
}

/// A kind whose code is in every build.
macro_rules! kind {
    ($work:ident, $run:path) => {
        Kind {
            work: Work::$work,
            run: Some(|case, report| Box::pin($run(case, report))),
        }
    };
}

/// A kind whose code is in native builds.
#[cfg(not(target_family = "wasm"))]
macro_rules! training {
    ($run:path) => {
        kind!(Training, $run)
    };
}

#[cfg(target_family = "wasm")]
macro_rules! training {
    ($run:path) => {
        Kind {
            work: Work::Training,
            run: None,
        }
    };
}

/// The code that knows this kind of case.
pub fn for_folder(name: &str) -> Option<Kind> {
    Some(match name {
        "alignnet" => kind!(Device, align_net::run),
        "alignnet_real_dims" => kind!(Device, align_net::run_real_dims),
        "clip_tiny" => kind!(Device, teacher::run_clip),
        "distillation_loss" => training!(training::distillation::run),
        "first_block_cache" => kind!(Device, first_block_cache::run),
        "flux_dev_tiny" | "flux_schnell_tiny" => kind!(Device, flux::run),
        "internvl2_5_tiny" => kind!(Device, internvl2_5_tiny::run),
        "lightcontrol_tiny" => kind!(Device, lightcontrol_tiny::run),
        "minicpm_o_tiny" => kind!(Device, minicpm_o_tiny::run),
        "pipeline_tiny" => kind!(Device, pipeline::run),
        "prompt_strings" => kind!(Host, prompt_strings::run),
        "qwen2_5_vl_tiny" => kind!(Device, qwen2_5_vl_tiny::run),
        "scheduler" => kind!(Host, scheduler::run),
        "t5_tiny" => kind!(Device, teacher::run_t5),
        "teacher_tokenizers" => kind!(Host, teacher::run_tokenizers),
        "tokenizer_qwen_real" => kind!(Host, tokenizer_qwen_real::run),
        "torch_randn" => kind!(Host, torch_randn::run),
        "train_alignnet_trace" => training!(training::align::run),
        "train_lightcontrol_trace" => training!(training::control::run),
        "train_lora_trace" => training!(training::lora::run),
        "vae_tiny" => kind!(Device, vae::run),
        _ => return None,
    })
}
