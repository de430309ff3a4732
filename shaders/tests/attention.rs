//! Attention on every device against the naive oracle.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Values, assert_close, devices};
use proptest::prelude::*;
use x2i_shaders::reference::{self, AttentionShape};
use x2i_shaders::{attention, runs_wgsl};

/// f32 sums over 64 to 256 terms, an exponential of 2 ulp and another order of summation.
const TOLERANCE: f32 = 2e-6;

/// Scores of 1e4 carry an absolute rounding error of 1e-3, which the exponential turns relative.
const LARGE_SCORES_TOLERANCE: f32 = 5e-3;

/// A central difference in f32 with a step of 1e-2.
const GRADIENT_TOLERANCE: f32 = 2e-3;

#[derive(Debug, Clone)]
struct Case {
    shape: AttentionShape,
    /// `[1 | batch, 1 | heads]` and the values.
    mask: Option<([usize; 2], Vec<f32>)>,
    scale: f32,
    magnitude: f32,
}

impl Case {
    fn new(batch: usize, heads: [usize; 2], tokens: [usize; 2], head_dim: usize) -> Self {
        Self {
            shape: AttentionShape {
                batch,
                heads: heads[0],
                kv_heads: heads[1],
                q_tokens: tokens[0],
                kv_tokens: tokens[1],
                head_dim,
            },
            mask: None,
            scale: (head_dim as f32).powf(-0.5),
            magnitude: 1.0,
        }
    }

    /// Adds a mask of leading axes `leading`; `masked(batch, head, query, key)` keys get `f32::MIN`.
    fn masked(
        mut self,
        leading: [usize; 2],
        masked: impl Fn(usize, usize, usize, usize) -> bool,
    ) -> Self {
        let AttentionShape {
            q_tokens,
            kv_tokens,
            ..
        } = self.shape;
        let mut mask = Vec::new();
        for row in 0..leading[0] * leading[1] * q_tokens {
            let (head, query) = (row / q_tokens, row % q_tokens);
            mask.extend((0..kv_tokens).map(|key| {
                match masked(head / leading[1], head % leading[1], query, key) {
                    true => f32::MIN,
                    false => 0.0,
                }
            }));
        }
        self.mask = Some((leading, mask));
        self
    }

    fn inputs(&self) -> [Vec<f32>; 3] {
        let s = self.shape;
        let kv = s.batch * s.kv_heads * s.kv_tokens * s.head_dim;
        let mut values = Values::new(kv as u64);
        [s.batch * s.heads * s.q_tokens * s.head_dim, kv, kv].map(|n| {
            values
                .normals(n)
                .into_iter()
                .map(|x| x * self.magnitude)
                .collect()
        })
    }

    fn expected(&self) -> Vec<f32> {
        let [q, k, v] = self.inputs();
        let s = self.shape;
        let mask = self.mask.as_ref().map(|([batch, heads], mask)| {
            let tile = s.q_tokens * s.kv_tokens;
            let mut full = Vec::new();
            for head in 0..s.batch * s.heads {
                let (b, h) = (head / s.heads % batch, head % s.heads % heads);
                full.extend_from_slice(&mask[(b * heads + h) * tile..][..tile]);
            }
            full
        });
        reference::attention(&q, &k, &v, mask.as_deref(), self.scale, s)
    }

    fn tensors(&self, device: &Device) -> ([Tensor<4>; 3], Option<Tensor<4>>) {
        let s = self.shape;
        let [q, k, v] = self.inputs();
        let kv = [s.batch, s.kv_heads, s.kv_tokens, s.head_dim];
        let tensor =
            |data, shape: [usize; 4]| Tensor::from_data(TensorData::new(data, shape), device);
        let mask = self.mask.as_ref().map(|([batch, heads], mask)| {
            tensor(mask.clone(), [*batch, *heads, s.q_tokens, s.kv_tokens])
        });
        let q = tensor(q, [s.batch, s.heads, s.q_tokens, s.head_dim]);
        ([q, tensor(k, kv), tensor(v, kv)], mask)
    }

    #[track_caller]
    fn check(&self, tolerance: f32) {
        let expected = self.expected();
        for (name, device) in devices() {
            let ([q, k, v], mask) = self.tensors(device);
            let found = attention(q, k, v, mask, self.scale);
            let case = format!("{name} {:?}", self.shape);
            assert_close(&case, found, &expected, tolerance);
        }
    }
}

#[test]
fn attention_matches_the_reference_on_ragged_lengths() {
    for tokens in [[1, 1], [1, 70], [63, 33], [64, 32], [65, 31], [130, 77]] {
        Case::new(1, [2, 2], tokens, 64).check(TOLERANCE);
    }
}

#[test]
fn attention_matches_the_reference_for_every_head_width() {
    // 5 and 260 have no WGSL kernel and take the composed form.
    for head_dim in [4, 5, 8, 40, 64, 80, 128, 132, 256, 260] {
        Case::new(1, [1, 1], [19, 37], head_dim).check(TOLERANCE);
    }
}

#[test]
fn query_heads_read_the_key_head_of_their_group() {
    for heads in [[4, 2], [6, 1], [14, 2]] {
        Case::new(2, heads, [9, 21], 16).check(TOLERANCE);
        Case::new(2, heads, [1, 40], 16).check(TOLERANCE);
    }
    Case::new(1, [4, 2], [35, 35], 16)
        .masked([1, 4], |_, head, query, key| key > query + head)
        .check(TOLERANCE);
}

#[test]
fn masks_are_causal_padded_per_batch_and_per_head() {
    let case = Case::new(3, [2, 2], [45, 45], 32);
    case.clone()
        .masked([1, 1], |_, _, query, key| key > query)
        .check(TOLERANCE);
    case.clone()
        .masked([3, 1], |batch, _, _, key| key < 13 * batch)
        .check(TOLERANCE);
    case.clone()
        .masked([1, 2], |_, head, _, key| key % 2 == head)
        .check(TOLERANCE);
    case.masked([3, 2], |batch, head, query, key| {
        (query + key) % (batch + head + 2) == 0
    })
    .check(TOLERANCE);
}

#[test]
fn a_fully_masked_row_is_the_average_over_all_keys() {
    // Left padding under a causal mask: the padded rows see no key at all.
    Case::new(2, [2, 1], [40, 40], 32)
        .masked([2, 1], |batch, _, query, key| {
            key > query || (batch == 1 && key < 35)
        })
        .check(TOLERANCE);
    Case::new(1, [1, 1], [3, 50], 8)
        .masked([1, 1], |_, _, _, _| true)
        .check(TOLERANCE);
}

#[test]
fn additive_masks_need_not_be_zero_or_minimal() {
    let mut case = Case::new(1, [2, 2], [20, 50], 16).masked([1, 2], |_, _, _, _| false);
    let mask = &mut case.mask.as_mut().expect("just set").1;
    *mask = Values::new(7).normals(mask.len());
    case.check(TOLERANCE);
}

#[test]
fn extreme_magnitudes_stay_finite() {
    let mut case = Case::new(1, [1, 1], [33, 65], 64);
    // Scores of about 1e4: one key takes nearly all the weight.
    (case.magnitude, case.scale) = (40.0, 1.0);
    case.check(LARGE_SCORES_TOLERANCE);
    (case.magnitude, case.scale) = (1e-20, 1.0);
    case.check(TOLERANCE);
}

#[test]
fn strided_inputs_are_read_where_they_are() {
    let case = Case::new(2, [3, 3], [37, 37], 32)
        .masked([2, 1], |batch, _, query, key| key > query + 5 * batch);
    let expected = case.expected();
    for (name, device) in devices() {
        let ([q, k, v], mask) = case.tensors(device);
        // [batch, tokens, heads, head_dim] memory, as a projection leaves it
        let permuted = |t: Tensor<4>| (t.swap_dims(1, 2) * 1.0).swap_dims(1, 2);
        // the middle of a larger tensor
        let sliced = |t: Tensor<4>| {
            let [batch, heads, tokens, width] = t.dims();
            let padded = Tensor::cat(vec![t.clone() + 9.0, t.clone(), t], 3);
            padded.slice([0..batch, 0..heads, 0..tokens, width..2 * width])
        };
        // the last batches of a larger tensor: contiguous, at an offset
        let tail = |t: Tensor<4>| {
            let batch = t.dims()[0];
            Tensor::cat(vec![t.clone() + 9.0, t], 0).narrow(0, batch, batch)
        };
        // columns first
        let transposed = |t: Tensor<4>| (t.swap_dims(2, 3) * 1.0).swap_dims(2, 3);
        let mask = mask.map(sliced);
        for (views, [q, k, v]) in [
            ("permuted", [&q, &k, &v].map(|t| permuted(t.clone()))),
            ("at an offset", [&q, &k, &v].map(|t| tail(t.clone()))),
            ("mixed", [sliced(q), transposed(k), permuted(v)]),
        ] {
            let found = attention(q, k, v, mask.clone(), case.scale);
            assert_close(&format!("{name} {views}"), found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn more_heads_than_workgroups_along_one_axis_are_folded() {
    Case::new(70_000, [1, 1], [1, 3], 4).check(TOLERANCE);
}

#[test]
fn one_tensor_may_be_query_key_and_value() {
    let case = Case::new(1, [2, 2], [33, 33], 16);
    let q = case.inputs()[0].clone();
    let expected = reference::attention(&q, &q, &q, None, case.scale, case.shape);
    for (name, device) in devices() {
        let q = case.tensors(device).0[0].clone();
        let found = attention(q.clone(), q.clone(), q, None, case.scale);
        assert_close(name, found, &expected, TOLERANCE);
    }
}

#[test]
fn gradients_match_finite_differences() {
    let case = Case::new(1, [2, 1], [3, 4], 4).masked([1, 1], |_, _, query, key| key > query + 1);
    let weights = Values::new(3).normals(2 * 3 * 4);
    for (name, device) in devices() {
        let loss = |[q, k, v]: [Tensor<4>; 3], mask: Option<Tensor<4>>, device: &Device| {
            let weights = TensorData::new(weights.clone(), [1, 2, 3, 4]);
            (attention(q, k, v, mask, case.scale) * Tensor::from_data(weights, device)).sum()
        };
        let device_ad = device.clone().autodiff();
        let (inputs, mask) = case.tensors(&device_ad);
        let inputs = inputs.map(Tensor::require_grad);
        let gradients = loss(inputs.clone(), mask, &device_ad).backward();
        for (i, input) in inputs.iter().enumerate() {
            let gradient = input.grad(&gradients).expect("the input takes part");
            let numeric: Vec<f32> = (0..gradient.shape().num_elements())
                .map(|element| {
                    let at = |step: f32| -> f32 {
                        let (mut inputs, mask) = case.tensors(device);
                        let shape = inputs[i].dims();
                        let mut data: Vec<f32> =
                            inputs[i].to_data().try_to_vec().expect("f32 data");
                        data[element] += step;
                        inputs[i] = Tensor::from_data(TensorData::new(data, shape), device);
                        loss(inputs, mask, device).into_scalar()
                    };
                    (at(1e-2) - at(-1e-2)) / 2e-2
                })
                .collect();
            assert_close(
                &format!("{name} input {i}"),
                gradient,
                &numeric,
                GRADIENT_TOLERANCE,
            );
        }
    }
}

#[test]
fn only_a_wgpu_device_runs_wgsl_with_or_without_autodiff() {
    for (name, device) in devices() {
        assert_eq!(runs_wgsl(device), *name == "wgpu");
        assert_eq!(runs_wgsl(&device.clone().autodiff()), *name == "wgpu");
    }
}

#[test]
#[should_panic(expected = "must be a multiple of")]
fn heads_that_do_not_group_are_refused() {
    let zeros = |heads| Tensor::<4>::zeros([1, heads, 2, 4], &Device::flex());
    attention(zeros(3), zeros(2), zeros(2), None, 1.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_matches_the_reference_on_any_shape(
        (batch, kv_heads, group) in (1usize..3, 1usize..3, 1usize..4),
        (q_tokens, kv_tokens, width) in (1usize..70, 1usize..70, 1usize..20),
        mask in proptest::option::of((any::<bool>(), any::<bool>(), 1usize..9)),
    ) {
        let heads = kv_heads * group;
        let mut case = Case::new(batch, [heads, kv_heads], [q_tokens, kv_tokens], 4 * width);
        if let Some((per_batch, per_head, period)) = mask {
            let leading = [if per_batch { batch } else { 1 }, if per_head { heads } else { 1 }];
            case = case.masked(leading, |b, h, query, key| (query * 3 + key + b + h) % period == 0);
        }
        case.check(TOLERANCE);
    }
}
