//! The flags of `x2i pull`.

use clap::Args;
use x2i_engine::models::hub::Reference;

/// `x2i pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// A repository of the Hugging Face Hub: OWNER/REPO, also hf:OWNER/REPO; @REVISION names a branch, a tag or a
    /// commit (default: main), and :FILE a file or a pattern (`:*Q4_K_M*`, `:vae/`; default: the files that make a
    /// model; `:*` is all)
    #[arg(value_name = "OWNER/REPO[@REVISION][:FILE]")]
    pub model: Reference,
    /// Connections at a time, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
    /// Tell what would be downloaded, and download nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Use no network: tell where the model is in the cache, or fail
    #[arg(long)]
    pub offline: bool,
    /// Print no progress
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON: one object a line
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}
