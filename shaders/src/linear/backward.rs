//! Gradients of a dense layer. A weight of 16 bits is a constant, which the CPU widens a stripe at a time.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::{Element, Shape};
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};
use half::{bf16, f16};

use super::halves::is_half;
use super::{LinearOps, stripes};
use crate::autodiff::{Gradients, Strategy, record};
use crate::cpu::tensor;
use x2i_cpu::integer::InputBits;
use x2i_cpu::widen::Half;

/// What a backend may replace.
pub(crate) trait LinearGradients: Backend {
    /// That of the input: `gradient [m, rows]` times `weight [rows, cols]`. The CPU may round both as `input_bits` says
    /// where the weight has 16 bits.
    fn linear_backward(
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits;
        Self::float_matmul(gradient, weight)
    }
}

impl LinearGradients for CubeBackend {}

impl LinearGradients for Flex {
    fn linear_backward(
        weight: FlexTensor,
        gradient: FlexTensor,
        input_bits: InputBits,
    ) -> FlexTensor {
        if !is_half(&weight) {
            return crate::gemm::matmul(gradient, weight);
        }
        match weight.dtype() {
            burn::tensor::DType::BF16 => halves::<bf16>(weight, gradient, input_bits),
            _ => halves::<f16>(weight, gradient, input_bits),
        }
    }
}

fn halves<H: Half + Element>(
    weight: FlexTensor,
    gradient: FlexTensor,
    input_bits: InputBits,
) -> FlexTensor {
    let weight = weight.to_contiguous();
    let shape = [gradient.layout().shape()[0], weight.layout().shape()[1]];
    let cols = shape[1];
    let halves = weight.storage::<H>();
    let widen = |first: usize, out: &mut [f32]| H::widen(&halves[first * cols..][..out.len()], out);
    let mut out = vec![0.0; shape[0] * cols];
    stripes::add_transposed(&gradient, cols, widen, input_bits, &mut out);
    tensor(out, shape)
}

/// The sums of the rows of `gradient [m, rows]`: the gradient of a bias, `[rows]`.
pub(crate) fn bias_backward<B: Backend>(gradient: FloatTensor<B>) -> FloatTensor<B> {
    let rows = gradient.shape()[1];
    B::float_reshape(B::float_sum_dim(gradient, 0), Shape::new([rows]))
}

fn weight_backward<B: Backend>(x: FloatTensor<B>, gradient: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(B::float_transpose(gradient), x)
}

/// The product. Of a frozen weight it keeps no input, of an input without a gradient no weight.
#[derive(Debug, Clone)]
struct Linear(InputBits);

impl<B: LinearGradients> Gradients<B, 2> for Linear {
    fn reads(&self, [x, weight]: [bool; 2]) -> [bool; 2] {
        [weight, x]
    }

    fn gradients(
        self,
        [x, weight]: [Option<FloatTensor<B>>; 2],
        gradient: FloatTensor<B>,
        _: [bool; 2],
    ) -> [Option<FloatTensor<B>>; 2] {
        let of_weight = x.map(|x| weight_backward::<B>(x, gradient.clone()));
        [
            weight.map(|weight| B::linear_backward(weight, gradient, self.0)),
            of_weight,
        ]
    }
}

impl<B: LinearGradients> Gradients<B, 3> for Linear {
    fn reads(&self, [x, weight, _]: [bool; 3]) -> [bool; 3] {
        [weight, x, false]
    }

    fn gradients(
        self,
        [x, weight, _]: [Option<FloatTensor<B>>; 3],
        gradient: FloatTensor<B>,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let of_bias = wanted[2].then(|| bias_backward::<B>(gradient.clone()));
        let of_weight = x.map(|x| weight_backward::<B>(x, gradient.clone()));
        let of_x = weight.map(|weight| B::linear_backward(weight, gradient, self.0));
        [of_x, of_weight, of_bias]
    }
}

impl<B: LinearOps + LinearGradients, C: Strategy> LinearOps for Autodiff<B, C> {
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(Linear(input_bits), [x, weight], |[x, weight]| {
            <B as LinearOps>::linear(x, weight, input_bits)
        })
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(
            Linear(input_bits),
            [x, weight, bias],
            |[x, weight, bias]| B::linear_bias(x, weight, bias, input_bits),
        )
    }
}
