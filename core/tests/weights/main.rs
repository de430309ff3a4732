//! Weight files: every format reads what its writers write, and refuses what is broken.

mod common;
mod gguf;
mod hostile;
mod names;
mod pickle;
mod quant;
mod safetensors;
