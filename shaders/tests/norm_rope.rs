//! Norm and rotation of heads, and a gradient through all passes of a block, on every device against the naive oracle.

mod common;
#[path = "common/views.rs"]
mod views;

use burn::tensor::{Device, Tensor};
use common::{Values, assert_close, devices};
use views::{EPS, TOLERANCE, VIEWS, rows, tensor};
use x2i_shaders::{
    Heads, gated_residual, gelu_tanh_after, modulated_layer_norm, norm_rope, reference, rms_norm,
};

/// A central difference in f32 with a step of 1e-2.
const GRADIENT_TOLERANCE: f32 = 2e-3;

/// One stream: `x [batch, tokens, heads, head_dim]` and its weight.
struct Stream {
    tokens: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
}

impl Stream {
    fn new(seed: usize, [batch, tokens, width]: [usize; 3], head_dim: usize) -> Self {
        Self {
            tokens,
            x: rows(seed, [batch, tokens, width], 1.0),
            weight: Values::new(seed as u64 + 90).normals(head_dim),
        }
    }

    fn heads(&self, batch: usize, of: fn(Tensor<3>) -> Tensor<3>, device: &Device) -> Heads {
        let width = self.x.len() / batch / self.tokens;
        Heads {
            x: of(tensor(&self.x, [batch, self.tokens, width], device)),
            weight: tensor(&self.weight, [self.weight.len()], device),
        }
    }
}

/// Norms every stream, joins tokens, moves heads before tokens and rotates.
fn expected_norm_rope(
    streams: &[&Stream],
    [batch, heads, head_dim]: [usize; 3],
    cos: &[f32],
    sin: &[f32],
) -> Vec<f32> {
    let normed: Vec<_> = streams
        .iter()
        .map(|stream| reference::rms_norm(&stream.x, &stream.weight, EPS))
        .collect();
    let mut joint = vec![];
    for b in 0..batch {
        for head in 0..heads {
            for (stream, normed) in streams.iter().zip(&normed) {
                for token in 0..stream.tokens {
                    let start = ((b * stream.tokens + token) * heads + head) * head_dim;
                    joint.extend_from_slice(&normed[start..start + head_dim]);
                }
            }
        }
    }
    reference::rotate_neighbours(&joint, cos, sin)
}

#[test]
fn heads_are_normed_turned_and_joined() {
    for [batch, heads, x_tokens, more_tokens, head_dim] in [
        [1, 1, 1, 1, 2],
        [2, 3, 5, 7, 6],
        [1, 2, 33, 16, 64],
        [2, 2, 4, 9, 128],
    ] {
        let width = heads * head_dim;
        let x = Stream::new(1, [batch, x_tokens, width], head_dim);
        let more = Stream::new(2, [batch, more_tokens, width], head_dim);
        for joint in [false, true] {
            let streams: &[&Stream] = if joint { &[&x, &more] } else { &[&x] };
            let tokens = streams.iter().map(|stream| stream.tokens).sum();
            // Not of one angle for each pair: the kernels must read each channel's own.
            let cos = Values::new(5).normals(tokens * head_dim);
            let sin = Values::new(6).normals(tokens * head_dim);
            let expected = expected_norm_rope(streams, [batch, heads, head_dim], &cos, &sin);
            for (name, device) in devices() {
                for (view, of) in VIEWS.into_iter().enumerate() {
                    let more = joint.then(|| more.heads(batch, of, device));
                    let angles = |values| tensor(values, [tokens, head_dim], device);
                    let x = x.heads(batch, of, device);
                    let found = norm_rope(x, more, angles(&cos), angles(&sin), EPS);
                    assert_eq!(found.dims(), [batch, heads, tokens, head_dim]);
                    let case = format!(
                        "{heads} heads of {head_dim}, joint {joint}, view {view} on {name}"
                    );
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn gradients_match_finite_differences() {
    let (shape, angles) = ([1, 2, 4], Values::new(3).normals(16));
    let values = Values::new(4).normals(8);
    let loss = |x: Tensor<3>, device: &Device| {
        let weight = || tensor(&[0.5, -1.0, 2.0, 1.5], [4], device);
        let gate = || tensor(&[0.3, 1.0, -0.7, 0.2], [1, 1, 4], device);
        let x = gated_residual(
            x.clone(),
            gate(),
            modulated_layer_norm(rms_norm(x, weight(), 0.1), gate(), gate(), 0.1),
        );
        let heads = |x: Tensor<3>| Heads {
            x,
            weight: weight(),
        };
        let turned = norm_rope(
            heads(x.clone()),
            Some(heads(x.clone())),
            tensor(&angles, [4, 4], device),
            tensor(&angles, [4, 4], device),
            0.1,
        );
        gelu_tanh_after(turned.reshape([1, 4, 4]).narrow(1, 1, 2), x).sum()
    };
    let device = Device::flex();
    let autodiff = device.clone().autodiff();
    let x = tensor(&values, shape, &autodiff).require_grad();
    let gradients = loss(x.clone(), &autodiff).backward();
    let numeric: Vec<f32> = (0..values.len())
        .map(|element| {
            let at = |step: f32| -> f32 {
                let mut values = values.clone();
                values[element] += step;
                loss(tensor(&values, shape, &device), &device).into_scalar()
            };
            (at(1e-2) - at(-1e-2)) / 2e-2
        })
        .collect();
    let gradient = x.grad(&gradients).expect("the input takes part");
    assert_close("gradient", gradient, &numeric, GRADIENT_TOLERANCE);
}
