//! Products with what follows them in a transformer's block: GELU, or the gated residual.
//!
//! Where the device multiplies in f16 one kernel does both, and [`Activations`] that another product reads take 16
//! bits. Elsewhere these are [`linear_rounded`] or [`qmatmul`], [`gelu_tanh`] and [`gated_residual`] one after the other.

use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

use crate::activations::Activations;
use crate::cooperative::Matrices;
use crate::empty::has_no_terms;
use crate::qmatmul::cooperative::{self, CHUNK, FEW_ROWS, Left, Right, Then};
use crate::{
    BlockQuantized, InputBits, gated_residual, gelu_tanh, gelu_tanh_after, linear_rounded,
    modulated_layer_norm, norm, qmatmul, wgsl,
};

/// A weight `[rows (out), cols (in)]`.
#[derive(Debug, Clone, Copy)]
pub enum Weight<'a> {
    /// As [`linear_rounded`] takes it, with what it rounds inputs to.
    Dense(&'a Tensor<2>, InputBits),
    /// As [`qmatmul`] takes it.
    Blocks(&'a BlockQuantized),
}

/// A stream to which a product is added.
#[derive(Debug, Clone)]
pub struct Gated {
    /// `[batch, tokens, rows]`, f32.
    pub residual: Tensor<3>,
    /// What the product is multiplied by, `[batch, 1, rows]`, f32.
    pub gate: Tensor<3>,
}

impl Weight<'_> {
    fn rows(self) -> usize {
        match self {
            Self::Dense(weight, _) => weight.dims()[0],
            Self::Blocks(weight) => weight.shape()[0],
        }
    }

    fn product(self, x: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
        match self {
            Self::Dense(weight, input_bits) => linear_rounded(x, weight.clone(), bias, input_bits),
            Self::Blocks(weight) => qmatmul(x, weight, bias),
        }
    }

    fn right(self) -> Right {
        match self {
            Self::Dense(weight, _) => Right::dense(wgsl::cube(weight.clone())),
            Self::Blocks(weight) => weight.right(),
        }
    }

    /// True for a weight that matrices of f16 take.
    fn is_taken(self) -> bool {
        match self {
            Self::Dense(weight, _) => weight.dtype() == DType::F32,
            Self::Blocks(_) => true,
        }
    }
}

/// The matrices for a product of these inputs, where the device has them and there are rows enough.
fn matrices<const D: usize>(x: &Activations<D>, weight: Weight<'_>) -> Option<Matrices> {
    let dims = x.dims();
    let m = dims[..D - 1].iter().product::<usize>();
    let enough = m > FEW_ROWS || x.is_half();
    let empty = has_no_terms([m, weight.rows(), dims[D - 1]]);
    Matrices::on(&x.device()).filter(|_| enough && !empty && weight.is_taken())
}

/// The inputs of a product as matrices take them.
fn left<const D: usize>(x: Activations<D>) -> Left {
    let whole = x.dims()[D - 1].is_multiple_of(CHUNK);
    if !x.is_half() || !whole {
        let (x, _) = Activations::new(x.to_f32()).parts();
        return Left::of(wgsl::cube(x));
    }
    let (x, right) = x.parts();
    Left::sixteenths(wgsl::cube(x), right.map(wgsl::cube))
}

/// `[.., cols]` times the weight transposed, plus `bias [rows]`: `[.., rows]`, f32.
///
/// # Panics
/// When the shapes do not agree.
pub fn product<const D: usize>(
    x: Activations<D>,
    weight: Weight<'_>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut shape = x.dims();
    shape[D - 1] = weight.rows();
    match matrices(&x, weight).filter(|_| x.is_half() && !x.is_joined()) {
        Some(matrices) => {
            let bias = bias.map(wgsl::cube);
            let out = cooperative::product(matrices, left(x), weight.right(), bias, Then::Nothing);
            Tensor::<2>::from_primitive::<CubeBackend>(out).reshape(shape)
        }
        None => {
            let (x, _) = Activations::new(x.to_f32()).parts();
            weight.product(x, bias).reshape(shape)
        }
    }
}

/// The GELU of [`product`].
///
/// # Panics
/// When the shapes do not agree.
pub fn product_gelu<const D: usize>(
    x: Activations<D>,
    weight: Weight<'_>,
    bias: Tensor<1>,
) -> Activations<D> {
    match matrices(&x, weight).filter(|_| !x.is_joined()) {
        Some(matrices) => {
            let mut shape = x.dims();
            shape[D - 1] = weight.rows();
            let bias = Some(wgsl::cube(bias));
            let out = cooperative::product(matrices, left(x), weight.right(), bias, Then::Gelu);
            let out = Tensor::<2>::from_primitive::<CubeBackend>(out);
            Activations::sixteenths(out.reshape(shape))
        }
        None => Activations::new(gelu_tanh(product(x, weight, Some(bias)))),
    }
}

/// The columns of `left`, then those of [`product_gelu`].
///
/// # Panics
/// When the shapes do not agree.
pub fn product_gelu_after(
    left: Activations<3>,
    x: Activations<3>,
    weight: Weight<'_>,
    bias: Tensor<1>,
) -> Activations<3> {
    match matrices(&x, weight) {
        Some(_) => left.beside(product_gelu(x, weight, bias)),
        None => {
            let x = product(x, weight, Some(bias));
            Activations::new(gelu_tanh_after(left.to_f32(), x))
        }
    }
}

/// The residual plus gate times [`product`], `[batch, tokens, rows]`, f32.
///
/// # Panics
/// When the shapes do not agree.
pub fn product_gated(
    x: Activations<3>,
    weight: Weight<'_>,
    bias: Tensor<1>,
    to: Gated,
) -> Tensor<3> {
    let Gated { residual, gate } = to;
    match matrices(&x, weight) {
        Some(matrices) => {
            let [batch, tokens, _] = x.dims();
            let rows = weight.rows();
            assert!(
                residual.dims() == [batch, tokens, rows] && gate.dims() == [batch, 1, rows],
                "product_gated: the residual and the gate need the product's shape"
            );
            let then = Then::Gated {
                residual: wgsl::cube(residual),
                gate: wgsl::cube(gate),
            };
            let bias = Some(wgsl::cube(bias));
            let out = cooperative::product(matrices, left(x), weight.right(), bias, then);
            Tensor::from_primitive::<CubeBackend>(out)
        }
        None => gated_residual(residual, gate, product(x, weight, Some(bias))),
    }
}

/// [`modulated_layer_norm`] for products alone.
///
/// # Panics
/// As that.
pub fn modulated_activations(
    x: Tensor<3>,
    scale: Tensor<3>,
    shift: Tensor<3>,
    eps: f32,
) -> Activations<3> {
    let [batch, tokens, hidden] = x.dims();
    let many = batch * tokens > FEW_ROWS && hidden > 0;
    match Matrices::on(&x.device()).filter(|_| many) {
        Some(_) => {
            let [x, scale, shift] = [x, scale, shift].map(wgsl::cube);
            let out = norm::wgpu::modulated_halves(x, scale, shift, eps);
            Activations::sixteenths(Tensor::from_primitive::<CubeBackend>(out))
        }
        None => Activations::new(modulated_layer_norm(x, scale, shift, eps)),
    }
}
