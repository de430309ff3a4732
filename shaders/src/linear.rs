//! A dense layer, `x Wᵀ + b`: the composed reference and the public function.

pub(crate) mod flex;
mod halves;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, TensorMetadata};
use burn::tensor::{Device, Shape, Tensor};

use crate::KernelOps;

/// `x [m, cols]` times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`.
///
/// All are f32; the weight may be bf16 or f16 where [`takes_halves`].
///
/// # Panics
/// When the shapes do not agree as above.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, cols] = weight.dims();
    assert_eq!(
        x.dims()[1],
        cols,
        "linear: the input's columns must be the weight's"
    );
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => {
            assert_eq!(
                bias.dims(),
                [rows],
                "linear: the bias needs the weight's rows"
            );
            <Dispatch as KernelOps>::linear_bias(x, weight, bias.into_dispatch())
        }
        None => <Dispatch as KernelOps>::linear(x, weight),
    })
}

/// True where a weight of 16 bits can stay so: on the CPU, natively. In a browser, where models are
/// small, its kernel would cost more bytes of program than it saves.
pub fn takes_halves(device: &Device) -> bool {
    !cfg!(target_family = "wasm") && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let product = B::float_matmul(x, B::float_transpose(weight));
    match bias {
        Some(bias) => add_bias::<B>(product, bias),
        None => product,
    }
}

/// `product [m, rows]` plus `bias [rows]`.
pub(crate) fn add_bias<B: Backend>(
    product: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let rows = bias.shape()[0];
    B::float_add(product, B::float_reshape(bias, Shape::new([1, rows])))
}
