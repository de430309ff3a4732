//! Devices: lists those of this machine, chooses one or several and opens them.
//!
//! burn's default device panics where a GPU library is missing, so this module lists devices before
//! it opens one. Not here: OpenGL, which offers too few storage buffers.

mod acquire;
mod choice;
mod cuda;
mod entry;
mod facts;
mod gpu;
mod health;
mod list;
mod opened;
mod precision;
mod several;
mod tried;
mod vram;
mod wish;

pub use acquire::{acquire, acquire_with, cpu_variant, open};
pub use choice::DeviceChoice;
pub use cuda::no_cuda;
pub use entry::{DeviceEntry, DeviceKind};
pub use facts::GpuFacts;
pub use health::Health;
pub use list::{choose, list};
pub use opened::{OpenDevice, guard, ids, names};
pub use precision::Precision;
pub use several::{DeviceList, acquire_all};
pub use tried::check;

/// True when this build has burn's CUDA backend (cargo feature `cuda`).
pub const CUDA_BUILT: bool = cfg!(feature = "cuda");
