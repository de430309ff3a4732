//! `tdpbf16ps` by inline assembly, since its intrinsics are not stable. Each call keeps its tiles within one block of
//! assembly; only their configuration lasts from one to the next.

use std::arch::asm;
use std::marker::PhantomData;

use crate::lanes::pair::Pair;
use crate::lanes::unit::{LANES, Lanes};
use crate::processor::{CpuUnit, EIGHT_TILES};

/// This thread's tiles, configured until they are dropped. They do not leave the thread.
pub struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// # Panics
    /// On a machine without AMX.
    pub(in crate::lanes) fn configure() -> Self {
        assert!(CpuUnit::Amx.is_here(), "an `Amx` is made where it runs");
        // SAFETY: the machine has AMX, and the system gives it.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &EIGHT_TILES, options(nostack, readonly)) };
        Self(PhantomData)
    }

    /// Adds the products of two tiles of weight rows with `V` groups. The caller checked that all are whole tiles.
    #[inline]
    pub(in crate::lanes) fn add<const V: usize>(
        &self,
        weights: &[Pair],
        stride: usize,
        inputs: [&[Lanes<Pair>]; V],
        mut sums: [&mut [Lanes<f32>]; V],
    ) {
        let steps = inputs[0].len() / LANES;
        let stride = stride * size_of::<Pair>();
        let (first, last) = (0, V - 1);
        let groups = [inputs[first].as_ptr(), inputs[last].as_ptr()];
        let sums = [first, last].map(|group| sums[group].as_mut_ptr());
        // SAFETY: this thread's tiles are configured. The caller checked that 32 rows of weights, the inputs of each
        // group and 32 rows of sums are as long as they are read and written.
        unsafe {
            match (steps, V) {
                (0, _) => {}
                (_, 1) => one(weights.as_ptr(), stride, groups[0], steps, sums[0]),
                _ => two(weights.as_ptr(), stride, groups, steps, sums),
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the machine has tiles, and nothing uses them any more.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Two tiles of weights times one group.
///
/// # Safety
/// As `two`, for one group.
#[inline]
unsafe fn one(
    weights: *const Pair,
    stride: usize,
    inputs: *const Lanes<Pair>,
    steps: usize,
    sums: *mut Lanes<f32>,
) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tileloadd tmm0, [{c} + {k}*1]",
            "tileloadd tmm2, [{c} + {k}*1 + 1024]",
            "2:",
            "tileloadd tmm4, [{a} + {s}*1]",
            "tileloadd tmm6, [{b} + {k}*1]",
            "tileloadd tmm5, [{a2} + {s}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {a}, 64",
            "add {a2}, 64",
            "add {b}, 1024",
            "dec {n}",
            "jnz 2b",
            "tilestored [{c} + {k}*1], tmm0",
            "tilestored [{c} + {k}*1 + 1024], tmm2",
            a = inout(reg) weights => _,
            a2 = inout(reg) weights.byte_add(16 * stride) => _,
            s = in(reg) stride,
            b = inout(reg) inputs => _,
            n = inout(reg) steps => _,
            k = in(reg) 64usize,
            c = in(reg) sums,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// Two tiles of weights times two groups, `steps` tiles of each along a row.
///
/// # Safety
/// Tiles are configured; `weights` has 32 rows of so many tiles, `stride` bytes apart, each group has as many tiles of
/// inputs, and two of sums; there is a step.
#[inline]
unsafe fn two(
    weights: *const Pair,
    stride: usize,
    inputs: [*const Lanes<Pair>; 2],
    steps: usize,
    sums: [*mut Lanes<f32>; 2],
) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "tileloadd tmm0, [{c} + {k}*1]",
            "tileloadd tmm1, [{c2} + {k}*1]",
            "tileloadd tmm2, [{c} + {k}*1 + 1024]",
            "tileloadd tmm3, [{c2} + {k}*1 + 1024]",
            "2:",
            "tileloadd tmm4, [{a} + {s}*1]",
            "tileloadd tmm6, [{b} + {k}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b2} + {k}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a2} + {s}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {a2}, 64",
            "add {b}, 1024",
            "add {b2}, 1024",
            "dec {n}",
            "jnz 2b",
            "tilestored [{c} + {k}*1], tmm0",
            "tilestored [{c2} + {k}*1], tmm1",
            "tilestored [{c} + {k}*1 + 1024], tmm2",
            "tilestored [{c2} + {k}*1 + 1024], tmm3",
            a = inout(reg) weights => _,
            a2 = inout(reg) weights.byte_add(16 * stride) => _,
            s = in(reg) stride,
            b = inout(reg) inputs[0] => _,
            b2 = inout(reg) inputs[1] => _,
            n = inout(reg) steps => _,
            k = in(reg) 64usize,
            c = in(reg) sums[0],
            c2 = in(reg) sums[1],
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
