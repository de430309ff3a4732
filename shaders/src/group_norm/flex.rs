//! GroupNorm on the CPU: one pass for the moments, one that normalizes and activates, both parallel.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};
use rayon::prelude::*;

use super::Activation;
use crate::vectorize::{Kernel, exp, fold, multiply_add, vectorize};

/// Values of a task: 64 kB, which the second pass over a task still finds in the cache.
const TASK: usize = 16 * 1024;

pub(crate) fn moments(x: FlexTensor, groups: usize) -> FlexTensor {
    let len = x.layout().num_elements();
    if x.dtype() != DType::F32 || len == 0 {
        return super::composed_moments::<Flex>(x, groups);
    }
    let x = x.to_contiguous();
    let batch = x.layout().shape()[0];
    let moments: Vec<f32> = x
        .storage::<f32>()
        .par_chunks_exact(len / (batch * groups))
        .flat_map_iter(|group| {
            let tasks = group.par_chunks(TASK);
            let all = tasks.map(|values| vectorize(Moments { values }));
            let all = all.reduce(Partial::default, Partial::join);
            [all.mean as f32, (all.squares / all.count) as f32]
        })
        .collect();
    let layout = Layout::contiguous(Shape::new([batch, groups, 2]));
    FlexTensor::new(Bytes::from_elems(moments), layout, DType::F32)
}

/// Count, mean and sum of squared deviations of some values.
#[derive(Debug, Clone, Copy, Default)]
struct Partial {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Partial {
    /// Chan, Golub and LeVeque, "Updating formulae" (1979): without the cancellation of E[x²] - E[x]².
    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares
                + other.squares
                + apart * apart * self.count * other.count / count,
        }
    }
}

/// The moments of one task in two passes.
struct Moments<'a> {
    values: &'a [f32],
}

impl Kernel for Moments<'_> {
    type Output = Partial;

    #[inline(always)]
    fn call(self) -> Partial {
        let count = self.values.len() as f64;
        let mean = f64::from(fold(self.values, 0.0, |a, b| a + b)) / count;
        let centre = mean as f32;
        let squares = fold_squares(self.values, centre);
        Partial {
            count,
            mean,
            squares: f64::from(squares),
        }
    }
}

/// The sum of squared distances from `centre`, in independent lanes.
#[inline(always)]
fn fold_squares(values: &[f32], centre: f32) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            let apart = value - centre;
            *lane = multiply_add(apart, apart, *lane);
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += (value - centre) * (value - centre);
    }
    fold(&lanes, 0.0, |a, b| a + b)
}

pub(crate) fn normalize(
    x: FlexTensor,
    moments: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    eps: f32,
    activation: Activation,
) -> FlexTensor {
    let tensors = [&x, &moments, &weight, &bias];
    let all_f32 = tensors.iter().all(|tensor| tensor.dtype() == DType::F32);
    let (len, shape) = (x.layout().num_elements(), x.layout().shape().clone());
    if !all_f32 || len == 0 {
        return super::composed_normalize::<Flex>(x, moments, weight, bias, eps, activation);
    }
    let (channels, pixels) = (shape[1], shape[2] * shape[3]);
    let groups = moments.layout().shape()[1];
    let [moments, weight, bias] = [moments, weight, bias].map(|tensor| tensor.to_contiguous());
    let line = |plane: usize| {
        let (group, channel) = (plane / (channels / groups), plane % channels);
        let [mean, variance] = [0, 1].map(|moment| moments.storage::<f32>()[2 * group + moment]);
        let slope = weight.storage::<f32>()[channel] / (variance + eps).sqrt();
        (mean, slope, bias.storage::<f32>()[channel])
    };
    let apply = |plane: usize, values: &mut [f32]| {
        let (mean, slope, bias) = line(plane);
        vectorize(Normalize {
            values,
            mean,
            slope,
            bias,
            activation,
        });
    };
    let whole = x.to_contiguous();
    drop(x); // or nobody would be the only holder
    let mut x = whole;
    if let Some(values) = x.try_storage_mut::<f32>() {
        let planes = values.par_chunks_exact_mut(pixels).enumerate();
        planes.for_each(|(plane, values)| {
            let tasks = values.par_chunks_mut(TASK);
            tasks.for_each(|values| apply(plane, values));
        });
        return x;
    }
    let mut out = vec![0.0; len];
    let planes = out.par_chunks_exact_mut(pixels).enumerate();
    planes
        .zip(x.storage::<f32>().par_chunks_exact(pixels))
        .for_each(|((plane, out), x)| {
            let tasks = out.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
            tasks.for_each(|(out, x)| {
                out.copy_from_slice(x);
                apply(plane, out);
            });
        });
    FlexTensor::new(
        Bytes::from_elems(out),
        Layout::contiguous(shape),
        DType::F32,
    )
}

/// `activation((value - mean) · slope + bias)` in place.
struct Normalize<'a> {
    values: &'a mut [f32],
    mean: f32,
    slope: f32,
    bias: f32,
    activation: Activation,
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for value in self.values.iter_mut() {
            *value = multiply_add(*value - self.mean, self.slope, self.bias);
        }
        if self.activation == Activation::None {
            return;
        }
        for value in self.values {
            // sigmoid(x) from e^-|x|, which can't overflow.
            let x = *value;
            let e = exp(-x.abs());
            let above = if x < 0.0 { e } else { 1.0 };
            *value = x * (above / (1.0 + e));
        }
    }
}
