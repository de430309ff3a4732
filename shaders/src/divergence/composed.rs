//! The divergence made of burn operations: correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

/// Added to the standard deviation.
pub(crate) const EPS: f32 = 1e-7;

/// A row's centred features, its deviation, and the logarithm of its distribution.
struct Softened<B: Backend> {
    centred: FloatTensor<B>,
    deviation: FloatTensor<B>, // [.., 1]
    log: FloatTensor<B>,
}

fn softened<B: Backend>(x: FloatTensor<B>, temperature: f32) -> Softened<B> {
    let features = x.shape()[2];
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, 2));
    let squares = B::float_sum_dim(B::float_mul(centred.clone(), centred.clone()), 2);
    let freedom = (features.max(2) - 1) as f32;
    let deviation = B::float_sqrt(B::float_div_scalar(squares, freedom.into()));
    let size = B::float_add_scalar(deviation.clone(), EPS.into());
    let z = B::float_div(centred.clone(), size);
    let z = B::float_div_scalar(z, temperature.into());
    let z = B::float_sub(z.clone(), B::float_max_dim(z, 2));
    let sum = B::float_sum_dim(B::float_exp(z.clone()), 2);
    Softened {
        centred,
        deviation,
        log: B::float_sub(z, B::float_log(sum)),
    }
}

pub(crate) fn divergence<B: Backend>(
    student: FloatTensor<B>,
    teacher: FloatTensor<B>,
    temperature: f32,
) -> FloatTensor<B> {
    let (mine, its) = (
        softened::<B>(student, temperature),
        softened::<B>(teacher, temperature),
    );
    let ratio = B::float_sub(mine.log.clone(), its.log);
    B::float_sum_dim(B::float_mul(B::float_exp(mine.log), ratio), 2)
}

/// With `f` the logarithm of student over teacher and `q` the student's distribution, the slope of the divergence `L`
/// along the softened features is `q (f - L)`.
pub(crate) fn divergence_gradient<B: Backend>(
    student: FloatTensor<B>,
    teacher: FloatTensor<B>,
    gradient: FloatTensor<B>,
    temperature: f32,
) -> FloatTensor<B> {
    let features = student.shape()[2];
    let (mine, its) = (
        softened::<B>(student, temperature),
        softened::<B>(teacher, temperature),
    );
    let share = B::float_exp(mine.log.clone());
    let ratio = B::float_sub(mine.log, its.log);
    let sum = B::float_sum_dim(B::float_mul(share.clone(), ratio.clone()), 2);
    let slope = B::float_mul(share, B::float_sub(ratio, sum));
    let slope = B::float_mul(B::float_div_scalar(slope, temperature.into()), gradient);
    let size = B::float_add_scalar(mine.deviation.clone(), EPS.into());
    let along = B::float_sum_dim(B::float_mul(slope.clone(), mine.centred.clone()), 2);
    // The deviation's own slope; a row without deviation has no centred features either.
    let freedom = (features.max(2) - 1) as f32;
    let own = B::float_mul_scalar(mine.deviation, freedom.into());
    let own = B::float_add_scalar(own, f32::MIN_POSITIVE.into());
    let along = B::float_div(B::float_div(along, size.clone()), own);
    let slope = B::float_sub(slope.clone(), B::float_mean_dim(slope, 2));
    let slope = B::float_sub(slope, B::float_mul(mine.centred, along));
    B::float_div(slope, size)
}
