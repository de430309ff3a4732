//! The flags of `x2i inspect`.

use std::path::PathBuf;

use clap::Args;

use super::paths::PathParser;

/// `x2i inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An image, a weight file (GGUF, safetensors, PyTorch) or a model folder; `emoji` is the embedded model
    #[arg(value_parser = PathParser)]
    pub path: PathBuf,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
