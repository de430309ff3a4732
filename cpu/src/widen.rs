//! Floats of 16 bits become f32.

use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::vectorize::{Kernel, vectorize};

/// A float of 16 bits.
pub trait Half: Pod + Sync {
    /// Converts numbers to f32.
    fn widen(halves: &[Self], out: &mut [f32]);

    /// The numbers, where they are bf16.
    fn bf16(halves: &[Self]) -> Option<&[bf16]>;
}

impl Half for bf16 {
    fn widen(halves: &[Self], out: &mut [f32]) {
        vectorize(WidenBf16 { halves, out });
    }

    fn bf16(halves: &[Self]) -> Option<&[bf16]> {
        Some(halves)
    }
}

impl Half for f16 {
    fn widen(halves: &[Self], out: &mut [f32]) {
        halves.convert_to_f32_slice(out);
    }

    fn bf16(_: &[Self]) -> Option<&[bf16]> {
        None
    }
}

struct WidenBf16<'a> {
    halves: &'a [bf16],
    out: &'a mut [f32],
}

impl Kernel for WidenBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (out, half) in self.out.iter_mut().zip(self.halves) {
            *out = f32::from_bits(u32::from(half.to_bits()) << 16);
        }
    }
}
