//! Weight files: every format reads what its writers write, and refuses what is broken.

mod common;
mod community;
mod four_bits;
mod fp8;
mod gguf;
mod hostile;
mod large;
mod names;
mod pairs;
mod parts;
mod pickle;
mod quant;
mod quantized;
mod refused_pickles;
mod repacked;
mod safetensors;
mod strangers;
