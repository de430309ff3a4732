//! The vector units of an adapter, by which variants of kernels are chosen.
//!
//! By a rule, so that no first run waits for an autotuner.

use std::sync::atomic::{AtomicBool, Ordering};

use burn_cubecl::cubecl::ir::features::Plane;
use burn_cubecl::tensor::CubeTensor;

/// Lanes of a vector unit up to which kernels that share memory between threads are slower.
const NARROW: u32 = 8;

/// Sizes of a subgroup that the kernels for narrow units support.
pub(crate) const NARROW_LANES: [u32; 2] = [4, 8];

/// What [`tell_subgroups`] was told.
static SUBGROUPS: AtomicBool = AtomicBool::new(false);

/// Tells whether the wgpu device of this process has subgroups where wgpu can't tell: in a browser
/// (<https://github.com/gfx-rs/wgpu/issues/10146>).
///
/// Call it before the first launch: shaders that are compiled stay as they are.
pub fn tell_subgroups(has: bool) {
    SUBGROUPS.store(has, Ordering::Relaxed);
}

/// What is known of the vector units of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Subgroups of 16 threads or more, and workgroup memory that is faster than the caches.
    Wide,
    /// Smaller subgroups: a software adapter (4 threads in SwiftShader, 8 in lavapipe), or a GPU such as Mali,
    /// whose workgroup memory is part of its cache.
    Narrow,
    /// As [`Units::Narrow`], with subgroup operations. The value is the one size of all subgroups.
    NarrowSubgroups(u32),
}

impl Units {
    /// Those of the tensor's device.
    ///
    /// cubecl hides the subgroups of software adapters. llvmpipe has them in all versions that tell a size; for
    /// a browser's device [`tell_subgroups`] knows.
    pub(crate) fn of_adapter(tensor: &CubeTensor) -> Self {
        let properties = tensor.client.properties();
        let [least, most] = [
            properties.hardware.plane_size_min,
            properties.hardware.plane_size_max,
        ];
        let subgroups = properties.features.plane.contains(Plane::Ops)
            || properties.identity.name.starts_with("llvmpipe")
            || SUBGROUPS.load(Ordering::Relaxed);
        match most {
            _ if most > NARROW => Self::Wide,
            lanes if subgroups && least == most && NARROW_LANES.contains(&lanes) => {
                Self::NarrowSubgroups(lanes)
            }
            _ => Self::Narrow,
        }
    }
}
