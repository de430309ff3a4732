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

/// The code that knows this kind of case.
pub fn for_folder(name: &str) -> Option<Run> {
    let run: Run = match name {
        "alignnet" => |case, report| Box::pin(align_net::run(case, report)),
        "alignnet_real_dims" => |case, report| Box::pin(align_net::run_real_dims(case, report)),
        "clip_tiny" => |case, report| Box::pin(teacher::run_clip(case, report)),
        "first_block_cache" => |case, report| Box::pin(first_block_cache::run(case, report)),
        #[cfg(not(target_family = "wasm"))]
        "distillation_loss" => |case, report| Box::pin(training::distillation::run(case, report)),
        "flux_dev_tiny" | "flux_schnell_tiny" => |case, report| Box::pin(flux::run(case, report)),
        "lightcontrol_tiny" => |case, report| Box::pin(lightcontrol_tiny::run(case, report)),
        "internvl2_5_tiny" => |case, report| Box::pin(internvl2_5_tiny::run(case, report)),
        "minicpm_o_tiny" => |case, report| Box::pin(minicpm_o_tiny::run(case, report)),
        "pipeline_tiny" => |case, report| Box::pin(pipeline::run(case, report)),
        "prompt_strings" => |case, report| Box::pin(prompt_strings::run(case, report)),
        "qwen2_5_vl_tiny" => |case, report| Box::pin(qwen2_5_vl_tiny::run(case, report)),
        "scheduler" => |case, report| Box::pin(scheduler::run(case, report)),
        "t5_tiny" => |case, report| Box::pin(teacher::run_t5(case, report)),
        "teacher_tokenizers" => |case, report| Box::pin(teacher::run_tokenizers(case, report)),
        "tokenizer_qwen_real" => |case, report| Box::pin(tokenizer_qwen_real::run(case, report)),
        "torch_randn" => |case, report| Box::pin(torch_randn::run(case, report)),
        #[cfg(not(target_family = "wasm"))]
        "train_alignnet_trace" => |case, report| Box::pin(training::align::run(case, report)),
        #[cfg(not(target_family = "wasm"))]
        "train_lightcontrol_trace" => |case, report| Box::pin(training::control::run(case, report)),
        #[cfg(not(target_family = "wasm"))]
        "train_lora_trace" => |case, report| Box::pin(training::lora::run(case, report)),
        "vae_tiny" => |case, report| Box::pin(vae::run(case, report)),
        _ => return None,
    };
    Some(run)
}
