//! Gradients of the gated residual.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};

use super::ResidualOps;
use crate::autodiff::{Gradients, Strategy, kept, record};
use crate::cpu::{Rows, all_f32, each_row, sum_rows, tensor};
use x2i_cpu::vectorize::{Kernel, multiply_add, vectorize};

/// What a backend may replace.
pub(crate) trait ResidualGradients: Backend {
    /// Those of the gate and of `y`.
    fn gated_residual_backward(
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2] {
        let gates = Self::float_sum_dim(Self::float_mul(gradient.clone(), y), 1);
        [gates, Self::float_mul(gradient, gate)]
    }
}

impl ResidualGradients for CubeBackend {}

impl ResidualGradients for Flex {
    fn gated_residual_backward(
        gate: FlexTensor,
        y: FlexTensor,
        gradient: FlexTensor,
    ) -> [FlexTensor; 2] {
        let shape = y.layout().shape().clone();
        assert!(all_f32([&gate, &y, &gradient]), "gradients are f32");
        let (batch, tokens, width) = (shape[0], shape[1], shape[2]);
        let (gate, y, gradient) = (Rows::new(gate), Rows::new(y), Rows::new(gradient));
        let gates = sum_rows([batch, tokens, width], |row, sums| {
            vectorize(AddProducts {
                a: gradient.at(row),
                b: y.at(row),
                sums,
            });
        });
        let of_y = each_row(batch * tokens, width, |row, out| {
            let gate = gate.row(row / tokens, 0);
            for (out, (gradient, gate)) in out.iter_mut().zip(gradient.at(row).iter().zip(gate)) {
                *out = gradient * gate;
            }
        });
        [tensor(gates, [batch, 1, width]), tensor(of_y, shape)]
    }
}

/// `sums += a · b`, element by element.
pub(crate) struct AddProducts<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (sum, (a, b)) in self.sums.iter_mut().zip(self.a.iter().zip(self.b)) {
            *sum = multiply_add(*a, *b, *sum);
        }
    }
}

#[derive(Debug, Clone)]
struct GatedResidual;

impl<B: ResidualGradients> Gradients<B, 3> for GatedResidual {
    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [false, true, true]
    }

    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 3],
        gradient: FloatTensor<B>,
        wanted: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let [_, gate, y] = inputs;
        let [gate, y] = kept([gate, y]);
        let more =
            (wanted[1] || wanted[2]).then(|| B::gated_residual_backward(gate, y, gradient.clone()));
        let [gate, y] = more.map_or([None, None], |more| more.map(Some));
        [Some(gradient), gate, y]
    }
}

impl<B: ResidualOps + ResidualGradients, C: Strategy> ResidualOps for Autodiff<B, C> {
    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(GatedResidual, [x, gate, y], |[x, gate, y]| {
            B::gated_residual(x, gate, y)
        })
    }
}
