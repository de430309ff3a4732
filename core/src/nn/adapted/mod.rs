//! LoRA files of every kind and naming, beside matrices held in every way.

mod bench;
mod files;
mod kinds;
mod oracle;
