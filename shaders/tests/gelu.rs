//! GELU on every device against the naive oracle.

mod common;
#[path = "common/views.rs"]
mod views;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Values, assert_close, devices};
use views::{SHAPES, VIEWS, rows, tensor};
use x2i_shaders::{gelu_tanh, gelu_tanh_after, reference};

/// An exponential of 2 ulp and a division, relative to the largest value.
const TOLERANCE: f32 = 1e-6;

fn check(case: &str, values: Vec<f32>) {
    for (name, device) in devices() {
        let expected = reference::gelu_tanh(&values);
        let x = Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), device);
        assert_close(
            &format!("{case} on {name}"),
            gelu_tanh(x),
            &expected,
            TOLERANCE,
        );
    }
}

#[test]
fn gelu_matches_the_reference_on_odd_lengths() {
    for length in [1, 7, 33, 16 * 1024 + 5, 50_000] {
        check(
            &format!("{length} values"),
            Values::new(length as u64).normals(length),
        );
    }
}

#[test]
fn extreme_magnitudes_stay_finite() {
    check(
        "extremes",
        vec![-1e30, -1e4, -40.0, -1e-30, 0.0, 1e-30, 40.0, 1e4],
    );
    for (_, device) in devices() {
        let x = Tensor::<1>::from_data([1e30f32, -1e30], device);
        let found: Vec<f32> = gelu_tanh(x).into_data().try_to_vec().expect("f32 data");
        assert_eq!(found, [1e30, 0.0]);
    }
}

#[test]
fn a_shared_or_strided_input_keeps_its_values() {
    for (name, device) in devices() {
        let values = Values::new(3).normals(5 * 9);
        let x = Tensor::<2>::from_data(TensorData::new(values.clone(), [5, 9]), device);
        let part = x.clone().transpose().narrow(0, 2, 4); // [4, 5]
        let expected: Vec<f32> = (2..6)
            .flat_map(|column| (0..5).map(move |row| row * 9 + column))
            .map(|index| values[index])
            .collect();
        let expected = reference::gelu_tanh(&expected);
        assert_close(
            &format!("strided on {name}"),
            gelu_tanh(part),
            &expected,
            TOLERANCE,
        );
        assert_close(&format!("input on {name}"), x, &values, 0.0);
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_reference() {
    /// A central difference in f64 arithmetic on f32 values, with a step of 1e-2.
    const GRADIENT_TOLERANCE: f32 = 1e-3;
    let device = Device::flex().autodiff();
    let values = [-2.0f32, -0.5, 0.0, 0.7, 3.0];
    let x = Tensor::<1>::from_data(values, &device).require_grad();
    let gradients = gelu_tanh(x.clone()).sum().backward();
    let found = x.grad(&gradients).expect("a gradient");
    let shifted = |step: f32| reference::gelu_tanh(&values.map(|value| value + step));
    let slopes: Vec<f32> = shifted(0.01)
        .iter()
        .zip(shifted(-0.01))
        .map(|(up, down)| (up - down) / 0.02)
        .collect();
    assert_close("gradient", found, &slopes, GRADIENT_TOLERANCE);
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
