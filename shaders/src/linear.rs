//! A dense layer, `x Wᵀ + b`.

#[cfg(not(target_family = "wasm"))]
pub(crate) mod backward;
pub(crate) mod composed;
mod flex;
mod halves;
pub(crate) mod stripes;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension};
use burn::tensor::{Device, Tensor};

use crate::gpu::runs_wgsl;
pub(crate) use wgpu::shaders;
use x2i_cpu::integer::InputBits;

/// `x [m, cols]` times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`.
///
/// All are f32; the weight may be bf16 or f16 where [`takes_halves`] is true. The CPU computes in f32.
///
/// # Panics
/// When the shapes do not agree as above.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    linear_rounded(x, weight, bias, InputBits::Sixteen)
}

/// [`linear`], whose inputs the CPU may round.
///
/// # Panics
/// As [`linear`].
pub fn linear_rounded(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    input_bits: InputBits,
) -> Tensor<2> {
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
            <Dispatch as LinearOps>::linear_bias(x, weight, bias.into_dispatch(), input_bits)
        }
        None => <Dispatch as LinearOps>::linear(x, weight, input_bits),
    })
}

/// `left [batch, m, k]` times `right [batch, k, n]`: `[batch, m, n]`, all f32, on every device.
///
/// # Panics
/// When the shapes do not agree as above.
pub fn matmul(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    let ([batch, _, terms], [other, rows, _]) = (left.dims(), right.dims());
    assert_eq!(
        (batch, terms),
        (other, rows),
        "matmul: the right side's batch and rows must be the left side's batch and columns"
    );
    let (left, right) = (left.into_dispatch(), right.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LinearOps>::matmul(left, right))
}

/// True where [`linear`] takes a weight of 16 bits as it is: on the CPU of a native target, and on a GPU that runs
/// burn's kernels alone (CUDA).
///
/// False in a browser, where models are small and the kernel would add more bytes to the program than it
/// saves.
pub fn takes_halves(device: &Device) -> bool {
    if cfg!(target_family = "wasm") {
        return false;
    }
    match device.as_dispatch() {
        DispatchDevice::Cube(_) => !runs_wgsl(device),
        other => matches!(other, DispatchDevice::Flex(_)),
    }
}

/// What a backend may replace; shapes as in the function above, which checks them.
///
/// CUDA has a form of its own: [`library`](crate::library).
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait LinearOps: Backend {
    /// [`linear_rounded`] without a bias.
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits; // the CPU alone rounds inputs
        composed::linear::<Self>(x, weight, None)
    }

    /// [`linear_rounded`] with a bias.
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits;
        composed::linear::<Self>(x, weight, Some(bias))
    }

    /// [`matmul`].
    fn matmul(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::matmul::<Self>(left, right)
    }
}
