//! GroupNorm on the CPU: one pass for the moments, one that normalizes and activates, both parallel.

use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::GroupNormOps;
use super::composed::{self, Activation};
use crate::cpu::{TASK, all_f32, contiguous, tensor};
use x2i_cpu::vectorize::{Kernel, fold, multiply_add, sigmoid, vectorize};

impl GroupNormOps for Flex {
    fn group_moments(x: FlexTensor, groups: usize) -> FlexTensor {
        let len = x.layout().num_elements();
        if x.dtype() != DType::F32 || len == 0 {
            return composed::group_moments::<Self>(x, groups);
        }
        let x = x.to_contiguous();
        let batch = x.layout().shape()[0];
        let moments: Vec<f32> = x
            .storage::<f32>()
            .par_chunks_exact(len / (batch * groups))
            .flat_map_iter(|group| {
                let tasks = group.par_chunks(TASK);
                let parts = tasks.map(|values| vectorize(Moments { values }));
                // Joined in order: a parallel reduction would round by the number of threads.
                let parts: Vec<Partial> = parts.collect();
                let all = parts.into_iter().fold(Partial::default(), Partial::join);
                [all.mean as f32, (all.squares / all.count) as f32]
            })
            .collect();
        tensor(moments, [batch, groups, 2])
    }

    fn group_normalize(
        x: FlexTensor,
        moments: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        eps: f32,
        activation: Activation,
    ) -> FlexTensor {
        let shape = x.layout().shape().clone();
        if !all_f32([&x, &moments, &weight, &bias]) || shape.num_elements() == 0 {
            return composed::group_normalize::<Self>(x, moments, weight, bias, eps, activation);
        }
        let (channels, pixels) = (shape[1], shape[2] * shape[3]);
        let groups = moments.layout().shape()[1];
        let [moments, weight, bias] = [moments, weight, bias].map(|tensor| tensor.to_contiguous());
        let normalize = |plane: usize, values: &mut [f32]| {
            let (group, channel) = (plane / (channels / groups), plane % channels);
            let [mean, variance] =
                [0, 1].map(|moment| moments.storage::<f32>()[2 * group + moment]);
            vectorize(Normalize {
                values,
                mean,
                slope: weight.storage::<f32>()[channel] / (variance + eps).sqrt(),
                bias: bias.storage::<f32>()[channel],
                activation,
            });
        };
        each_plane(x, pixels, normalize)
    }
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

/// The moments of one task, in two passes.
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

/// Changes every plane of `x [batch, channels, ..]` in parallel, in place where `x` has no other owner.
///
/// `change(plane, values)` gets a part of the plane's values; planes are counted over all batches.
fn each_plane(
    x: FlexTensor,
    pixels: usize,
    change: impl Fn(usize, &mut [f32]) + Sync,
) -> FlexTensor {
    let mut x = contiguous(x);
    if let Some(values) = x.try_storage_mut::<f32>() {
        let planes = values.par_chunks_exact_mut(pixels).enumerate();
        planes.for_each(|(plane, values)| {
            let tasks = values.par_chunks_mut(TASK);
            tasks.for_each(|values| change(plane, values));
        });
        return x;
    }
    let shape = x.layout().shape().clone();
    let mut out = vec![0.0; shape.num_elements()];
    let planes = out.par_chunks_exact_mut(pixels).enumerate();
    planes
        .zip(x.storage::<f32>().par_chunks_exact(pixels))
        .for_each(|((plane, out), x)| {
            let tasks = out.par_chunks_mut(TASK).zip(x.par_chunks(TASK));
            tasks.for_each(|(out, x)| {
                out.copy_from_slice(x);
                change(plane, out);
            });
        });
    tensor(out, shape)
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
            *value *= sigmoid(*value);
        }
    }
}
