//! The passes of a transformer block on every device against the naive oracles.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Values, assert_close, devices};
use x2i_shaders::{
    Heads, gated_residual, gelu_tanh_after, modulated_layer_norm, norm_rope, reference, rms_norm,
};

/// f32 sums over at most 3072 terms and a root, relative to the largest value.
const TOLERANCE: f32 = 3e-6;
const EPS: f32 = 1e-6;

/// A central difference in f32 with a step of 1e-2.
const GRADIENT_TOLERANCE: f32 = 2e-3;

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// The middle third of a tensor three times as wide: rows that do not follow each other.
fn sliced(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2];
    Tensor::cat(vec![x.clone() + 9.0, x.clone(), x - 7.0], 2).narrow(2, width, width)
}

/// The same values with the tokens next to each other in memory.
fn transposed(x: Tensor<3>) -> Tensor<3> {
    (x.swap_dims(1, 2) * 1.0).swap_dims(1, 2)
}

const VIEWS: [fn(Tensor<3>) -> Tensor<3>; 3] = [|x| x, sliced, transposed];

/// `[batch, tokens, width]`
const SHAPES: [[usize; 3]; 6] = [
    [1, 1, 1],
    [1, 3, 7],
    [2, 5, 64],
    [3, 17, 130],
    [1, 33, 256],
    [2, 9, 3072],
];

/// Values of every row, with a large common offset in some: what a careless variance loses.
fn rows(seed: usize, [batch, tokens, width]: [usize; 3], magnitude: f32) -> Vec<f32> {
    let mut values = Values::new(seed as u64 + 1).normals(batch * tokens * width);
    for (row, values) in values.chunks_exact_mut(width).enumerate() {
        for value in values {
            *value = (*value + (row % 3) as f32) * magnitude;
        }
    }
    values
}

#[test]
fn a_modulated_layer_norm_matches_the_reference_from_any_view() {
    for (seed, shape) in SHAPES.into_iter().enumerate().skip(1) {
        for magnitude in [1.0, 1e-8, 1e15] {
            let [batch, tokens, width] = shape;
            let x = rows(seed, shape, magnitude);
            let scale = Values::new(7).normals(batch * width);
            let shift = Values::new(8).normals(batch * width);
            let expected: Vec<f32> = (0..batch)
                .flat_map(|b| {
                    let x = &x[b * tokens * width..][..tokens * width];
                    let (scale, shift) =
                        (&scale[b * width..][..width], &shift[b * width..][..width]);
                    reference::modulated_layer_norm(x, scale, shift, EPS)
                })
                .collect();
            for (name, device) in devices() {
                for (view, of) in VIEWS.iter().enumerate() {
                    let found = modulated_layer_norm(
                        of(tensor(&x, shape, device)),
                        sliced(tensor(&scale, [batch, 1, width], device)),
                        sliced(tensor(&shift, [batch, 1, width], device)),
                        EPS,
                    );
                    let case = format!("{shape:?} times {magnitude}, view {view} on {name}");
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn an_rms_norm_matches_the_reference_from_any_view() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for magnitude in [1.0, 1e-8, 1e15] {
            let x = rows(seed, shape, magnitude);
            let weight = Values::new(9).normals(shape[2]);
            let expected = reference::rms_norm(&x, &weight, EPS);
            for (name, device) in devices() {
                for (view, of) in VIEWS.iter().enumerate() {
                    let weight = tensor(&weight, [shape[2]], device);
                    let found = rms_norm(of(tensor(&x, shape, device)), weight, EPS);
                    let case = format!("{shape:?} times {magnitude}, view {view} on {name}");
                    assert_close(&case, found, &expected, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn a_gated_residual_matches_the_reference_and_leaves_held_inputs_alone() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [batch, tokens, width] = shape;
        let (x, y) = (rows(seed, shape, 1.0), rows(seed + 50, shape, 1e3));
        let gate = Values::new(11).normals(batch * width);
        let expected: Vec<f32> = (0..batch)
            .flat_map(|b| {
                let part = b * tokens * width..(b + 1) * tokens * width;
                let gate = &gate[b * width..][..width];
                reference::gated_residual(&x[part.clone()], gate, &y[part])
            })
            .collect();
        for (name, device) in devices() {
            let gate = || tensor(&gate, [batch, 1, width], device);
            let new = || (tensor(&x, shape, device), tensor(&y, shape, device));
            for (view, of) in VIEWS.iter().enumerate() {
                let (x, y) = new();
                let found = gated_residual(of(x), sliced(gate()), of(y));
                let case = format!("{shape:?} view {view} on {name}");
                assert_close(&case, found, &expected, TOLERANCE);
            }
            for held in [[true, true], [true, false], [false, true]] {
                let (held_x, held_y) = new();
                let (x, y) = match held {
                    [true, true] => (held_x.clone(), held_y.clone()),
                    [true, false] => (held_x.clone(), new().1),
                    _ => (new().0, held_y.clone()),
                };
                let case = format!("{shape:?} held {held:?} on {name}");
                assert_close(&case, gated_residual(x, gate(), y), &expected, TOLERANCE);
                assert_close(&case, held_x, &self::rows(seed, shape, 1.0), 0.0);
                assert_close(&case, held_y, &self::rows(seed + 50, shape, 1e3), 0.0);
            }
        }
    }
}

#[test]
fn gelu_follows_the_other_channels() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let [batch, tokens, width] = shape;
        let left_shape = [batch, tokens, 5];
        let (left, right) = (rows(seed, left_shape, 1.0), rows(seed + 1, shape, 2.0));
        let gelu = reference::gelu_tanh(&right);
        let expected: Vec<f32> = left
            .chunks_exact(5)
            .zip(gelu.chunks_exact(width))
            .flat_map(|(left, right)| [left, right].concat())
            .collect();
        for (name, device) in devices() {
            for (view, of) in VIEWS.iter().enumerate() {
                let left = of(tensor(&left, left_shape, device));
                let found = gelu_tanh_after(left, of(tensor(&right, shape, device)));
                assert_close(
                    &format!("{shape:?} view {view} on {name}"),
                    found,
                    &expected,
                    TOLERANCE,
                );
            }
        }
    }
}

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
