//! A dense layer on every device against the naive oracle.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Values, assert_close, devices};
use proptest::prelude::*;
use x2i_shaders::{linear, reference};

/// f32 sums over up to 1100 terms in another order.
const TOLERANCE: f32 = 3e-6;

fn matrix(data: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), device)
}

#[track_caller]
fn check(m: usize, [rows, cols]: [usize; 2], magnitude: f32) {
    let mut values = Values::new((m * rows + cols) as u64);
    let x: Vec<f32> = values.normals(m * cols);
    let x: Vec<f32> = x.into_iter().map(|x| x * magnitude).collect();
    let weight = values.normals(rows * cols);
    let bias: Vec<f32> = values.normals(rows);
    let bias: Vec<f32> = bias.into_iter().map(|bias| bias * magnitude).collect();
    for (name, device) in devices() {
        for bias in [None, Some(&bias)] {
            let found = linear(
                matrix(&x, [m, cols], device),
                matrix(&weight, [rows, cols], device),
                bias.map(|bias| Tensor::from_data(TensorData::new(bias.clone(), [rows]), device)),
            );
            let expected = reference::linear(&x, &weight, bias.map(Vec::as_slice), cols);
            let case = format!(
                "{name}: {m} rows, weight [{rows}, {cols}], bias {}",
                bias.is_some()
            );
            assert_close(&case, found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn linear_matches_the_reference_on_odd_sizes() {
    for m in [1, 2, 3, 5, 64, 70] {
        check(m, [75, 160], 1.0);
        check(m, [1, 4], 1.0);
        check(m, [9, 1100], 1.0);
    }
    check(1, [1030, 36], 1.0); // more than one workgroup of one row
    check(130, [200, 32], 1.0);
    check(7, [11, 33], 1.0); // columns that no vector divides
}

#[test]
fn extreme_magnitudes_stay_finite() {
    for magnitude in [1e-20, 1e20] {
        check(1, [40, 64], magnitude);
        check(20, [40, 64], magnitude);
    }
}

#[test]
fn strided_inputs_are_read_where_they_are() {
    let (x, weight) = (
        Values::new(1).normals(40 * 64),
        Values::new(2).normals(50 * 64),
    );
    let expected = reference::linear(&x, &weight, None, 64);
    for (name, device) in devices() {
        let (x, weight) = (
            matrix(&x, [40, 64], device),
            matrix(&weight, [50, 64], device),
        );
        let transposed = |tensor: &Tensor<2>| (tensor.clone().transpose() * 1.0).transpose();
        let sliced = |tensor: &Tensor<2>| {
            let rows = tensor.dims()[0];
            Tensor::cat(vec![tensor.clone() + 9.0, tensor.clone()], 1).slice([0..rows, 64..128])
        };
        for (view, x, weight) in [
            ("transposed", transposed(&x), transposed(&weight)),
            ("sliced", sliced(&x), sliced(&weight)),
        ] {
            assert_close(
                &format!("{name} {view}"),
                linear(x, weight, None),
                &expected,
                TOLERANCE,
            );
        }
    }
}

#[test]
fn the_gradients_are_those_of_matmul_and_add() {
    let mut values = Values::new(5);
    let (x, weight, bias) = (values.normals(6), values.normals(12), values.normals(4));
    let device = Device::flex().autodiff();
    let gradients = |layer: &dyn Fn(Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<2>| {
        let x = matrix(&x, [2, 3], &device).require_grad();
        let weight = matrix(&weight, [4, 3], &device).require_grad();
        let bias = Tensor::<1>::from_data(TensorData::new(bias.clone(), [4]), &device);
        let bias = bias.require_grad();
        let y = layer(x.clone(), weight.clone(), bias.clone());
        let gradients = (y.clone() * y).sum().backward();
        let flat = |tensor: Tensor<2>| {
            tensor
                .grad(&gradients)
                .expect("it takes part")
                .reshape([-1])
        };
        let bias: Tensor<1> = bias.grad(&gradients).expect("it takes part").reshape([-1]);
        Tensor::cat(vec![flat(x), flat(weight), bias], 0)
    };
    let found = gradients(&|x, weight, bias| linear(x, weight, Some(bias)));
    let expected = gradients(&|x, weight, bias| x.matmul(weight.transpose()) + bias.unsqueeze());
    let expected: Vec<f32> = expected.into_data().try_to_vec().expect("f32 data");
    assert_close("gradients", found, &expected, TOLERANCE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_matches_the_reference_on_any_shape(
        m in 1usize..80, rows in 1usize..140, cols in 1usize..200,
    ) {
        check(m, [rows, cols], 1.0);
    }
}
