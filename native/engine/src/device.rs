//! Which devices this machine has, which one to take, and opening it.
//!
//! burn's own default device panics where a GPU library is missing, so devices are listed first
//! and opened by us. Not here: OpenGL adapters, which offer too few storage buffers.

mod acquire;
mod choice;
mod cuda;
mod entry;
mod facts;
mod gpu;
mod health;
mod list;
mod opened;

pub use acquire::{acquire, open};
pub use choice::DeviceChoice;
pub use entry::{DeviceEntry, DeviceKind};
pub use facts::GpuFacts;
pub use health::Health;
pub use list::{choose, list};
pub use opened::OpenDevice;

/// True when this build has burn's CUDA backend (cargo feature `cuda`).
pub const CUDA_BUILT: bool = cfg!(feature = "cuda");
