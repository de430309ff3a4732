//! The flags of `x2i models`.

use clap::{Args, Subcommand};
use x2i_engine::models::hub::Reference;

/// `x2i models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ModelsArgs {
    /// What to do (default: list the models)
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with the models.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Delete models from the cache; files that another revision shares stay
    Rm(RmArgs),
}

/// `x2i models rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Models of the cache; with @REVISION that revision alone
    #[arg(value_name = "OWNER/REPO[@REVISION]", required = true)]
    pub models: Vec<Reference>,
}
