//! The flags of `x2i convert`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use regex::Regex;
use x2i_core::weights::StoredType;

use super::paths::PathParser;
use super::values::Quantize;

/// `x2i convert`.
#[derive(Debug, Args)]
#[command(after_help = "\
SRC holds flux/ (diffusers: transformer, vae, scheduler), mllm/ (transformers) and proj/ (X2I's
AlignNet), or says in x2i.json where they are. DST gets model.json, encoder.gguf, align_net.gguf,
flux.gguf, vae.gguf and tokenizer.json.

Weight types:
  none   as in the source (64-bit floats become f32)
  f32    all as f32
  f16    tensors of two and more axes as f16, vectors as f32
  q8_0   blocks of 32 numbers of 8 bits
  q4_0   blocks of 32 numbers of 4 bits
  q4_k   blocks of 256 numbers of 4 bits: slower to make than q4_0, more exact

The last three store the matrices of linear layers and token embeddings in ggml's blocks. Vectors
(norms, biases) stay f32. These become f16, or stay bf16: FLUX's embedders (img_in, txt_in, time_in,
vector_in, guidance_in) and final_layer, as in ComfyUI's GGUF files; the whole VAE; convolutions;
the vision tower's patch_embed; T5's table of relative biases. A row length that is not a multiple
of 256 takes q8_0 instead of q4_k; one that is not a multiple of 32 takes f16.

--override stores the tensors whose names match a regular expression as another type. It is applied
after these rules. x2i inspect --tensors lists names. Example:
  --override '^single_blocks\\..*modulation=q8_0'
")]
pub struct ConvertArgs {
    /// A Hugging Face style model folder
    #[arg(value_parser = PathParser)]
    pub source: PathBuf,
    /// The folder to make
    #[arg(value_parser = PathParser)]
    pub destination: PathBuf,
    /// Weight type of the matrices
    #[arg(long, value_enum, default_value_t = Quantize::None)]
    pub quantize: Quantize,
    /// Store tensors with matching names as f32, f16, bf16, q8_0, q4_0 or q4_k; may be given several
    /// times, the last match counts
    #[arg(long = "override", value_name = "REGEX=TYPE")]
    pub overrides: Vec<Override>,
    /// Replace an existing folder
    #[arg(long)]
    pub force: bool,
    /// Hash the files of the source, if its model.json records hashes, even if that was done before
    #[arg(long)]
    pub verify: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

/// `REGEX=TYPE`.
#[derive(Debug, Clone)]
pub struct Override {
    /// The text of the flag.
    pub text: String,
    /// Matches names of tensors.
    pub names: Regex,
    /// The type of these tensors.
    pub stored: StoredType,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (names, stored) = text
            .rsplit_once('=')
            .ok_or("expected REGEX=TYPE, such as 'img_mlp=q8_0'")?;
        let stored = match stored {
            "f32" => StoredType::F32,
            "f16" => StoredType::F16,
            "bf16" => StoredType::BF16,
            "q8_0" => StoredType::Q8_0,
            "q4_0" => StoredType::Q4_0,
            "q4_k" => StoredType::Q4K,
            other => {
                return Err(format!(
                    "`{other}` is not f32, f16, bf16, q8_0, q4_0 or q4_k"
                ));
            }
        };
        let names = Regex::new(names)
            .map_err(|_| format!("`{names}` is not a regular expression; a literal dot is \\."))?;
        Ok(Self {
            text: text.to_owned(),
            names,
            stored,
        })
    }
}
