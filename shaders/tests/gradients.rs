//! The backward passes against burn's derivatives of the same formulas, and against finite differences.

mod common;

use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use common::{Values, assert_close, blocks, devices, tensor};
use x2i_shaders::{
    BlockQuantized, BlockType, Heads, attention, divergence, gated_residual, gelu_tanh,
    gelu_tanh_after, linear, modulated_layer_norm, norm_rope, qmatmul, rms_norm, takes_halves,
};

/// Two sums of f32 in another order, of up to some hundred terms.
const TOLERANCE: f32 = 2e-5;

/// A step of a thousandth: the third derivative, and f32 sums of losses.
const DIFFERENCE_TOLERANCE: f32 = 3e-3;

/// A function of flat tensors.
type Function<'a> = &'a dyn Fn(&[Tensor<1>]) -> Tensor<1>;

/// The inputs, with gradients recorded where the device does.
fn leaves(values: &[Vec<f32>], device: &Device) -> Vec<Tensor<1>> {
    let leaf = |values: &Vec<f32>| tensor(values, [values.len()], device).require_grad();
    values.iter().map(leaf).collect()
}

/// A sum of all outputs with weights of both signs.
fn loss(out: Tensor<1>) -> Tensor<1> {
    let [count] = out.dims();
    let weights = Values::new(77).normals(count);
    let weights = tensor(&weights, [count], &out.device());
    (out * weights).sum()
}

fn gradients(function: Function, values: &[Vec<f32>], device: &Device) -> Vec<Tensor<1>> {
    let inputs = leaves(values, device);
    let tape = loss(function(&inputs)).backward();
    let of = |input: &Tensor<1>| input.grad(&tape).expect("every input takes part");
    inputs.iter().map(of).collect()
}

/// Compares the gradients of all inputs, of about 1, of so many elements.
fn check(case: &str, lengths: &[usize], function: Function, formula: Function) {
    let values: Vec<Vec<f32>> = (lengths.iter().enumerate())
        .map(|(seed, &length)| Values::new(seed as u64 + 1).normals(length))
        .collect();
    let expected = gradients(formula, &values, &Device::flex().autodiff());
    for (name, device) in devices() {
        let found = gradients(function, &values, &device.clone().autodiff());
        for (at, (found, expected)) in found.into_iter().zip(&expected).enumerate() {
            let expected: Vec<f32> = expected.to_data().try_to_vec().expect("f32");
            let case = format!("{name} {case}, input {at}");
            assert_close(&case, found, &expected, TOLERANCE);
        }
    }
    check_differences(case, &values, function, &expected);
}

/// Compares the slope along a direction of each input with a difference of losses.
fn check_differences(case: &str, values: &[Vec<f32>], function: Function, gradients: &[Tensor<1>]) {
    const STEP: f32 = 1e-3;
    let device = Device::flex();
    for (at, gradient) in gradients.iter().enumerate() {
        let gradient: Vec<f32> = gradient.to_data().try_to_vec().expect("f32");
        // Along the gradient's signs, so that nothing cancels.
        let direction: Vec<f32> = gradient.iter().map(|x| x.signum()).collect();
        let loss_at = |step: f32| {
            let mut moved = values.to_vec();
            let pairs = moved[at].iter_mut().zip(&direction);
            pairs.for_each(|(value, direction)| *value += step * direction);
            let inputs: Vec<_> = moved
                .iter()
                .map(|v| tensor(v, [v.len()], &device))
                .collect();
            let out: Vec<f32> = function(&inputs).into_data().try_to_vec().expect("f32");
            let weights = Values::new(77).normals(out.len());
            let products = out
                .iter()
                .zip(weights)
                .map(|(x, w)| f64::from(*x) * f64::from(w));
            products.sum::<f64>()
        };
        let slope = (loss_at(STEP) - loss_at(-STEP)) / f64::from(2.0 * STEP);
        let expected: f64 = gradient.iter().map(|x| f64::from(x.abs())).sum();
        assert!(
            (slope - expected).abs() <= f64::from(DIFFERENCE_TOLERANCE) * expected,
            "{case}, input {at}: a slope of {slope}, the gradient has {expected}"
        );
    }
}

#[test]
fn of_the_gated_residual() {
    for [batch, tokens, width] in [[1, 3, 8], [2, 70, 24]] {
        let shape = [batch, tokens, width];
        let all = batch * tokens * width;
        let parts = move |x: &[Tensor<1>]| {
            let [a, gate, y] = [0, 1, 2].map(|at| x[at].clone());
            let gate = gate.reshape([batch, 1, width]);
            (a.reshape(shape), gate, y.reshape(shape))
        };
        check(
            &format!("gated residual {shape:?}"),
            &[all, batch * width, all],
            &|x| {
                let (x, gate, y) = parts(x);
                gated_residual(x, gate, y).flatten(0, 2)
            },
            &|x| {
                let (x, gate, y) = parts(x);
                (x + gate * y).flatten(0, 2)
            },
        );
    }
}

fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044_715) * 0.797_884_6;
    x * 0.5 * (inner.tanh() + 1.0)
}

#[test]
fn of_the_gelu() {
    check("gelu", &[333], &|x| gelu_tanh(x[0].clone()), &|x| {
        gelu(x[0].clone())
    });
    let parts = |x: &[Tensor<1>]| {
        let (left, right) = (x[0].clone(), x[1].clone());
        (left.reshape([2, 7, 5]), right.reshape([2, 7, 9]))
    };
    check(
        "gelu after",
        &[70, 126],
        &|x| {
            let (left, right) = parts(x);
            gelu_tanh_after(left, right).flatten(0, 2)
        },
        &|x| {
            let (left, right) = parts(x);
            Tensor::cat(vec![left, gelu(right)], 2).flatten(0, 2)
        },
    );
}

fn over_root<const D: usize>(x: Tensor<D>, eps: f32) -> Tensor<D> {
    let mean = x.clone().powi_scalar(2).mean_dim(D - 1);
    x / (mean + eps).sqrt()
}

#[test]
fn of_the_norms() {
    for [batch, tokens, width] in [[1, 2, 8], [2, 70, 40]] {
        let all = batch * tokens * width;
        let parts = move |x: &[Tensor<1>]| {
            let [x, scale, shift] = [0, 1, 2].map(|at| x[at].clone());
            let [scale, shift] = [scale, shift].map(|x| x.reshape([batch, 1, width]));
            (x.reshape([batch, tokens, width]), scale, shift)
        };
        check(
            "layer norm",
            &[all, batch * width, batch * width],
            &|x| {
                let (x, scale, shift) = parts(x);
                modulated_layer_norm(x, scale, shift, 1e-6).flatten(0, 2)
            },
            &|x| {
                let (x, scale, shift) = parts(x);
                let centred = x.clone() - x.mean_dim(2);
                (over_root(centred, 1e-6) * (scale + 1.0) + shift).flatten(0, 2)
            },
        );
        let shape = [batch * tokens, width];
        check(
            "RMS norm",
            &[all, width],
            &|x| rms_norm(x[0].clone().reshape(shape), x[1].clone(), 1e-6).flatten(0, 1),
            &|x| {
                let weight = x[1].clone().reshape([1, width]);
                (over_root(x[0].clone().reshape(shape), 1e-6) * weight).flatten(0, 1)
            },
        );
    }
}

/// The formula of norm and rotation, of the tokens of all parts.
fn rotated(x: Tensor<3>, heads: usize, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    let head_dim = width / heads;
    let x = x.reshape([batch, tokens, heads, head_dim]).swap_dims(1, 2);
    let pairs = x.clone().reshape([batch * heads, tokens, head_dim / 2, 2]);
    let [even, odd] = [0, 1].map(|at| pairs.clone().narrow(3, at, 1));
    let turned = Tensor::cat(vec![-odd, even], 3).reshape([batch, heads, tokens, head_dim]);
    x * cos.unsqueeze::<4>() + turned * sin.unsqueeze::<4>()
}

#[test]
fn of_norm_and_rotation() {
    let (batch, heads, head_dim) = (2, 3, 8);
    let width = heads * head_dim;
    for [first, second] in [[5, 0], [5, 40]] {
        let tokens = first + second;
        let angle = |at: usize| (at / head_dim * 3 + at % head_dim / 2) as f32;
        let angles: Vec<f32> = (0..tokens * head_dim).map(angle).collect();
        let table = |function: fn(f32) -> f32, device: &Device| {
            let values: Vec<f32> = angles.iter().map(|&x| function(x)).collect();
            tensor::<2>(&values, [tokens, head_dim], device)
        };
        let tables = |device: &Device| (table(f32::cos, device), table(f32::sin, device));
        let part = |x: &[Tensor<1>], at: usize, tokens: usize| Heads {
            x: x[at].clone().reshape([batch, tokens, width]),
            weight: x[at + 1].clone(),
        };
        let mut lengths = vec![batch * first * width, head_dim];
        if second > 0 {
            lengths.extend([batch * second * width, head_dim]);
        }
        check(
            &format!("norm and rotation of {first} and {second}"),
            &lengths,
            &|x| {
                let (cos, sin) = tables(&x[0].device());
                let more = (second > 0).then(|| part(x, 2, second));
                norm_rope(part(x, 0, first), more, cos, sin, 1e-6).flatten(0, 3)
            },
            &|x| {
                let normed = |Heads { x, weight }: Heads| {
                    let [batch, tokens, _] = x.dims();
                    let x = x.reshape([batch, tokens, heads, head_dim]);
                    let normed = over_root(x, 1e-6) * weight.reshape([1, 1, 1, head_dim]);
                    normed.reshape([batch, tokens, width])
                };
                let mut parts = vec![normed(part(x, 0, first))];
                if second > 0 {
                    parts.push(normed(part(x, 2, second)));
                }
                let (cos, sin) = tables(&x[0].device());
                rotated(Tensor::cat(parts, 1), heads, cos, sin).flatten(0, 3)
            },
        );
    }
}

/// `[batch, heads, kv_heads, q_tokens, kv_tokens, head_dim]`
fn check_attention(sizes: [usize; 6], mask: Option<[usize; 2]>) {
    let [batch, heads, kv_heads, q_tokens, kv_tokens, head_dim] = sizes;
    let kv = batch * kv_heads * kv_tokens * head_dim;
    let mut lengths = vec![batch * heads * q_tokens * head_dim, kv, kv];
    let mask_shape = mask.map(|[batch, heads]| [batch, heads, q_tokens, kv_tokens]);
    lengths.extend(mask_shape.map(|shape| shape.iter().product::<usize>()));
    let parts = |x: &[Tensor<1>]| {
        let keys = [batch, kv_heads, kv_tokens, head_dim];
        let q = x[0].clone().reshape([batch, heads, q_tokens, head_dim]);
        let [k, v] = [1, 2].map(|at| x[at].clone().reshape(keys));
        let mask = mask_shape.map(|shape| x[3].clone().reshape(shape));
        (q, k, v, mask)
    };
    check(
        &format!("attention {sizes:?}, mask {mask:?}"),
        &lengths,
        &|x| {
            let (q, k, v, mask) = parts(x);
            attention(q, k, v, mask, 0.4).flatten(0, 3)
        },
        &|x| {
            let (q, k, v, mask) = parts(x);
            let each = |x: Tensor<4>| {
                let x = x.unsqueeze_dim::<5>(2).repeat_dim(2, heads / kv_heads);
                x.reshape([batch, heads, kv_tokens, head_dim])
            };
            let scores = q.matmul(each(k).swap_dims(2, 3)) * 0.4;
            let scores = match mask {
                Some(mask) => scores + mask,
                None => scores,
            };
            softmax(scores, 3).matmul(each(v)).flatten(0, 3)
        },
    );
}

#[test]
fn of_attention() {
    check_attention([1, 1, 1, 3, 4, 8], None);
    check_attention([2, 4, 2, 37, 150, 16], None); // more rows than a block has
    check_attention([2, 4, 2, 9, 11, 8], Some([1, 4]));
    check_attention([2, 2, 2, 5, 7, 8], Some([2, 1]));
}

/// The mask of a frozen model has no gradient: the CPU's kernel takes it.
#[test]
fn of_masked_attention_with_a_constant_mask() {
    let (tokens, head_dim) = (140, 16);
    let mask: Vec<f32> = (0..tokens * tokens)
        .map(|at| {
            if at % tokens > at / tokens {
                f32::MIN
            } else {
                0.0
            }
        })
        .collect();
    let causal = |device: &Device| tensor::<4>(&mask, [1, 1, tokens, tokens], device);
    let shape = [1, 2, tokens, head_dim];
    let all = shape.iter().product();
    let part = |x: &[Tensor<1>], at: usize| x[at].clone().reshape(shape);
    check(
        "causal attention",
        &[all; 3],
        &|x| {
            let mask = Some(causal(&x[0].device()));
            attention(part(x, 0), part(x, 1), part(x, 2), mask, 0.3).flatten(0, 3)
        },
        &|x| {
            let scores = part(x, 0).matmul(part(x, 1).swap_dims(2, 3)) * 0.3;
            let scores = scores + causal(&x[0].device());
            softmax(scores, 3).matmul(part(x, 2)).flatten(0, 3)
        },
    );
}

#[test]
fn of_a_dense_layer() {
    for [m, rows, cols] in [[1, 5, 8], [37, 70, 24]] {
        let parts = move |x: &[Tensor<1>]| {
            let x2 = x[0].clone().reshape([m, cols]);
            (x2, x[1].clone().reshape([rows, cols]))
        };
        check(
            "linear",
            &[m * cols, rows * cols],
            &|x| {
                let (x, weight) = parts(x);
                linear(x, weight, None).flatten(0, 1)
            },
            &|x| {
                let (x, weight) = parts(x);
                x.matmul(weight.transpose()).flatten(0, 1)
            },
        );
        check(
            "linear with a bias",
            &[m * cols, rows * cols, rows],
            &|x| {
                let (input, weight) = parts(x);
                linear(input, weight, Some(x[2].clone())).flatten(0, 1)
            },
            &|x| {
                let (input, weight) = parts(x);
                let bias = x[2].clone().reshape([1, rows]);
                (input.matmul(weight.transpose()) + bias).flatten(0, 1)
            },
        );
    }
}

/// Numbers that bf16 and f16 hold.
#[test]
fn of_a_layer_whose_weight_has_16_bits() {
    let (m, rows, cols) = (20, 70, 24);
    let weight: Vec<f32> = (0..rows * cols)
        .map(|at| (at * 37 % 31) as f32 / 16.0 - 1.0)
        .collect();
    let input = |x: &[Tensor<1>]| x[0].clone().reshape([m, cols]);
    for dtype in [DType::BF16, DType::F16] {
        check(
            &format!("linear, {dtype:?}"),
            &[m * cols, rows],
            &|x| {
                let device = x[0].device();
                let data = TensorData::new(weight.clone(), [rows, cols]);
                let dense = Tensor::<2>::from_data(data, &device);
                let plain = device.clone().inner();
                let dense = if takes_halves(&plain) {
                    dense.cast(dtype)
                } else {
                    dense
                };
                linear(input(x), dense, Some(x[1].clone())).flatten(0, 1)
            },
            &|x| {
                let dense = tensor::<2>(&weight, [rows, cols], &x[0].device());
                let bias = x[1].clone().reshape([1, rows]);
                (input(x).matmul(dense.transpose()) + bias).flatten(0, 1)
            },
        );
    }
}

#[test]
fn of_a_product_with_weights_in_blocks() {
    // Few rows, which the CPU multiplies in f32: what is compared is the backward pass.
    let (m, rows, cols) = (8, 70, 256);
    for block_type in BlockType::ALL {
        let bytes = blocks(block_type, [rows, cols]);
        let weight = |device: &Device| {
            let bytes = Bytes::from_bytes_vec(bytes.clone());
            let plain = device.clone().inner();
            BlockQuantized::from_ggml(bytes, block_type, [rows, cols], &plain)
                .expect("whole blocks")
        };
        // Small, so that differences of sums with a bias are exact enough.
        let input = |x: &[Tensor<1>]| x[0].clone().reshape([m, cols]) * 0.01;
        check(
            &format!("{block_type:?}"),
            &[m * cols, rows],
            &|x| {
                let weight = weight(&x[0].device());
                qmatmul(input(x), &weight, Some(x[1].clone())).flatten(0, 1)
            },
            &|x| {
                let device = x[0].device();
                let dense = weight(&device).dequantize().into_data();
                let dense = Tensor::<2>::from_data(dense, &device);
                let bias = x[1].clone().reshape([1, rows]);
                (input(x).matmul(dense.transpose()) + bias).flatten(0, 1)
            },
        );
    }
}

/// The logarithms of softened features.
fn softened(x: Tensor<3>) -> Tensor<3> {
    let features = x.dims()[2] as f32;
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().sum_dim(2) / (features - 1.0)).sqrt();
    log_softmax(centred / (deviation + 1e-7) / 3.0, 2)
}

#[test]
fn of_the_divergence_from_a_teacher() {
    let shape = [2, 3, 50];
    let its = Values::new(5).normals(300);
    let teacher = |x: &Tensor<1>| tensor::<3>(&its, shape, &x.device());
    let mine = |x: &[Tensor<1>]| x[0].clone().reshape(shape);
    check(
        "divergence",
        &[300],
        &|x| divergence(mine(x), teacher(&x[0]), 3.0).flatten(0, 2),
        &|x| {
            let (mine, its) = (softened(mine(x)), softened(teacher(&x[0])));
            (mine.clone().exp() * (mine - its)).sum_dim(2).flatten(0, 2)
        },
    );
}

#[test]
fn of_the_divergence_of_a_student_of_one_value_and_of_equals() {
    for (name, device) in devices() {
        let teacher: Tensor<3> = tensor(&Values::new(3).normals(24), [1, 1, 24], device);
        let student = Tensor::<3>::full([1, 1, 24], 1.25, device);
        let student = student.autodiff().require_grad();
        let tape = divergence(student.clone(), teacher.clone(), 3.0)
            .sum()
            .backward();
        let found = student.grad(&tape).expect("it takes part");
        let found: Vec<f32> = found.into_data().try_to_vec().expect("f32");
        assert!(found.iter().all(|x| x.is_finite()), "{name}: {found:?}");
        assert!(found.iter().any(|x| x.abs() > 1e3), "{name}: {found:?}");

        let student = teacher.clone().autodiff().require_grad();
        let equal = divergence(student, teacher, 3.0).sum();
        let found: Vec<f32> = equal.inner().into_data().try_to_vec().expect("f32");
        assert!(found[0].abs() < 1e-6, "{name}: {found:?}");
    }
}
