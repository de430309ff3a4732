//! Rows in the type of a product, with powers of two where their numbers would not fit.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;

/// The exponent's bits of an f32.
const EXPONENT: i32 = 0x7f80_0000;

/// The least and the largest power of two whose reciprocal is a normal number too.
const POWERS: [i32; 2] = [0x0080_0000, 0x7e80_0000];

/// The sum of the bits of a power of two and of its reciprocal.
const RECIPROCAL: i32 = 0x7f00_0000;

/// Rows in the type of a product.
pub(super) struct Scaled {
    /// `[rows, cols]`.
    pub(super) numbers: CubeTensor,
    /// `[rows, 1]`: an element is its number times the scale. `None` for ones.
    pub(super) scales: Option<CubeTensor>,
}

impl Scaled {
    /// The rows of `x [rows, cols]` in f32, bf16 or f16, from any of these. What is of the type already stays as it
    /// is, and only f16 needs scales.
    pub(super) fn rows(x: CubeTensor, dtype: DType) -> Self {
        if dtype != DType::F16 || x.dtype == dtype {
            let numbers = match x.dtype == dtype {
                true => x,
                false => converted(x, dtype),
            };
            return Self {
                numbers,
                scales: None,
            };
        }
        let x = cast(x, DType::F32);
        let largest = CubeBackend::float_max_dim(CubeBackend::float_abs(x.clone()), 1);
        let Power { power, reciprocal } = Power::below(largest);
        Self {
            numbers: converted(CubeBackend::float_mul(x, reciprocal), dtype),
            scales: Some(power),
        }
    }
}

/// Powers of two, exactly.
pub(super) struct Power {
    pub(super) power: CubeTensor,
    pub(super) reciprocal: CubeTensor,
}

impl Power {
    /// The largest powers of two that are not above the magnitudes of a tensor of f32; 2^-126 for zeros.
    pub(super) fn below(magnitudes: CubeTensor) -> Self {
        let bits = as_type(into_contiguous(magnitudes), DType::I32);
        let bits = CubeBackend::bitwise_and_scalar(bits, EXPONENT.into());
        let [least, most] = POWERS;
        let bits = CubeBackend::int_clamp(bits, least.into(), most.into());
        let reciprocal = CubeBackend::int_neg(bits.clone());
        let reciprocal = CubeBackend::int_add_scalar(reciprocal, RECIPROCAL.into());
        Self {
            power: as_type(bits, DType::F32),
            reciprocal: as_type(reciprocal, DType::F32),
        }
    }
}

/// The same bits as numbers of another type of the same size.
fn as_type(tensor: CubeTensor, dtype: DType) -> CubeTensor {
    CubeTensor { dtype, ..tensor }
}

/// The tensor in another type of float, without a scale.
pub(super) fn converted(tensor: CubeTensor, dtype: DType) -> CubeTensor {
    into_contiguous(cast(tensor, dtype))
}
