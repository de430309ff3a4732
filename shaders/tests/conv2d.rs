//! Convolutions on every device against the naive oracle.

mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::tensor::{Device, Tensor};
use common::{Values, assert_close, tensor};
use proptest::prelude::*;
use x2i_shaders::{conv2d, halving_conv2d, reference, upsample_conv2d};

/// Winograd's F(4x4, 3x3) in f32: 3e-6 root mean square of the largest output, at most 1e-5 seen.
const TOLERANCE: f32 = 2e-5;

/// On cooperative matrices both factors are rounded to 11 bits: 5e-4 of each product at most, less of a sum.
const HALF_TOLERANCE: f32 = 2e-3;

/// The name of the device with cooperative matrices.
const MATRICES: &str = "matrices";

/// The devices of every test, one with cooperative matrices among them where there is one; and what each is allowed.
///
/// All are opened before the first is used: the Vulkan loader crashes when devices come while others work.
fn devices() -> impl Iterator<Item = (&'static str, &'static Device, f32)> {
    let plain = common::devices().iter();
    let plain = plain.map(|(name, device)| (*name, device, TOLERANCE));
    plain.chain(matrices::device().map(|device| (MATRICES, device, HALF_TOLERANCE)))
}

/// Sizes of a case: channels in and out, height, width, kernel.
#[derive(Debug, Clone, Copy)]
struct Case {
    channels: [usize; 2],
    size: [usize; 2],
    kernel: usize,
    magnitude: f32,
}

impl Case {
    fn new(channels: [usize; 2], size: [usize; 2], kernel: usize) -> Self {
        Self {
            channels,
            size,
            kernel,
            magnitude: 1.0,
        }
    }
}

#[track_caller]
fn check(case: Case) {
    let Case {
        channels: [input, output],
        size: [height, width],
        kernel,
        magnitude,
    } = case;
    let mut values = Values::new((input * output + height * width) as u64);
    let mut scaled = |count| -> Vec<f32> {
        let values = values.normals(count).into_iter();
        values.map(|value| value * magnitude).collect()
    };
    let (x, bias) = (scaled(input * height * width), scaled(output));
    let weight = Values::new(7).normals(output * input * kernel * kernel);
    let expected = reference::conv2d(&x, &weight, &bias, [height, width], kernel);
    let doubled = reference::twice(&x, width);
    let doubled = reference::conv2d(&doubled, &weight, &bias, [2 * height, 2 * width], kernel);
    for (name, device, tolerance) in devices() {
        let x = tensor(&x, [1, input, height, width], device);
        let weight = tensor(&weight, [output, input, kernel, kernel], device);
        let bias = tensor(&bias, [output], device);
        let found = conv2d(x.clone(), weight.clone(), bias.clone());
        assert_eq!(found.dims(), [1, output, height, width]);
        assert_close(&format!("{case:?} on {name}"), found, &expected, tolerance);
        let found = upsample_conv2d(x, weight, bias);
        assert_eq!(found.dims(), [1, output, 2 * height, 2 * width]);
        assert_close(
            &format!("{case:?} twice on {name}"),
            found,
            &doubled,
            tolerance,
        );
    }
}

#[test]
fn convolutions_match_the_reference_on_odd_sizes() {
    for kernel in [1, 3, 5] {
        check(Case::new([1, 1], [1, 1], kernel));
        check(Case::new([3, 5], [4, 4], kernel));
        check(Case::new([5, 7], [9, 13], kernel));
        check(Case::new([16, 3], [2, 70], kernel));
        check(Case::new([2, 13], [33, 3], kernel));
    }
}

#[test]
fn pictures_wider_than_a_segment_and_higher_than_a_band_have_no_seams() {
    check(Case::new([2, 3], [5, 261], 3));
    check(Case::new([3, 2], [70, 68], 3));
    check(Case::new([65, 40], [20, 24], 3));
    check(Case::new([40, 130], [9, 17], 3));
}

#[test]
fn every_second_place_matches_the_reference() {
    let sizes = [([1, 1], [2, 2]), ([3, 70], [9, 34]), ([37, 5], [16, 33])];
    for ([input, output], [height, width]) in sizes {
        let x = Values::new(1).normals(input * height * width);
        let bias = Values::new(2).normals(output);
        for (kernel, zeros) in [(3, [0, 1]), (3, [1, 1]), (2, [0, 0]), (1, [0, 0])] {
            let weight = Values::new(3).normals(output * input * kernel * kernel);
            let size = [height, width];
            let expected = reference::halving_conv2d(&x, &weight, &bias, size, kernel, zeros);
            for (name, device, tolerance) in devices() {
                let weight = tensor(&weight, [output, input, kernel, kernel], device);
                let x = tensor(&x, [1, input, height, width], device);
                let found = halving_conv2d(x, weight, tensor(&bias, [output], device), zeros);
                let [out_height, out_width] =
                    size.map(|length| (length + zeros[0] + zeros[1] - kernel) / 2 + 1);
                assert_eq!(found.dims(), [1, output, out_height, out_width]);
                let case = format!("{input} of {size:?}, kernel {kernel}, {zeros:?}, on {name}");
                assert_close(&case, found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn channels_of_rising_magnitude_stay_finite() {
    let (input, output, size) = (90, 6, [5, 21]);
    let pixels = size[0] * size[1];
    for steps in [1, 3, 40] {
        // From 1e-20 on, in so many steps up to 1e20; the channels after them are small again.
        let magnitude = |channel: usize| match channel * steps / 80 {
            step if step <= steps => 10f32.powf(40.0 * step as f32 / steps as f32 - 20.0),
            _ => 1e-3,
        };
        let mut x = Values::new(1).normals(input * pixels);
        for (channel, x) in x.chunks_exact_mut(pixels).enumerate() {
            x.iter_mut().for_each(|x| *x *= magnitude(channel));
        }
        let weight = Values::new(2).normals(output * input * 9);
        let bias = Values::new(3).normals(output);
        let expected = reference::conv2d(&x, &weight, &bias, size, 3);
        for (name, device, tolerance) in devices() {
            let weight = tensor(&weight, [output, input, 3, 3], device);
            let x = tensor(&x, [1, input, size[0], size[1]], device);
            let found = conv2d(x, weight, tensor(&bias, [output], device));
            assert_close(
                &format!("{steps} steps on {name}"),
                found,
                &expected,
                tolerance,
            );
        }
    }
}

#[test]
fn a_pixel_that_is_not_finite_is_seen_by_its_neighbours_alone() {
    let Some((_, device, _)) = devices().find(|(name, ..)| *name == MATRICES) else {
        return;
    };
    let (channels, [height, width]) = (20, [11, 19]);
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = Values::new(1).normals(channels * height * width);
        x[(3 * height + 5) * width + 7] = poison;
        let weight = tensor(
            &Values::new(2).normals(4 * channels * 9),
            [4, channels, 3, 3],
            device,
        );
        let x = tensor(&x, [1, channels, height, width], device);
        let found = conv2d(x, weight, tensor(&[0.0; 4], [4], device));
        let found: Vec<f32> = found.into_data().try_to_vec().expect("f32 data");
        for (i, found) in found.into_iter().enumerate() {
            let (y, column) = (i / width % height, i % width);
            let near = y.abs_diff(5) <= 1 && column.abs_diff(7) <= 1;
            assert_eq!(
                found.is_finite(),
                !near,
                "{poison}: row {y}, column {column}"
            );
        }
    }
}

#[test]
fn extreme_magnitudes_stay_finite() {
    for magnitude in [1e-20, 1e20] {
        let case = Case::new([8, 6], [10, 12], 3);
        check(Case { magnitude, ..case });
    }
}

#[test]
fn pictures_of_a_batch_are_convolved_apart_and_strided_views_are_followed() {
    let (size, plane) = ([6, 10], 60);
    let x = Values::new(1).normals(2 * 3 * plane);
    let weight = Values::new(2).normals(4 * 3 * 9);
    let bias = Values::new(3).normals(4);
    for kernel in [1, 3] {
        let weight = &weight[..4 * 3 * kernel * kernel];
        let expected: Vec<f32> = (x.chunks_exact(3 * plane))
            .flat_map(|x| reference::conv2d(x, weight, &bias, size, kernel))
            .collect();
        for (name, device, tolerance) in devices() {
            let weight = tensor(weight, [4, 3, kernel, kernel], device);
            let x = tensor(&x, [2, 3, 6, 10], device);
            let transposed = (x.clone().swap_dims(2, 3) * 1.0).swap_dims(2, 3);
            let wide = Tensor::cat(vec![x.clone() + 9.0, x.clone()], 3);
            let sliced = wide.slice([0..2, 0..3, 0..6, 10..20]);
            for (view, x) in [("plain", x), ("transposed", transposed), ("sliced", sliced)] {
                let found = conv2d(x, weight.clone(), tensor(&bias, [4], device));
                let case = format!("{view}, kernel {kernel}, on {name}");
                assert_close(&case, found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn the_gradients_are_those_of_the_composed_convolution() {
    /// A central difference in f32 with a step of 0.01, of a function that is linear in the weight.
    const GRADIENT_TOLERANCE: f32 = 1e-3;
    let device = Device::flex().autodiff();
    let (x, weight) = (Values::new(1).normals(2 * 12), Values::new(2).normals(18));
    let sum = |weight: &[f32]| -> f32 {
        let x = reference::twice(&x, 4);
        reference::conv2d(&x, weight, &[0.0], [6, 8], 3)
            .iter()
            .sum()
    };
    let leaf = tensor(&weight, [1, 2, 3, 3], &device).require_grad();
    let bias = tensor(&[0.0], [1], &device);
    let out = upsample_conv2d(tensor(&x, [1, 2, 3, 4], &device), leaf.clone(), bias);
    let found = leaf.grad(&out.sum().backward()).expect("a gradient");
    let slopes: Vec<f32> = (0..weight.len())
        .map(|tap| {
            let shifted = |step: f32| {
                let mut weight = weight.clone();
                weight[tap] += step;
                sum(&weight)
            };
            (shifted(0.01) - shifted(-0.01)) / 0.02
        })
        .collect();
    assert_close("gradient", found, &slopes, GRADIENT_TOLERANCE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions_match_the_reference_on_any_shape(
        input in 1usize..20, output in 1usize..20, height in 1usize..40, width in 1usize..90,
    ) {
        check(Case::new([input, output], [height, width], 3));
    }
}
