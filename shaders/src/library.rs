//! Products and attention in f16 or bf16 by burn's own kernels, for GPUs that run none of ours: CUDA.
//!
//! The factors of a product become 16 bits, the sums and the result are f32. A weight of that type is read where it
//! is; any other becomes a copy of 16 bits, of one layer at a time. bf16 has the range of f32. For f16, rows are
//! divided by powers of two first, and sums are multiplied by them, so that nothing overflows.
//!
//! A wgpu device can be [told](crate::choose_kernels) to run these instead of the shaders, which is how they are
//! tested. Left out: products in f32, which are burn's as they are; a choice between burn's kernels by measurement,
//! for which every start would wait.

mod attention;
mod dequantize;
mod scaled;

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;

use crate::kernels::{self, Half};
use crate::linear::composed::add_bias;
use crate::qmatmul::BlockType;
pub(crate) use attention::attention;
use scaled::Scaled;

/// The floats in which the tensor's device shall multiply by burn's kernels.
pub(crate) fn chosen(tensor: &CubeTensor) -> Option<Half> {
    kernels::of(tensor).library
}

/// `x [m, cols]`, f32, times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`, f32.
pub(crate) fn linear(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    half: Half,
) -> CubeTensor {
    let out = product(Scaled::rows(x, half), Scaled::rows(weight, half));
    match bias {
        Some(bias) => add_bias::<CubeBackend>(out, bias),
        None => out,
    }
}

/// [`linear`] with a weight in blocks, `packed` and `scales`, of which one copy of 16 bits is made for the product.
pub(crate) fn linear_blocks(
    [x, packed, scales]: [CubeTensor; 3],
    bias: Option<CubeTensor>,
    block_type: BlockType,
    half: Half,
) -> CubeTensor {
    let dtype = match half {
        Half::Bf16 => DType::BF16,
        Half::F16 => DType::F32, // its rows are scaled by `linear`
    };
    let weight = dequantize::dequantize(packed, scales, block_type, dtype);
    linear(x, weight, bias, half)
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

/// `[.., m, k]` times `[.., k, n]`, both of one type of 16 bits: `[.., m, n]`, f32 as its sums.
fn multiply(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    let strategy = MatmulStrategy::default();
    matmul(left, right, None, strategy, DType::F32).expect("burn has a product for every shape")
}

/// The tensor in f32.
pub(crate) fn widened(tensor: CubeTensor) -> CubeTensor {
    cast(tensor, DType::F32)
}

/// The tensor in `half`, without a scale.
fn narrowed(tensor: CubeTensor, half: Half) -> CubeTensor {
    into_contiguous(cast(tensor, half.dtype()))
}
