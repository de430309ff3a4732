//! AMX: `tdpbssd` multiplies a tile of 16 x 32 bytes with one of 32 x 16, in inline assembly, because Rust's functions
//! for it are not stable.
//!
//! Not run yet on a machine that has it: the instructions are those of a program that was, and the loop of
//! [`super::machine`] tests all the rest.

use std::arch::asm;
use std::marker::PhantomData;
use std::mem::size_of;

use super::groups::{InputGroup, LANES, ROWS, SPAN, WeightGroup};
use super::machine::{Products, TileMachine};
use crate::formats::GROUP;
use crate::integer::bytes::QUADS;
use crate::integer::rounding::COLUMNS;
use crate::processor::{CpuUnit, Shapes};

/// The tiles of this thread. It stays on its thread, which has set their shapes; there is one of it at a time.
pub(super) struct Amx(PhantomData<*const ()>);

/// Tiles 0 to 3 are sums, 4 and 6 inputs, 5 and 7 weights.
static SHAPES: Shapes = {
    let sums = [ROWS, 4 * LANES];
    let (inputs, weights) = ([ROWS, GROUP], [QUADS, 4 * LANES]);
    Shapes::new([sums, sums, sums, sums, inputs, weights, inputs, weights])
};

impl TileMachine for Amx {
    fn take() -> Self {
        assert!(CpuUnit::Amx.is_here(), "this machine has no AMX");
        // SAFETY: the machine has AMX and the system lets this process use it; the shapes are 64 bytes, and valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack)) };
        Self(PhantomData)
    }

    #[inline(always)]
    fn multiply(
        &self,
        inputs: &[InputGroup],
        weights: &[WeightGroup],
        half: usize,
        out: &mut Products,
    ) {
        assert!(half < COLUMNS / LANES && inputs.len() == weights.len());
        if inputs.len() == SPAN {
            // SAFETY: the tiles have their shapes. Of each of the four groups 16 rows of 32 bytes are read, and 8 rows of
            // 64 bytes from the half on, all within the group; 4 x 16 rows of 64 bytes are written, which is all of
            // `out`.
            unsafe {
                span(
                    &inputs[0],
                    weights[0].quads.as_ptr().cast::<i32>().add(half * LANES),
                    out,
                )
            };
            return;
        }
        for ((input, weight), out) in inputs.iter().zip(weights).zip(&mut out.0) {
            // SAFETY: as above, for one group.
            unsafe {
                group(
                    input,
                    weight.quads.as_ptr().cast::<i32>().add(half * LANES),
                    out,
                )
            };
        }
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: this thread has taken the tiles, and nothing reads them any more.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Bytes from a row of a group's weights to the next.
const WEIGHT_STRIDE: usize = 4 * COLUMNS;

/// Multiplies [`SPAN`] groups, which follow each other in memory. The four products do not wait for each other.
///
/// # Safety
/// The tiles have their shapes, and there are four groups on either side.
#[inline(always)]
unsafe fn span(inputs: *const InputGroup, weights: *const i32, out: &mut Products) {
    // SAFETY: the caller's; all that is read and written lies within these groups.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{a} + {a_stride}*1]",
            "tileloadd tmm5, [{b} + {b_stride}*1]",
            "tdpbssd tmm0, tmm4, tmm5",
            "tileloadd tmm6, [{a} + {a_stride}*1 + {a_group}]",
            "tileloadd tmm7, [{b} + {b_stride}*1 + {b_group}]",
            "tdpbssd tmm1, tmm6, tmm7",
            "tileloadd tmm4, [{a} + {a_stride}*1 + 2*{a_group}]",
            "tileloadd tmm5, [{b} + {b_stride}*1 + 2*{b_group}]",
            "tdpbssd tmm2, tmm4, tmm5",
            "tileloadd tmm6, [{a} + {a_stride}*1 + 3*{a_group}]",
            "tileloadd tmm7, [{b} + {b_stride}*1 + 3*{b_group}]",
            "tdpbssd tmm3, tmm6, tmm7",
            "tilestored [{c} + {c_stride}*1], tmm0",
            "tilestored [{c} + {c_stride}*1 + 1024], tmm1",
            "tilestored [{c} + {c_stride}*1 + 2048], tmm2",
            "tilestored [{c} + {c_stride}*1 + 3072], tmm3",
            a = in(reg) inputs,
            b = in(reg) weights,
            c = in(reg) out,
            a_stride = in(reg) GROUP,
            b_stride = in(reg) WEIGHT_STRIDE,
            c_stride = in(reg) 4 * LANES,
            a_group = const size_of::<InputGroup>(),
            b_group = const size_of::<WeightGroup>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// Multiplies one group.
///
/// # Safety
/// The tiles have their shapes, and there is a group on either side.
#[inline(always)]
unsafe fn group(inputs: *const InputGroup, weights: *const i32, out: &mut [[i32; LANES]; ROWS]) {
    // SAFETY: the caller's; all that is read and written lies within these groups.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tileloadd tmm4, [{a} + {a_stride}*1]",
            "tileloadd tmm5, [{b} + {b_stride}*1]",
            "tdpbssd tmm0, tmm4, tmm5",
            "tilestored [{c} + {c_stride}*1], tmm0",
            a = in(reg) inputs,
            b = in(reg) weights,
            c = in(reg) out,
            a_stride = in(reg) GROUP,
            b_stride = in(reg) WEIGHT_STRIDE,
            c_stride = in(reg) 4 * LANES,
            out("tmm0") _, out("tmm4") _, out("tmm5") _,
            options(nostack)
        );
    }
}
