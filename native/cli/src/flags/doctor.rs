//! The flags of `x2i doctor`.

use clap::Args;

use super::paths;

/// `x2i doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A model: check it, and which devices can run it
    #[arg(long, short, value_name = "DIR|NAME", value_parser = paths::place)]
    pub model: Option<String>,
    /// Read every number of the model, and hash its files even if that was done before
    #[arg(long)]
    pub verify: bool,
    /// Run every kernel on each GPU, and compare its numbers with the CPU's
    #[arg(long)]
    pub kernels: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
