//! Operations with a way back of their own: their outputs and gradients are those of plain burn operations under
//! burn's own gradients, on every device.

mod common;

use burn::tensor::{Device, Tensor, activation};
use common::{Values, assert_close, devices, tensor};
use x2i_shaders::{
    Heads, attention, divergence, gated_residual, gelu_tanh, gelu_tanh_after, linear,
    modulated_layer_norm, norm_rope,
};

/// f32 in another order; a GPU's `exp` differs more.
const TOLERANCE: f32 = 5e-5;
const EPS: f32 = 1e-6;

type Inputs = Vec<Tensor<3>>;

/// Compares an operation with its twin of plain operations, for inputs of these shapes.
fn compare(
    name: &str,
    shapes: &[[usize; 3]],
    operation: impl Fn(Inputs) -> Tensor<3>,
    twin: impl Fn(Inputs) -> Tensor<3>,
) {
    for (device_name, device) in devices() {
        let [found, expected] = [&operation as &dyn Fn(Inputs) -> Tensor<3>, &twin]
            .map(|f| gradients(f, shapes, device));
        for (place, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let expected: Vec<f32> = expected.into_data().try_to_vec().expect("f32");
            assert!(
                expected.iter().any(|value| value.abs() > 1e-4),
                "{name}: {place} is no test"
            );
            let case = format!("{name}, {place} on {device_name}");
            assert_close(&case, found, &expected, TOLERANCE);
        }
    }
}

/// The output, then the gradients of all inputs.
fn gradients(
    f: &dyn Fn(Inputs) -> Tensor<3>,
    shapes: &[[usize; 3]],
    device: &Device,
) -> Vec<Tensor<3>> {
    let mut values = Values::new(shapes.len() as u64);
    let inputs: Inputs = shapes
        .iter()
        .map(|shape| tensor(&values.normals(shape.iter().product()), *shape, device))
        .map(|input: Tensor<3>| input.autodiff().require_grad())
        .collect();
    let out = f(inputs.clone());
    let weights = values.normals(out.dims().iter().product());
    let weights: Tensor<3> = tensor(&weights, out.dims(), device);
    let mut tape = (out.clone() * weights).sum().backward();
    let found = inputs.iter().map(|input| input.grad_remove(&mut tape));
    let found: Vec<Tensor<3>> = found.map(|found| found.expect("all take part")).collect();
    std::iter::once(out.inner()).chain(found).collect()
}

fn layer_norm(x: Tensor<3>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    centred / (variance + EPS).sqrt()
}

fn gelu(x: Tensor<3>) -> Tensor<3> {
    let inner = (x.clone() + x.clone() * x.clone() * x.clone() * 0.044_715) * 0.797_884_6;
    x * 0.5 * (inner.tanh() + 1.0)
}

#[test]
fn norm_with_a_modulation() {
    compare(
        "modulated_layer_norm",
        &[[2, 5, 37], [2, 1, 37], [2, 1, 37]],
        |x| modulated_layer_norm(x[0].clone(), x[1].clone(), x[2].clone(), EPS),
        |x| layer_norm(x[0].clone()) * (x[1].clone() + 1.0) + x[2].clone(),
    );
}

#[test]
fn gated_residuals() {
    compare(
        "gated_residual",
        &[[2, 5, 36], [2, 1, 36], [2, 5, 36]],
        |x| gated_residual(x[0].clone(), x[1].clone(), x[2].clone()),
        |x| x[0].clone() + x[1].clone() * x[2].clone(),
    );
}

#[test]
fn gelu_alone_and_behind_other_channels() {
    let twin = |x: Inputs| gelu(x[0].clone());
    compare(
        "gelu_tanh",
        &[[2, 3, 41]],
        |x| gelu_tanh(x[0].clone()),
        twin,
    );
    compare(
        "gelu_tanh_after",
        &[[2, 3, 8], [2, 3, 12]],
        |x| gelu_tanh_after(x[0].clone(), x[1].clone()),
        |x| Tensor::cat(vec![x[0].clone(), gelu(x[1].clone())], 2),
    );
}

/// `[batch, tokens, heads * 8]` to `[batch, heads, tokens, 8]`.
fn heads(x: Tensor<3>) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, width / 8, 8]).swap_dims(1, 2)
}

#[test]
fn norm_and_rotation_of_two_streams() {
    let angles = |device: &Device| {
        let angles = Values::new(9).normals(7 * 4);
        let table = |f: fn(f32) -> f32| {
            let twice = angles.iter().flat_map(|&angle| [f(angle), f(angle)]);
            tensor(&twice.collect::<Vec<f32>>(), [7, 8], device)
        };
        [table(f32::cos), table(f32::sin)]
    };
    let weights = |device: &Device| {
        [21, 22].map(|seed| tensor::<1>(&Values::new(seed).normals(8), [8], device))
    };
    let flat = |x: Tensor<4>| -> Tensor<3> { x.flatten::<3>(0, 1) };
    compare(
        "norm_rope",
        &[[2, 3, 16], [2, 4, 16]],
        |x| {
            let device = x[0].device().inner();
            let ([cos, sin], [first, second]) = (angles(&device), weights(&device));
            let parts = [(x[0].clone(), first), (x[1].clone(), second)];
            let [x, more] = parts.map(|(x, weight)| Heads { x, weight });
            flat(norm_rope(x, Some(more), cos, sin, EPS))
        },
        |x| {
            let device = x[0].device().inner();
            let ([cos, sin], weights) = (angles(&device), weights(&device));
            let parts = x.into_iter().zip(weights).map(|(x, weight)| {
                let x = heads(x);
                let square = x.clone().square().mean_dim(3);
                x / (square + EPS).sqrt() * weight.reshape([1, 1, 1, 8])
            });
            let x = Tensor::cat(parts.collect(), 2);
            let [batch, count, tokens, _] = x.dims();
            let pairs = x.clone().reshape([batch * count, tokens, 4, 2]);
            let [even, odd] = [0, 1].map(|at| pairs.clone().narrow(3, at, 1));
            let turned = Tensor::cat(vec![-odd, even], 3).reshape([batch, count, tokens, 8]);
            let [cos, sin] = [cos, sin].map(|table: Tensor<2>| table.reshape([1, 1, tokens, 8]));
            flat(x * cos + turned * sin)
        },
    );
}

#[test]
fn attention_in_blocks_of_queries() {
    // 700 x 700 x 9 scores are more than a block.
    for shape in [[2, 5, 16], [1, 700, 72]] {
        let flat = |x: Tensor<4>| -> Tensor<3> { x.flatten::<3>(0, 1) };
        compare(
            "attention",
            &[shape; 3],
            |x| {
                let [q, k, v] = [0, 1, 2].map(|at| heads(x[at].clone()));
                flat(attention(q, k, v, None, 0.3))
            },
            |x| {
                let [q, k, v] = [0, 1, 2].map(|at| heads(x[at].clone()));
                let scores = q.matmul(k.swap_dims(2, 3)) * 0.3;
                flat(activation::softmax(scores, 3).matmul(v))
            },
        );
    }
}

#[test]
fn products_with_and_without_a_bias() {
    let flat = |x: &Tensor<3>| -> Tensor<2> { x.clone().flatten::<2>(0, 1) };
    compare(
        "linear",
        &[[1, 6, 20], [1, 9, 20], [1, 1, 9]],
        |x| {
            let bias: Tensor<1> = x[2].clone().reshape([9]);
            let both = linear(flat(&x[0]), flat(&x[1]), Some(bias));
            (both + linear(flat(&x[0]), flat(&x[1]), None)).unsqueeze()
        },
        |x| {
            let product = flat(&x[0]).matmul(flat(&x[1]).transpose());
            (product * 2.0 + flat(&x[2])).unsqueeze()
        },
    );
}

fn softened(x: Tensor<3>) -> Tensor<3> {
    let features = x.dims()[2] as f32;
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().sum_dim(2) / (features - 1.0)).sqrt();
    activation::log_softmax(centred / (deviation + 1e-7) / 3.0, 2)
}

#[test]
fn divergence_of_a_student() {
    let teacher = |x: &Tensor<3>| {
        let device = x.device().inner();
        tensor::<3>(&Values::new(5).normals(2 * 3 * 50), [2, 3, 50], &device)
    };
    compare(
        "divergence",
        &[[2, 3, 50]],
        |x| divergence(x[0].clone(), teacher(&x[0]), 3.0),
        |x| {
            let (mine, its) = (softened(x[0].clone()), softened(teacher(&x[0])));
            (mine.clone().exp() * (mine - its)).sum_dim(2)
        },
    );
}

#[test]
fn a_student_of_one_value_has_a_gradient_and_equals_have_none() {
    for (name, device) in devices() {
        let teacher: Tensor<3> = tensor(&Values::new(3).normals(24), [1, 1, 24], device);
        let student = Tensor::<3>::full([1, 1, 24], 1.25, device)
            .autodiff()
            .require_grad();
        let mut tape = divergence(student.clone(), teacher.clone(), 3.0)
            .sum()
            .backward();
        let found = student.grad_remove(&mut tape).expect("it takes part");
        let found: Vec<f32> = found.into_data().try_to_vec().expect("f32");
        assert!(
            found.iter().all(|value| value.is_finite()),
            "{name}: {found:?}"
        );
        assert!(
            found.iter().any(|value| value.abs() > 1e3),
            "{name}: {found:?}"
        );

        let student = teacher.clone().autodiff().require_grad();
        let equal = divergence(student.clone(), teacher, 3.0).sum();
        let found: Vec<f32> = equal.clone().inner().into_data().try_to_vec().expect("f32");
        assert!(found[0].abs() < 1e-6, "{name}: {found:?}");
    }
}
