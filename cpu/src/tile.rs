//! The sums of one tile of a packed f32 product, in WebAssembly's vectors of four lanes.
//!
//! The vectors are written out: what a compiler makes of plain loops hangs on how it feels that day, and it once left
//! these scalar, at a quarter of the speed. With its operands the eight accumulators fit the 16 registers of x86-64
//! (measured in V8: 12 accumulators spill). Left out: native targets, which run plain Rust here, in tests.

/// Lines of the left side in a tile.
pub const LEFT: usize = 4;

/// Lines of the right side in a tile.
pub const RIGHT: usize = 8;

/// `[left lines, right lines]`
pub type Sums = [[f32; RIGHT]; LEFT];

/// The sums over the inner dimension of panels `[inner, lines]`.
pub fn sums(left: &[[f32; LEFT]], right: &[[f32; RIGHT]]) -> Sums {
    #[cfg(target_family = "wasm")]
    return vectors::sums(left, right);
    #[cfg(not(target_family = "wasm"))]
    plain(left, right)
}

/// Plain Rust.
#[cfg_attr(target_family = "wasm", allow(dead_code, reason = "wasm has its own"))]
fn plain(left: &[[f32; LEFT]], right: &[[f32; RIGHT]]) -> Sums {
    let mut sums = [[0.0; RIGHT]; LEFT];
    for (left, right) in left.iter().zip(right) {
        for (sums, &left) in sums.iter_mut().zip(left) {
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum += left * right;
            }
        }
    }
    sums
}

#[cfg(target_family = "wasm")]
mod vectors {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_relaxed_madd, f32x4_splat, v128};

    use super::{LEFT, RIGHT, Sums};
    use crate::processor::{CpuUnit, uses};

    const VECTORS: usize = RIGHT / 4;

    pub(super) fn sums(left: &[[f32; LEFT]], right: &[[f32; RIGHT]]) -> Sums {
        if uses(CpuUnit::RelaxedSimd) {
            relaxed_vector_loop(left, right)
        } else {
            vector_loop(left, right)
        }
    }

    /// With one rounding for a product and its sum, where the processor has that.
    #[inline(never)]
    #[target_feature(enable = "relaxed-simd")]
    fn relaxed_vector_loop(left: &[[f32; LEFT]], right: &[[f32; RIGHT]]) -> Sums {
        tile(left, right, |a, b, c| f32x4_relaxed_madd(a, b, c))
    }

    /// It is not inlined, so that its accumulators get all registers.
    #[inline(never)]
    fn vector_loop(left: &[[f32; LEFT]], right: &[[f32; RIGHT]]) -> Sums {
        tile(left, right, |a, b, c| f32x4_add(c, f32x4_mul(a, b)))
    }

    #[inline(always)]
    fn tile(
        left: &[[f32; LEFT]],
        right: &[[f32; RIGHT]],
        multiply_add: impl Fn(v128, v128, v128) -> v128,
    ) -> Sums {
        let mut sums = [[f32x4_splat(0.0); VECTORS]; LEFT];
        for (left, right) in left.iter().zip(right) {
            let right: [v128; VECTORS] = bytemuck::cast(*right);
            for (sums, &left) in sums.iter_mut().zip(left) {
                let left = f32x4_splat(left);
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = multiply_add(left, right, *sum);
                }
            }
        }
        bytemuck::cast(sums)
    }
}
