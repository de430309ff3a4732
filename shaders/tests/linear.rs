//! A dense layer on every device against the naive oracle.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{Values, assert_close, devices};
use proptest::prelude::*;
use x2i_shaders::{InputBits, linear, linear_rounded, matmul, reference, takes_halves};

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

/// The values that `dtype` keeps of `data`, and a tensor of them.
fn halves(data: &[f32], shape: [usize; 2], dtype: DType, device: &Device) -> (Vec<f32>, Tensor<2>) {
    let data = TensorData::new(data.to_vec(), shape).convert_dtype(dtype);
    let values = data.clone().convert_dtype(DType::F32).try_to_vec();
    (
        values.expect("f32"),
        Tensor::from_data(data, (device, dtype)),
    )
}

#[test]
fn weights_of_16_bits_give_what_their_values_give() {
    let device = Device::flex();
    assert!(takes_halves(&device));
    for dtype in [DType::F16, DType::BF16] {
        for (m, [rows, cols]) in [
            (1, [75, 160]),
            (8, [9, 1100]),
            (9, [75, 33]),
            (64, [1, 4]),
            (9, [1030, 4096]), // more than one stripe
            (3, [70_000, 3]),  // more than one task
            (5, [0, 3]),
        ] {
            let mut values = Values::new((m * rows + cols) as u64);
            let (x, bias) = (values.normals(m * cols), values.normals(rows));
            let (weight, tensor) =
                halves(&values.normals(rows * cols), [rows, cols], dtype, &device);
            for bias in [None, Some(&bias)] {
                let bias_tensor = bias
                    .map(|bias| Tensor::from_data(TensorData::new(bias.clone(), [rows]), &device));
                let found = linear(matrix(&x, [m, cols], &device), tensor.clone(), bias_tensor);
                let expected = reference::linear(&x, &weight, bias.map(Vec::as_slice), cols);
                let case = format!("{dtype:?}: {m} rows, weight [{rows}, {cols}]");
                assert_close(&case, found, &expected, TOLERANCE);
            }
        }
    }
}

/// An input is rounded to 8 bits: 2^-9 of it at most, of which a sum of 1024 averages the errors.
const ROUNDED_TOLERANCE: f32 = 4e-3;

#[test]
fn wide_weights_in_bf16_may_take_rounded_inputs_and_others_never_do() {
    let device = Device::flex();
    for (dtype, cols, rounds) in [
        (DType::BF16, 1024, true),
        (DType::BF16, 1025, true),
        (DType::BF16, 1023, false),
        (DType::F16, 1024, false),
    ] {
        let (m, rows) = (40, 101);
        let mut values = Values::new(cols as u64);
        let (x, bias) = (values.normals(m * cols), values.normals(rows));
        let (weight, tensor) = halves(&values.normals(rows * cols), [rows, cols], dtype, &device);
        let expected = reference::linear(&x, &weight, Some(&bias), cols);
        for input_bits in [InputBits::AsWeights, InputBits::Sixteen] {
            let bias = Tensor::from_data(TensorData::new(bias.clone(), [rows]), &device);
            let x = matrix(&x, [m, cols], &device);
            let found = linear_rounded(x, tensor.clone(), Some(bias), input_bits);
            let tolerance = match rounds && input_bits == InputBits::AsWeights {
                true => ROUNDED_TOLERANCE,
                false => TOLERANCE,
            };
            let case = format!("{dtype:?}, {cols} columns, {input_bits:?}");
            assert_close(&case, found, &expected, tolerance);
        }
    }
}

#[test]
fn gradients_of_many_rows_may_be_rounded_beside_weights_of_16_bits() {
    let device = Device::flex();
    let (m, [rows, cols]) = (100, [77, 130]); // no whole parts of what is turned at once
    for dtype in [DType::F16, DType::BF16] {
        let mut values = Values::new(9);
        let (x, cotangent) = (values.normals(m * cols), values.normals(m * rows));
        let (weight, tensor) = halves(&values.normals(rows * cols), [rows, cols], dtype, &device);
        let expected: Vec<f32> = cotangent
            .chunks_exact(rows)
            .flat_map(|cotangent| {
                let weight = &weight;
                (0..cols).map(move |col| {
                    let terms = cotangent.iter().enumerate();
                    terms
                        .map(|(row, of_y)| of_y * weight[row * cols + col])
                        .sum::<f32>()
                })
            })
            .collect();
        for (input_bits, tolerance) in [
            (InputBits::AsWeights, ROUNDED_TOLERANCE),
            (InputBits::Sixteen, TOLERANCE),
        ] {
            let x = matrix(&x, [m, cols], &device).autodiff().require_grad();
            let y = linear_rounded(x.clone(), tensor.clone().autodiff(), None, input_bits);
            let cotangent = matrix(&cotangent, [m, rows], &device).autodiff();
            let gradients = (y * cotangent).sum().backward();
            let found = x.grad(&gradients).expect("x takes part");
            assert_close(
                &format!("{dtype:?}, {input_bits:?}"),
                found,
                &expected,
                tolerance,
            );
        }
    }
}

#[test]
fn extreme_weights_of_16_bits_keep_their_values() {
    let device = Device::flex();
    for (dtype, extremes) in [
        (DType::F16, [6e-8, 65_504.0, -0.0, 1e-5]),
        (DType::BF16, [1e-38, 3e38, -0.0, 1e-40]),
    ] {
        for m in [1, 16] {
            let (weight, tensor) = halves(&extremes, [4, 1], dtype, &device);
            let found = linear(matrix(&vec![1.0; m], [m, 1], &device), tensor, None);
            let found: Vec<f32> = found.into_data().try_to_vec().expect("f32");
            assert_eq!(found[..4], weight, "{dtype:?}");
        }
    }
}

#[test]
fn a_strided_weight_of_16_bits_is_read_right() {
    let device = Device::flex();
    let mut values = Values::new(5);
    let x = values.normals(12 * 40);
    let (transposed, tensor) = halves(&values.normals(40 * 30), [40, 30], DType::BF16, &device);
    let weight: Vec<f32> = (0..30 * 40)
        .map(|i| transposed[i % 40 * 30 + i / 40])
        .collect();
    let found = linear(matrix(&x, [12, 40], &device), tensor.transpose(), None);
    assert_close(
        "transposed",
        found,
        &reference::linear(&x, &weight, None, 40),
        TOLERANCE,
    );
}

#[test]
fn a_product_of_two_activations_is_that_of_their_rows_and_columns() {
    let (batch, m, terms, n) = (2, 5, 19, 33);
    let left = Values::new(1).normals(batch * m * terms);
    let right = Values::new(2).normals(batch * terms * n);
    let expected: Vec<f32> = (0..batch)
        .flat_map(|at| {
            let right = &right[at * terms * n..][..terms * n];
            let transposed: Vec<f32> = (0..n * terms)
                .map(|i| right[i % terms * n + i / terms])
                .collect();
            reference::linear(
                &left[at * m * terms..][..m * terms],
                &transposed,
                None,
                terms,
            )
        })
        .collect();
    for (name, device) in devices() {
        let tensor = |values: &[f32], shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let found = matmul(
            tensor(&left, [batch, m, terms]),
            tensor(&right, [batch, terms, n]),
        );
        assert_close(name, found, &expected, TOLERANCE);
    }
}
