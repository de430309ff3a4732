//! How far a student's attention outputs are from a teacher's.
//!
//! Source: X2I train/train_*.py. Both sides are normalized over the features, softened by a temperature, and compared
//! by KL(student ‖ teacher): PyTorch's `kl_div` is called there with the teacher's logarithm as input and the student
//! as target. Everything is f32.

use burn::tensor::{Tensor, activation};

/// Added to the standard deviation.
const EPS: f32 = 1e-7;

/// The sum over tokens of KL(student ‖ teacher), divided by the batch: a number. Both are `[batch, tokens, features]`;
/// the gradient flows to the student alone.
///
/// A row of one value everywhere has the gradient that PyTorch gives: as if its deviation, 0, were a constant.
///
/// # Panics
/// When the shapes differ.
pub fn attention_divergence(student: Tensor<3>, teacher: Tensor<3>, temperature: f32) -> Tensor<1> {
    assert_eq!(student.dims(), teacher.dims(), "both see the same tokens");
    let batch = student.dims()[0];
    let log_teacher = softened(teacher, temperature);
    let log_student = softened(student, temperature);
    let divergence = log_student.clone().exp() * (log_student - log_teacher);
    divergence.sum() / batch as f32
}

/// The logarithm of the softmax of the normalized features over the temperature.
fn softened(x: Tensor<3>, temperature: f32) -> Tensor<3> {
    activation::log_softmax(normalized(x) / temperature, 2)
}

/// `(x - mean) / (1e-7 + std)` over the features, whose variance divides by one less than their number.
pub(super) fn normalized(x: Tensor<3>) -> Tensor<3> {
    let features = x.dims()[2];
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().sum_dim(2) / (features.max(2) - 1) as f32;
    // The root's slope at 0 is infinite; a constant row takes another way.
    let constant = variance.clone().detach().equal_elem(0.0);
    let deviation = variance.mask_fill(constant.clone(), 1.0).sqrt();
    let deviation = deviation.mask_fill(constant, 0.0);
    centred / (deviation + EPS)
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
