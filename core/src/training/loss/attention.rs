//! How far a student's attention outputs are from a teacher's.
//!
//! Source: X2I train/train_*.py. Both sides are normalized over the features, softened by a temperature, and compared
//! by KL(student ‖ teacher): PyTorch's `kl_div` is called there with the teacher's logarithm as input and the student
//! as target. Everything is f32.

use burn::tensor::Tensor;
use x2i_shaders::divergence;

/// The sum over tokens of KL(student ‖ teacher), divided by the batch: a number. Both are `[batch, tokens, features]`;
/// the gradient flows to the student alone.
///
/// # Panics
/// When the shapes differ.
pub fn attention_divergence(student: Tensor<3>, teacher: Tensor<3>, temperature: f32) -> Tensor<1> {
    let batch = student.dims()[0];
    divergence(student, teacher, temperature).sum() / batch as f32
}

/// The mean square of the difference over that of the teacher: a number. Any shape.
///
/// It keeps the scale that [`attention_divergence`] takes away; the recipe of the embedded model uses it.
///
/// # Panics
/// When the shapes differ.
pub fn relative_error<const D: usize>(student: Tensor<D>, teacher: Tensor<D>) -> Tensor<1> {
    assert_eq!(student.dims(), teacher.dims(), "both have one shape");
    let size = teacher.clone().square().mean();
    (student - teacher).square().mean() / size
}
