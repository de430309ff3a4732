//! The attention of FLUX's blocks on the CPU, a wgpu adapter and one with cooperative matrices, against the naive
//! oracles.

mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::tensor::Device;
use common::{Values, assert_close, devices, tensor};
use x2i_shaders::reference::{self, AttentionShape};
use x2i_shaders::{Heads, InputBits, Qkv, halves_activations, joint_attention};

/// f32 sums over at most 150 terms in another order, and the exponential's error.
const TOLERANCE: f32 = 2e-5;

/// Queries, keys, values and weights are rounded to 11 bits.
const HALF_TOLERANCE: f32 = 3e-3;

/// On a processor that multiplies bf16 they are rounded to 8 bits where the heads are wide; scores are up to 30.
const ROUNDED_TOLERANCE: f32 = 3e-2;

const EPS: f32 = 1e-6;

/// `[batch, heads, head_dim]`.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    head_dim: usize,
}

/// One stream: its projection `[batch, tokens, 3 * heads * head_dim]`, and the norms' weights.
struct Stream {
    tokens: usize,
    qkv: Vec<f32>,
    weights: [Vec<f32>; 2],
}

impl Stream {
    fn new(seed: u64, tokens: usize, sizes: Sizes, magnitude: f32) -> Self {
        let width = sizes.heads * sizes.head_dim;
        let qkv = Values::new(seed).normals(sizes.batch * tokens * 3 * width);
        // Values alone are of this magnitude: queries and keys are normed.
        let value = |(i, x): (usize, f32)| match i % (3 * width) < 2 * width {
            true => x,
            false => x * magnitude,
        };
        Self {
            tokens,
            qkv: qkv.into_iter().enumerate().map(value).collect(),
            weights: [1, 2].map(|more| Values::new(seed + more).normals(sizes.head_dim)),
        }
    }

    /// The heads of one third of a batch item's token, `[heads, head_dim]`.
    fn third(&self, third: usize, batch: usize, token: usize, width: usize) -> &[f32] {
        let row = (batch * self.tokens + token) * 3 * width;
        &self.qkv[row + third * width..][..width]
    }

    fn load(&self, sizes: Sizes, device: &Device) -> Qkv {
        let width = sizes.heads * sizes.head_dim;
        let qkv = tensor(&self.qkv, [sizes.batch, self.tokens, 3 * width], device);
        let part = |index: usize| qkv.clone().narrow(2, index * width, width);
        let heads = |index: usize| Heads {
            x: part(index),
            weight: tensor(&self.weights[index], [sizes.head_dim], device),
        };
        Qkv {
            q: heads(0),
            k: heads(1),
            v: part(2),
        }
    }
}

/// A third of all streams, `[batch, heads, tokens, head_dim]`, normed unless it is that of the values.
fn heads_of(streams: &[&Stream], third: usize, sizes: Sizes) -> Vec<f32> {
    let Sizes {
        batch,
        heads,
        head_dim,
    } = sizes;
    let mut all = vec![];
    for (b, head) in (0..batch * heads).map(|i| (i / heads, i % heads)) {
        for stream in streams {
            for token in 0..stream.tokens {
                let row = stream.third(third, b, token, heads * head_dim);
                let row = &row[head * head_dim..][..head_dim];
                match stream.weights.get(third) {
                    Some(weight) => all.extend(reference::rms_norm(row, weight, EPS)),
                    None => all.extend(row),
                }
            }
        }
    }
    all
}

fn check(sizes: Sizes, tokens: &[usize], magnitude: f32) {
    let Sizes {
        batch,
        heads,
        head_dim,
    } = sizes;
    let streams: Vec<Stream> = (0..)
        .zip(tokens)
        .map(|(i, &tokens)| Stream::new(10 * i + 1, tokens, sizes, magnitude))
        .collect();
    let all: Vec<&Stream> = streams.iter().collect();
    let tokens: usize = tokens.iter().sum();
    let angles = Values::new(5).normals(tokens * head_dim / 2);
    let table = |turn: fn(f32) -> f32| -> Vec<f32> {
        let pairs = angles.iter().map(|&angle| turn(3.0 * angle));
        pairs.flat_map(|value| [value, value]).collect()
    };
    let (cos, sin) = (table(f32::cos), table(f32::sin));
    let [q, k] =
        [0, 1].map(|third| reference::rotate_neighbours(&heads_of(&all, third, sizes), &cos, &sin));
    let v = heads_of(&all, 2, sizes);
    let shape = AttentionShape {
        batch,
        heads,
        kv_heads: heads,
        q_tokens: tokens,
        kv_tokens: tokens,
        head_dim,
    };
    let scale = (head_dim as f32).sqrt().recip();
    let out = reference::attention(&q, &k, &v, None, scale, shape);
    let mut expected = vec![];
    for (b, token) in (0..batch * tokens).map(|i| (i / tokens, i % tokens)) {
        for head in 0..heads {
            let row = ((b * heads + head) * tokens + token) * head_dim;
            expected.extend_from_slice(&out[row..][..head_dim]);
        }
    }
    let floats = devices().iter();
    let exact = InputBits::Sixteen;
    let floats = floats.map(|(name, device)| (*name, device, TOLERANCE, exact));
    let halves = matrices::device().map(|device| ("matrices", device, HALF_TOLERANCE, exact));
    let cpu = Device::flex();
    let rounded = (
        "cpu, rounded",
        &cpu,
        ROUNDED_TOLERANCE,
        InputBits::AsWeights,
    );
    for (name, device, tolerance, input_bits) in floats.chain(halves).chain([rounded]) {
        let case = format!("{name}: {tokens} tokens, {heads} heads of {head_dim}, {magnitude}");
        let more = streams.get(1).map(|stream| stream.load(sizes, device));
        let [cos, sin] = [&cos, &sin].map(|table| tensor(table, [tokens, head_dim], device));
        let found = joint_attention(
            streams[0].load(sizes, device),
            more,
            [cos, sin],
            EPS,
            input_bits,
        );
        assert_eq!(found.dims(), [batch, tokens, heads * head_dim], "{case}");
        let half = halves_activations(device) && head_dim % 8 == 0 && tokens > 16;
        assert_eq!(found.is_half(), half, "{case}");
        assert_close(&case, found.to_f32(), &expected, tolerance);
    }
}

#[test]
fn one_stream_and_two_match_the_reference() {
    for head_dim in [16, 32, 64, 128, 20] {
        for [batch, heads] in [[1, 3], [2, 2]] {
            let sizes = Sizes {
                batch,
                heads,
                head_dim,
            };
            for tokens in [&[37][..], &[7, 90], &[64, 1], &[3, 5]] {
                check(sizes, tokens, 1.0);
            }
        }
    }
}

#[test]
fn wide_heads_match_the_reference() {
    let sizes = Sizes {
        batch: 1,
        heads: 8,
        head_dim: 128,
    };
    check(sizes, &[37], 1.0);
    check(sizes, &[7, 90], 1.0);
}

#[test]
fn values_up_to_a_million_keep_their_precision() {
    let sizes = Sizes {
        batch: 1,
        heads: 2,
        head_dim: 64,
    };
    for magnitude in [1e-2, 1e4, 6e4, 2e5] {
        check(sizes, &[20, 33], magnitude);
    }
}
