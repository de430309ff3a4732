//! The flags of `x2i doctor`.

use clap::Args;

use super::paths;

/// `x2i doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A model: check it, and which devices can run it
    #[arg(long, short, value_name = "DIR|NAME", value_parser = paths::place)]
    pub model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
