//! Products with what follows them, and what lies between products, on the CPU, a wgpu adapter and one with
//! cooperative matrices, against the naive oracles.

mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::tensor::{Bytes, Device, Tensor};
use common::{Values, assert_close, devices, tensor};
use x2i_shaders::{
    Activations, BlockQuantized, BlockType, Gated, InputBits, Weight, gated_residual,
    halves_activations, linear, modulated_activations, product, product_gated, product_gelu,
    product_gelu_after, reference,
};

/// f32 sums over up to 1100 terms in another order, twice.
const TOLERANCE: f32 = 1e-5;

/// Factors and what lies between two products are rounded to 11 bits: 5e-4 each, less of a sum.
const HALF_TOLERANCE: f32 = 2e-3;

/// Every device with its tolerance.
fn all() -> impl Iterator<Item = (&'static str, &'static Device, f32)> {
    let floats = devices().iter();
    let floats = floats.map(|(name, device)| (*name, device, TOLERANCE));
    let halves = matrices::device().map(|device| ("matrices", device, HALF_TOLERANCE));
    floats.chain(halves)
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32 data")
}

fn scaled(values: Vec<f32>, magnitude: f32) -> Vec<f32> {
    values.into_iter().map(|value| value * magnitude).collect()
}

/// A layer's numbers: a dense weight `[rows, cols]`, or the same in blocks of bf16, and a bias.
struct Layer {
    weight: Vec<f32>,
    bias: Vec<f32>,
    shape: [usize; 2],
    blocks: bool,
}

/// A layer on a device.
struct Loaded {
    dense: Tensor<2>,
    blocks: Option<BlockQuantized>,
    bias: Tensor<1>,
}

impl Layer {
    fn new(seed: u64, [rows, cols]: [usize; 2], blocks: bool) -> Self {
        // Sums of about one.
        let size = (cols as f32).sqrt().recip();
        let weight = scaled(Values::new(seed).normals(rows * cols), size);
        let bf16 = |x: f32| f32::from_bits(x.to_bits() & 0xffff_0000);
        Self {
            weight: weight.into_iter().map(bf16).collect(),
            bias: Values::new(seed + 1).normals(rows),
            shape: [rows, cols],
            blocks,
        }
    }

    fn load(&self, device: &Device) -> Loaded {
        let upper = |x: &f32| (x.to_bits() >> 16) as u16;
        let blocks = self.blocks.then(|| {
            let bytes = Bytes::from_elems(self.weight.iter().map(upper).collect::<Vec<u16>>());
            BlockQuantized::from_ggml(bytes, BlockType::BF16, self.shape, device).expect("blocks")
        });
        Loaded {
            dense: tensor(&self.weight, self.shape, device),
            blocks,
            bias: tensor(&self.bias, [self.shape[0]], device),
        }
    }

    fn of(&self, x: &[f32]) -> Vec<f32> {
        reference::linear(x, &self.weight, Some(&self.bias), self.shape[1])
    }
}

impl Loaded {
    fn weight(&self) -> Weight<'_> {
        match &self.blocks {
            Some(blocks) => Weight::Blocks(blocks),
            None => Weight::Dense(&self.dense, InputBits::Sixteen),
        }
    }
}

/// `x + gate · y` of tensors `[batch, tokens, width]`.
fn gated(x: &[f32], gate: &[f32], y: &[f32], [batch, tokens, width]: [usize; 3]) -> Vec<f32> {
    let part = |b: usize| b * tokens * width..(b + 1) * tokens * width;
    let parts = (0..batch).flat_map(|b| {
        let gate = &gate[b * width..][..width];
        reference::gated_residual(&x[part(b)], gate, &y[part(b)])
    });
    parts.collect()
}

/// The two products of an MLP with all that stands between and behind them; `width` of the hidden layer.
fn check_mlp([batch, tokens, cols]: [usize; 3], width: usize, blocks: bool, magnitude: f32) {
    let seed = (tokens * cols + width) as u64;
    let (first, second) = (
        Layer::new(seed, [width, cols], blocks),
        Layer::new(seed + 2, [cols, width], blocks && width.is_multiple_of(32)),
    );
    let shape = [batch, tokens, cols];
    let count = batch * tokens * cols;
    let x = scaled(Values::new(1).normals(count), magnitude);
    let residual = Values::new(2).normals(count);
    let gate = Values::new(3).normals(batch * cols);
    let hidden = reference::gelu_tanh(&first.of(&x));
    let expected = gated(&residual, &gate, &second.of(&hidden), shape);
    for (name, device, tolerance) in all() {
        let case = format!("{name}: {shape:?}, {width}, blocks {blocks}, of about {magnitude}");
        let (first, second) = (first.load(device), second.load(device));
        let inputs = Activations::new(tensor(&x, shape, device));
        let found = product_gelu(inputs, first.weight(), first.bias.clone());
        assert_eq!(found.dims(), [batch, tokens, width], "{case}");
        let half = halves_activations(device) && batch * tokens > 8;
        assert_eq!(found.is_half(), half, "{case}");
        assert_close(&case, found.clone().to_f32(), &hidden, tolerance);
        let plain = product(found.clone(), second.weight(), Some(second.bias.clone()));
        // The gate is a slice, as a modulation gives it.
        let gates = tensor(&gate, [batch, 1, cols], device);
        let gates = Tensor::cat(vec![gates.clone() + 9.0, gates], 2).narrow(2, cols, cols);
        let to = Gated {
            residual: tensor(&residual, shape, device),
            gate: gates,
        };
        let found = product_gated(found, second.weight(), second.bias.clone(), to.clone());
        assert_close(&case, found.clone(), &expected, tolerance);
        let apart = gated_residual(to.residual, to.gate, plain);
        match half {
            // The same sums: no rounding lies between them.
            true => assert_close(&case, found, &floats(apart), TOLERANCE),
            false => assert_eq!(floats(found), floats(apart), "{case}"),
        }
    }
}

#[test]
fn an_mlp_matches_the_reference() {
    for shape in [[1, 9, 64], [2, 20, 96], [1, 130, 160], [3, 2, 32]] {
        for width in [128, 224] {
            check_mlp(shape, width, true, 1.0);
            check_mlp(shape, width, false, 1.0);
        }
    }
}

#[test]
fn an_mlp_of_odd_widths_matches_the_reference() {
    check_mlp([1, 17, 33], 75, false, 1.0);
    check_mlp([2, 11, 100], 70, false, 1.0);
    check_mlp([1, 40, 64], 75, true, 1.0);
}

#[test]
fn hidden_values_up_to_a_million_keep_their_precision() {
    for magnitude in [1e-2, 1e4, 6e4, 2e5] {
        check_mlp([1, 40, 64], 128, true, magnitude);
    }
}

#[test]
fn hidden_values_beyond_a_million_stay_finite() {
    let Some(device) = matrices::device() else {
        return;
    };
    let (first, second) = (
        Layer::new(1, [128, 64], true),
        Layer::new(2, [64, 128], true),
    );
    let (first, second) = (first.load(device), second.load(device));
    for magnitude in [1e7, 1e20, 1e30] {
        let x = scaled(Values::new(1).normals(20 * 64), magnitude);
        let x = Activations::new(tensor(&x, [1, 20, 64], device));
        let hidden = product_gelu(x, first.weight(), first.bias.clone());
        let largest = floats(hidden.clone().to_f32())
            .into_iter()
            .fold(0.0, f32::max);
        assert_eq!(largest, 16.0 * 65504.0, "{magnitude}");
        let y = floats(product(hidden, second.weight(), None));
        assert!(y.iter().all(|y| y.is_finite()), "{magnitude}");
    }
    // What is not finite is not lost either.
    for poison in [f32::NAN, f32::INFINITY] {
        let mut x = Values::new(1).normals(20 * 64);
        x[5 * 64 + 3] = poison;
        let x = Activations::new(tensor(&x, [1, 20, 64], device));
        let hidden = product_gelu(x, first.weight(), first.bias.clone());
        let y = floats(product(hidden, second.weight(), None));
        let rows = y.chunks(64).map(|row| row.iter().all(|y| y.is_finite()));
        let expected = (0..20).map(|row| row != 5);
        assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

#[test]
fn columns_side_by_side_are_multiplied_as_one_row() {
    for (tokens, [left, right]) in [(33, [64, 96]), (9, [32, 224]), (70, [96, 32])] {
        let cols = 64;
        let x = Values::new(4).normals(tokens * cols);
        let layers = [
            Layer::new(5, [left, cols], true),
            Layer::new(6, [right, cols], true),
        ];
        let last = Layer::new(8, [80, left + right], true);
        let hidden = layers
            .each_ref()
            .map(|layer| reference::gelu_tanh(&layer.of(&x)));
        let joined: Vec<f32> = (0..tokens)
            .flat_map(|row| {
                let [a, b] = [(&hidden[0], left), (&hidden[1], right)];
                [a, b].map(|(values, width)| values[row * width..][..width].to_vec())
            })
            .flatten()
            .collect();
        let y = last.of(&joined);
        let residual = Values::new(9).normals(tokens * 80);
        let gate = Values::new(10).normals(80);
        let expected = gated(&residual, &gate, &y, [1, tokens, 80]);
        for (name, device, tolerance) in all() {
            let case = format!("{name}: {tokens} rows of {left} and {right}");
            let x = Activations::new(tensor(&x, [1, tokens, cols], device));
            let [first, second] = layers.each_ref().map(|layer| layer.load(device));
            let last = last.load(device);
            let found = product_gelu(x.clone(), first.weight(), first.bias.clone());
            let found = product_gelu_after(found, x, second.weight(), second.bias.clone());
            assert_eq!(found.dims(), [1, tokens, left + right], "{case}");
            assert_close(&case, found.clone().to_f32(), &joined, tolerance);
            let plain = product(found.clone(), last.weight(), Some(last.bias.clone()));
            assert_close(&case, plain, &y, tolerance);
            let to = Gated {
                residual: tensor(&residual, [1, tokens, 80], device),
                gate: tensor(&gate, [1, 1, 80], device),
            };
            let found = product_gated(found, last.weight(), last.bias.clone(), to);
            assert_close(&case, found, &expected, tolerance);
        }
    }
}

#[test]
fn parts_of_the_tokens_are_read_where_they_are() {
    let [batch, tokens, cols] = [2, 40, 64];
    let x = Values::new(4).normals(batch * tokens * cols);
    let (first, second) = (
        Layer::new(5, [96, cols], true),
        Layer::new(6, [32, 96], true),
    );
    let hidden = reference::gelu_tanh(&first.of(&x));
    for (name, device, tolerance) in all() {
        let (first, second) = (first.load(device), second.load(device));
        let x = Activations::new(tensor(&x, [batch, tokens, cols], device));
        let found = product_gelu(x, first.weight(), first.bias.clone());
        for (start, length) in [(0, 15), (15, 25), (39, 1)] {
            let part = (0..batch).flat_map(|b| {
                let start = (b * tokens + start) * 96;
                hidden[start..start + length * 96].to_vec()
            });
            let part: Vec<f32> = part.collect();
            let expected =
                reference::linear(&part, &Layer::new(6, [32, 96], true).weight, None, 96);
            let part = found.clone().narrow(1, start, length);
            let case = format!("{name}: {length} tokens from {start} on");
            let found = product(part, second.weight(), None);
            assert_close(&case, found, &expected, tolerance);
        }
    }
}

#[test]
fn a_modulated_norm_for_products_matches_the_reference() {
    for [tokens, width] in [[9, 64], [33, 300], [20, 3072]] {
        let x = Values::new(1).normals(2 * tokens * width);
        let [scale, shift] = [2, 3].map(|seed| Values::new(seed).normals(2 * width));
        let expected = (0..2).flat_map(|b| {
            let modulation = |values: &'_ [f32]| values[b * width..][..width].to_vec();
            let x = &x[b * tokens * width..][..tokens * width];
            reference::modulated_layer_norm(x, &modulation(&scale), &modulation(&shift), 1e-6)
        });
        let expected: Vec<f32> = expected.collect();
        for (name, device, tolerance) in all() {
            let x = tensor(&x, [2, tokens, width], device);
            let [scale, shift] =
                [&scale, &shift].map(|values| tensor(values, [2, 1, width], device));
            let found = modulated_activations(x, scale, shift, 1e-6);
            assert_eq!(found.is_half(), halves_activations(device), "{name}");
            let case = format!("{name}: {tokens} x {width}");
            assert_close(&case, found.to_f32(), &expected, tolerance);
        }
    }
}

#[test]
fn products_of_floats_are_those_that_are_not_joined() {
    let (m, shape) = (40, [70, 96]);
    let layer = Layer::new(1, shape, false);
    let x = Values::new(2).normals(m * shape[1]);
    for (_, device) in devices() {
        let loaded = layer.load(device);
        let x = tensor(&x, [m, shape[1]], device);
        let found = product(
            Activations::new(x.clone()),
            loaded.weight(),
            Some(loaded.bias.clone()),
        );
        let expected = linear(x, loaded.dense, Some(loaded.bias));
        assert_eq!(floats(found), floats(expected));
    }
}
