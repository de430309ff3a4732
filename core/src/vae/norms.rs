//! Where a GroupNorm gets its moments: from what it normalizes, or from a picture it sees a part of.

use burn::tensor::Tensor;
use x2i_shaders::Activation;

use crate::nn::GroupNorm;

/// Moments for a run of norms, in the order in which they are applied.
pub(super) enum Norms {
    /// Each norm measures what it normalizes.
    Own,
    /// All pictures of a batch are normalized together, and the moments `[1, groups, 2]` kept; of
    /// every `[outer]` values of a side the outermost `[margin]` are not measured.
    Measure {
        found: Vec<Tensor<3>>,
        margin: usize,
        outer: usize,
    },
    /// What was measured, and how many norms have had theirs.
    Given {
        moments: Vec<Tensor<3>>,
        next: usize,
    },
}

impl Norms {
    /// Normalizes `[batch, channels, height, width]`.
    pub(super) fn apply(
        &mut self,
        norm: &GroupNorm,
        x: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        let moments = match self {
            Self::Own => norm.moments(x.clone()),
            Self::Measure {
                found,
                margin,
                outer,
            } => {
                let moments = together(norm.moments(inside(x.clone(), *margin, *outer)));
                found.push(moments.clone());
                moments
            }
            Self::Given { moments, next } => {
                *next += 1;
                moments[*next - 1].clone()
            }
        };
        let [_, groups, two] = moments.dims();
        let moments = moments.expand([x.dims()[0], groups, two]);
        norm.forward(x, moments, activation)
    }
}

/// Without the margin, which is measured in `outer`ths of a side.
fn inside(x: Tensor<4>, margin: usize, outer: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let [top, left] = [height, width].map(|side| side * margin / outer);
    x.slice([0..batch, 0..channels, top..height - top, left..width - left])
}

/// Moments `[batch, groups, 2]` of parts of one size, as those of all parts: `[1, groups, 2]`.
fn together(moments: Tensor<3>) -> Tensor<3> {
    let [batch, groups, _] = moments.dims();
    let mean = moments.clone().slice([0..batch, 0..groups, 0..1]);
    let variance = moments.slice([0..batch, 0..groups, 1..2]);
    let whole = mean.clone().mean_dim(0);
    let between = (mean - whole.clone()).square().mean_dim(0);
    Tensor::cat(vec![whole, variance.mean_dim(0) + between], 2)
}
