//! PyTorch's `.bin`, `.pt` and `.pth` files, read without executing anything.
//!
//! A pickle is a program for a small machine. `machine` runs only the instructions that
//! `torch.save` emits for a state dict, and its values are plain data: no object is ever built, no
//! function called. Around it are two containers, today's zip archive (`zip`) and the stream of
//! before PyTorch 1.6 (`legacy`); `flatten` finds the state dict in what was saved.
//!
//! Source: `torch/serialization.py` and Python's `pickletools`. Left out: tensor subclasses,
//! quantized and sparse tensors, TorchScript archives, checksums of the archive.

mod flatten;
mod globals;
mod legacy;
mod machine;
mod values;
mod zip;

pub(super) use legacy::{is_legacy, read_header as read_legacy_header};
pub(super) use zip::read_header as read_zip_header;
