//! How far a student's features are from a teacher's: KL(student ‖ teacher) of softened, normalized features.
//!
//! Source: X2I train/train_*.py. Each row is normalized, `(x - mean) / (1e-7 + std)` with a variance that divides by one
//! less than its length, divided by a temperature, and made a distribution by a softmax. Composed, a way forth and
//! back would make sixty passes over the attention outputs of every block. Left out: kernels for GPUs.

mod backward;
mod composed;
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// The divergence of every row: `[batch, tokens, 1]`, f32.
///
/// `student` and `teacher` are `[batch, tokens, features]`, f32; the gradient flows to the student alone. A row of one
/// value everywhere has the gradient that PyTorch gives: its deviation, 0, counts as a constant.
///
/// # Panics
/// When the shapes differ.
pub fn divergence(student: Tensor<3>, teacher: Tensor<3>, temperature: f32) -> Tensor<3> {
    assert_eq!(
        student.dims(),
        teacher.dims(),
        "divergence: both need one shape"
    );
    let (student, teacher) = (student.into_dispatch(), teacher.into_dispatch());
    let out = <Dispatch as DivergenceOps>::divergence(student, teacher, temperature);
    Tensor::from_dispatch(out)
}

/// What a backend may replace; shapes as in the function above, which checks them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait DivergenceOps: Backend {
    /// [`divergence`].
    fn divergence(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        composed::divergence::<Self>(student, teacher, temperature)
    }

    /// The gradient of the student, of both inputs and the gradient `[batch, tokens, 1]` of every row's divergence.
    fn divergence_gradient(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        composed::divergence_gradient::<Self>(student, teacher, gradient, temperature)
    }
}

/// GPUs run the composed bodies.
impl DivergenceOps for burn_cubecl::CubeBackend {}
