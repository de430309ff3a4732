//! Gradients of the divergence: the backend's own kernel makes them of the inputs.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::DivergenceOps;
use crate::autodiff::{Gradients, Strategy, kept, record};

/// A divergence from this teacher.
#[derive(Debug, Clone)]
struct Divergence<B: Backend> {
    teacher: FloatTensor<B>,
    temperature: f32,
}

impl<B: DivergenceOps> Gradients<B, 1> for Divergence<B> {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 1],
        gradient: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        let [student] = kept(inputs);
        let found = B::divergence_gradient(student, self.teacher, gradient, self.temperature);
        [Some(found)]
    }
}

impl<B: DivergenceOps, C: Strategy> DivergenceOps for Autodiff<B, C> {
    fn divergence(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        let teacher = teacher.into_primitive();
        let operation = Divergence::<B> {
            teacher: teacher.clone(),
            temperature,
        };
        record::<B, C, _, _>(operation, [student], |[student]| {
            B::divergence(student, teacher, temperature)
        })
    }
}
