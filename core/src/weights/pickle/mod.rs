//! PyTorch's `.bin`, `.pt` and `.pth` files, read without executing anything.
//!
//! A pickle is a program for a small machine. `instructions` knows only those that `torch.save`
//! emits for a state dict. `machine` runs them; its values are plain data: it builds no object and
//! calls no function. Two containers hold pickles: today's zip archive (`zip`), and the stream from
//! before PyTorch 1.6 (`legacy`). `flatten` finds the state dict in what was saved, `checksum` a damaged archive.
//!
//! Source: `torch/serialization.py` and Python's `pickletools`. Not supported: tensor subclasses,
//! quantized and sparse tensors, TorchScript archives.

mod checksum;
mod flatten;
mod globals;
mod instructions;
mod legacy;
mod machine;
mod values;
mod zip;

pub(super) use checksum::broken_entry;
pub(super) use legacy::{is_legacy, read_header as read_legacy_header};
pub(super) use zip::read_header as read_zip_header;
