//! Products and attention by the kernels of burn and cubek, for GPUs that run none of ours: CUDA.
//!
//! A device multiplies in bf16, f16 or f32. The factors of a product become that type, the sums and the result are
//! f32. A weight of the type is read where it is; any other becomes a copy, of one layer at a time. bf16 has the
//! range of f32. For f16, rows are divided by powers of two first, and sums are multiplied by them, so that nothing
//! overflows.
//!
//! A wgpu device can be [told](crate::choose_kernels) to run these instead of the shaders, which is how they are
//! tested. Left out: a choice between kernels by measurement, for which every start would wait.

mod attention;
mod dequantize;
mod multiply;
mod scaled;

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::kernels::{self, Half};
use crate::linear::composed::add_bias;
use crate::wgsl;
pub(crate) use attention::attention;
pub(crate) use multiply::multiply;
use scaled::{Scaled, converted};
use x2i_cpu::formats::BlockType;

/// How a device multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Library {
    /// The type of factors; `None` is f32.
    half: Option<Half>,
    /// True where attention without a mask is one kernel.
    flash: bool,
}

impl Library {
    /// For the tensor's device; `None` where the shaders run.
    pub(crate) fn of(tensor: &CubeTensor) -> Option<Self> {
        let kernels = kernels::of(&tensor.device);
        let runs = kernels.library.is_some() || !wgsl::runs(tensor);
        runs.then_some(Self {
            half: kernels.library,
            flash: kernels.flash,
        })
    }

    fn dtype(self) -> DType {
        self.half.map_or(DType::F32, Half::dtype)
    }
}

/// `x [m, cols]`, f32, times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`, f32.
pub(crate) fn linear(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    library: Library,
) -> CubeTensor {
    let dtype = library.dtype();
    let out = product(Scaled::rows(x, dtype), Scaled::rows(weight, dtype));
    match bias {
        Some(bias) => add_bias::<CubeBackend>(out, bias),
        None => out,
    }
}

/// [`linear`] with a weight in blocks, `packed` and `scales`, of which one copy is made for the product.
pub(crate) fn linear_blocks(
    [x, packed, scales]: [CubeTensor; 3],
    bias: Option<CubeTensor>,
    block_type: BlockType,
    library: Library,
) -> CubeTensor {
    let dtype = match library.dtype() {
        DType::F16 => DType::F32, // its rows are scaled by `linear`
        other => other,
    };
    let weight = dequantize::dequantize(packed, scales, block_type, dtype);
    linear(x, weight, bias, library)
}

/// `left [m, k]` times `right [n, k]` transposed: `[m, n]`, f32.
fn product(left: Scaled, right: Scaled) -> CubeTensor {
    let rows = right.numbers.meta.shape()[0];
    let out = multiply(left.numbers, CubeBackend::float_transpose(right.numbers));
    let out = match left.scales {
        Some(scales) => CubeBackend::float_mul(out, scales), // [m, 1]
        None => out,
    };
    match right.scales {
        Some(scales) => {
            let scales = CubeBackend::float_reshape(scales, Shape::new([1, rows]));
            CubeBackend::float_mul(out, scales)
        }
        None => out,
    }
}
