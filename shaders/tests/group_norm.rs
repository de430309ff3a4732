//! GroupNorm on every device against the naive oracle.

mod common;

use burn::tensor::{Device, Tensor};
use common::{Values, assert_close, devices, tensor};
use proptest::prelude::*;
use x2i_shaders::{Activation, group_moments, group_normalize, reference};

/// f32 sums of 16384 values, a root, and an exponential of 2 ulp.
const TOLERANCE: f32 = 5e-6;

const EPS: f32 = 1e-6;

/// Sizes of a case: batch, channels, height, width, and groups.
type Case = ([usize; 4], usize);

fn norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    activation: Activation,
) -> Tensor<4> {
    let moments = group_moments(x.clone(), groups);
    group_normalize(x, moments, weight, bias, EPS, activation)
}

#[track_caller]
fn check_values(case: &str, x: &[f32], (shape, groups): Case) {
    let [batch, channels, ..] = shape;
    let mut values = Values::new(x.len() as u64);
    let (weight, bias) = (values.normals(channels), values.normals(channels));
    for activation in [Activation::None, Activation::Silu] {
        let silu = activation == Activation::Silu;
        let expected: Vec<f32> = (x.chunks_exact(x.len() / batch))
            .flat_map(|x| reference::group_norm(x, groups, &weight, &bias, EPS.into(), silu))
            .collect();
        for (name, device) in devices() {
            let [weight, bias] = [&weight, &bias].map(|values| tensor(values, [channels], device));
            let found = norm(tensor(x, shape, device), groups, weight, bias, activation);
            assert_eq!(found.dims(), shape);
            let case = format!("{case}, {shape:?} in {groups}, {activation:?}, on {name}");
            assert_close(&case, found, &expected, TOLERANCE);
        }
    }
}

/// Channels of different means and spreads.
fn uneven([batch, channels, height, width]: [usize; 4]) -> Vec<f32> {
    let mut values = Values::new((channels * height + width) as u64);
    let mut x = Vec::new();
    for channel in 0..batch * channels {
        let (mean, spread) = (channel as f32 - 1.5, 1.0 + channel as f32 % 3.0);
        x.extend((0..height * width).map(|_| mean + spread * values.normal()));
    }
    x
}

fn check(case: Case) {
    check_values("uneven", &uneven(case.0), case);
}

#[test]
fn group_norm_matches_the_reference_on_odd_sizes() {
    check(([1, 1, 1, 2], 1));
    check(([1, 6, 3, 5], 3));
    check(([2, 8, 7, 9], 2));
    check(([1, 5, 33, 31], 5));
    check(([1, 4, 130, 129], 2)); // more than one task and part, the last one short
    check(([3, 2, 1, 1], 2));
}

#[test]
fn a_small_variance_beside_a_large_mean_is_kept() {
    /// Of the variance, where the values themselves are rounded to 1e-5 of the spread.
    const VARIANCE_TOLERANCE: f32 = 1e-4;
    let x: Vec<f32> = Values::new(4).normals(40_000);
    let x: Vec<f32> = x.iter().map(|x| 300.0 + x).collect();
    let moments = reference::group_moments(&x, 2);
    let expected: Vec<f32> = moments.iter().map(|moments| moments[1] as f32).collect();
    for (name, device) in devices() {
        let found = group_moments(tensor(&x, [1, 2, 100, 200], device), 2);
        let variance: Tensor<2> = found.slice([0..1, 0..2, 1..2]).reshape([1, 2]);
        assert_close(name, variance, &expected, VARIANCE_TOLERANCE);
    }
}

#[test]
fn extreme_magnitudes_and_constant_groups_stay_finite() {
    let shape = [1, 4, 9, 10];
    for magnitude in [1e-15, 1e15] {
        let x: Vec<f32> = uneven(shape).iter().map(|x| x * magnitude).collect();
        check_values("extreme", &x, (shape, 2));
    }
    check_values("constant", &[7.0; 360], (shape, 2));
}

#[test]
fn a_shared_or_strided_input_keeps_its_values() {
    let x = uneven([1, 4, 6, 5]);
    let (weight, bias) = (Values::new(1).normals(4), Values::new(2).normals(4));
    let expected = reference::group_norm(&x, 2, &weight, &bias, EPS.into(), true);
    for (name, device) in devices() {
        let [weight, bias] = [&weight, &bias].map(|values| tensor(values, [4], device));
        let plain = tensor(&x, [1, 4, 6, 5], device);
        let transposed = (plain.clone().swap_dims(2, 3) * 1.0).swap_dims(2, 3);
        let wide = Tensor::cat(vec![plain.clone(), plain.clone() + 9.0], 1);
        let first = wide.clone().slice([0..1, 0..4, 0..6, 0..5]);
        for (view, input) in [
            ("plain", plain.clone()),
            ("transposed", transposed),
            ("first", first),
        ] {
            let found = norm(input, 2, weight.clone(), bias.clone(), Activation::Silu);
            assert_close(&format!("{view} on {name}"), found, &expected, TOLERANCE);
        }
        assert_close(&format!("input on {name}"), plain, &x, 0.0);
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_reference() {
    /// A central difference in f32 with a step of 0.01 on values about 1.
    const GRADIENT_TOLERANCE: f32 = 1e-3;
    let device = Device::flex().autodiff();
    let x = Values::new(5).normals(12);
    let (weight, bias, factors) = ([0.5, -1.5], [0.1, 0.2], Values::new(6).normals(12));
    let leaf = tensor(&x, [1, 2, 2, 3], &device).require_grad();
    let [weight_tensor, bias_tensor] = [weight, bias].map(|values| tensor(&values, [2], &device));
    let out = norm(
        leaf.clone(),
        1,
        weight_tensor,
        bias_tensor,
        Activation::Silu,
    );
    let sum = (out * tensor(&factors, [1, 2, 2, 3], &device)).sum();
    let found = leaf.grad(&sum.backward()).expect("a gradient");
    let slopes: Vec<f32> = (0..x.len())
        .map(|at| {
            let shifted = |step: f32| -> f64 {
                let mut x = x.clone();
                x[at] += step;
                let out = reference::group_norm(&x, 1, &weight, &bias, EPS.into(), true);
                let terms = out.iter().zip(&factors);
                terms.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
            };
            ((shifted(0.01) - shifted(-0.01)) / 0.02) as f32
        })
        .collect();
    assert_close("gradient", found, &slopes, GRADIENT_TOLERANCE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn group_norm_matches_the_reference_on_any_shape(
        batch in 1usize..3, groups in 1usize..5, per_group in 1usize..4, height in 1usize..20, width in 2usize..30,
    ) {
        check(([batch, groups * per_group, height, width], groups));
    }
}
