//! Gradients of the GELU.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::GeluOps;
use super::composed::{CUBIC, TWICE_SQRT_2_OVER_PI};
use crate::autodiff::{Gradients, Strategy, kept, record};
use crate::cpu::{TASK, all_f32};
use x2i_cpu::vectorize::{Kernel, multiply_add, sigmoid, vectorize};

/// What a backend may replace.
pub(crate) trait GeluGradients: Backend {
    /// The gradient of `x`.
    ///
    /// GELU is `x · s` with `s = sigmoid(u)`, `u = a x + a b x³`; its slope is `s + x s (1 - s) (a + 3 a b x²)`.
    fn gelu_tanh_backward(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let square = Self::float_mul(x.clone(), x.clone());
        let affine = |factor: f32| {
            let slope = Self::float_mul_scalar(square.clone(), factor.into());
            Self::float_add_scalar(slope, TWICE_SQRT_2_OVER_PI.into())
        };
        let cubic = TWICE_SQRT_2_OVER_PI * CUBIC;
        let (over_x, slope) = (affine(cubic), affine(3.0 * cubic));
        let gate = Self::sigmoid(Self::float_mul(x.clone(), over_x));
        let one_less = Self::float_add_scalar(Self::float_neg(gate.clone()), 1f32.into());
        let inner = Self::float_mul(Self::float_mul(x, one_less), slope);
        let inner = Self::float_add_scalar(inner, 1f32.into());
        Self::float_mul(Self::float_mul(gate, inner), gradient)
    }
}

impl GeluGradients for CubeBackend {}

impl GeluGradients for Flex {
    fn gelu_tanh_backward(x: FlexTensor, gradient: FlexTensor) -> FlexTensor {
        assert!(all_f32([&x, &gradient]), "gradients are f32");
        let (x, mut gradient) = (x.to_contiguous(), gradient.to_contiguous());
        let tasks = gradient.storage_mut::<f32>().par_chunks_mut(TASK);
        tasks
            .zip(x.storage::<f32>().par_chunks(TASK))
            .for_each(|(gradient, x)| vectorize(Slope { x, gradient }));
        gradient
    }
}

/// Multiplies a gradient with the slope at `x`.
struct Slope<'a> {
    x: &'a [f32],
    gradient: &'a mut [f32],
}

impl Kernel for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        const A: f32 = TWICE_SQRT_2_OVER_PI;
        for (gradient, &x) in self.gradient.iter_mut().zip(self.x) {
            let square = x * x;
            let s = sigmoid(x * multiply_add(square, A * CUBIC, A));
            let inner = x * (1.0 - s) * multiply_add(square, 3.0 * A * CUBIC, A);
            *gradient *= multiply_add(s, inner, s);
        }
    }
}

#[derive(Debug, Clone)]
struct Gelu;

impl<B: GeluGradients> Gradients<B, 1> for Gelu {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 1],
        gradient: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        let [x] = kept(inputs);
        [Some(B::gelu_tanh_backward(x, gradient))]
    }
}

#[derive(Debug, Clone)]
struct GeluAfter;

impl<B: GeluGradients> Gradients<B, 2> for GeluAfter {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 2],
        gradient: FloatTensor<B>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<B>>; 2] {
        let [left, right] = kept(inputs);
        let width = left.shape()[2] as isize;
        let columns = |slice| {
            let all = Slice::new(0, None, 1);
            B::float_slice(gradient.clone(), &[all, all, slice])
        };
        let left = wanted[0].then(|| columns(Slice::new(0, Some(width), 1)));
        let right =
            wanted[1].then(|| B::gelu_tanh_backward(right, columns(Slice::new(width, None, 1))));
        [left, right]
    }
}

impl<B: GeluOps + GeluGradients, C: Strategy> GeluOps for Autodiff<B, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B, C, _, _>(Gelu, [x], |[x]| B::gelu_tanh(x))
    }

    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B, C, _, _>(GeluAfter, [left, right], |[left, right]| {
            B::gelu_tanh_after(left, right)
        })
    }
}
