//! Which code runs which golden folder.

mod align_net;
mod flux;
mod pipeline;
mod prompt_strings;
mod qwen2_5_vl_tiny;
mod scheduler;
mod tokenizer_qwen_real;
mod torch_randn;
mod vae;

use crate::case::{Case, Outcome};
use crate::report::Report;

/// The code that knows this kind of case.
pub fn for_folder(name: &str) -> Option<fn(&Case, &mut Report) -> Outcome> {
    Some(match name {
        "alignnet" => align_net::run,
        "alignnet_real_dims" => align_net::run_real_dims,
        "flux_dev_tiny" | "flux_schnell_tiny" => flux::run,
        "pipeline_tiny" => pipeline::run,
        "prompt_strings" => prompt_strings::run,
        "qwen2_5_vl_tiny" => qwen2_5_vl_tiny::run,
        "scheduler" => scheduler::run,
        "tokenizer_qwen_real" => tokenizer_qwen_real::run,
        "torch_randn" => torch_randn::run,
        "vae_tiny" => vae::run,
        _ => return None,
    })
}
