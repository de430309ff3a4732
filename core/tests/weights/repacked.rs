//! Whole numbers with scales, as other libraries store them, in the blocks that products read.

use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::InputBits;
use x2i_core::weights::{Component, Matrix, StoredType, Target, Weights};
use x2i_shaders::qmatmul;

use crate::common::{Made, f32_bytes, safetensors, source};

const OUT: usize = 24;
const INPUT: usize = 128;
const NAME: &str = "img_in.weight";

/// A layer as a library stores it.
struct Layer {
    kind: &'static str,
    tensors: Vec<Made>,
    /// `(number - zero) * scale` in f32, row by row.
    exact: Vec<f32>,
    /// What rounding that to the floats that the library gives loses, as a share of a number.
    rounding: f32,
    /// Bytes of 1024 numbers on a CPU and on a GPU.
    bytes: [u64; 2],
}

/// Numbers in `0..most`, scattered.
fn numbers(seed: usize, count: usize, most: usize) -> Vec<u8> {
    let number = |i: usize| (((i + seed) * 2_654_435_761) >> 13) % most;
    (0..count).map(|i| number(i) as u8).collect()
}

/// Scales that f16 and bf16 both hold.
fn scales(count: usize) -> Vec<f32> {
    let scale = |i: usize| (129 + i * 37 % 127) as f32 / 32_768.0;
    (0..count).map(scale).collect()
}

fn made(name: &str, stored: StoredType, shape: &[usize], bytes: Vec<u8>) -> Made {
    Made {
        name: format!("img_in.{name}"),
        stored,
        shape: shape.to_vec(),
        bytes,
    }
}

fn halves(values: &[f32], stored: StoredType) -> Vec<u8> {
    x2i_core::weights::quant::quantize(values, stored)
}

/// The weight, whose groups of `group` numbers of a row share a scale and a zero.
fn exact(numbers: &[u8], group: usize, scales: &[f32], zeros: impl Fn(usize) -> f32) -> Vec<f32> {
    let values = numbers.iter().enumerate();
    let values = values.map(|(i, &number)| {
        let group = i / group;
        (f32::from(number) - zeros(group)) * scales[group]
    });
    values.collect()
}

/// Eight numbers of 4 bits in a word.
fn words(numbers: impl IntoIterator<Item = u8>, order: [usize; 8]) -> Vec<u8> {
    let numbers: Vec<u8> = numbers.into_iter().collect();
    let word = |eight: &[u8; 8]| {
        let bits = (0..8).map(|place| u32::from(eight[order[place]]) << (4 * place));
        bits.sum::<u32>().to_le_bytes()
    };
    numbers.as_chunks().0.iter().flat_map(word).collect()
}

const IN_ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const AWQ_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// `[rows, columns]` by columns.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    let column = |at: usize| values[at..].iter().step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

fn awq() -> Layer {
    let groups = INPUT / 64;
    let (own, zeros) = (numbers(1, OUT * INPUT, 16), numbers(2, OUT * groups, 16));
    let scales = scales(OUT * groups);
    let packed = words(transposed(&own, INPUT), AWQ_ORDER);
    let packed_zeros = words(transposed(&zeros, groups), AWQ_ORDER);
    let halves = halves(&transposed(&scales, groups), StoredType::F16);
    Layer {
        kind: "AWQ",
        tensors: vec![
            made("qweight", StoredType::I32, &[INPUT, OUT / 8], packed),
            made("qzeros", StoredType::I32, &[groups, OUT / 8], packed_zeros),
            made("scales", StoredType::F16, &[groups, OUT], halves),
        ],
        exact: exact(&own, 64, &scales, |group| zeros[group].into()),
        rounding: 0.5 / 1024.0,
        bytes: [672, 768],
    }
}

/// compressed-tensors' numbers of 4 bits, with zeros or without.
fn packed(has_zeros: bool) -> Layer {
    let groups = INPUT / 32;
    let (own, zeros) = (numbers(3, OUT * INPUT, 16), numbers(4, OUT * groups, 16));
    let scales = scales(OUT * groups);
    let shape = [OUT, INPUT]
        .map(|size| (size as i64).to_le_bytes())
        .concat();
    let mut tensors = vec![
        made(
            "weight_packed",
            StoredType::I32,
            &[OUT, INPUT / 8],
            words(own.clone(), IN_ORDER),
        ),
        made(
            "weight_scale",
            StoredType::BF16,
            &[OUT, groups],
            halves(&scales, StoredType::BF16),
        ),
        made("weight_shape", StoredType::I64, &[2], shape),
    ];
    if has_zeros {
        // Packed along the rows.
        let words = words(transposed(&zeros, groups), IN_ORDER);
        let (words, _) = words.as_chunks::<4>();
        let zeros = transposed(words, OUT / 8).concat();
        let shape = [OUT / 8, groups];
        tensors.push(made("weight_zero_point", StoredType::I32, &shape, zeros));
    }
    Layer {
        kind: if has_zeros {
            "packed with zeros"
        } else {
            "packed"
        },
        tensors,
        exact: exact(&own, 32, &scales, |group| match has_zeros {
            true => zeros[group].into(),
            false => 8.0,
        }),
        rounding: 0.5 / 128.0,
        bytes: if has_zeros { [672, 768] } else { [640, 640] },
    }
}

/// int8 as it is stored, of numbers that 128 was added to.
fn signed(numbers: &[u8]) -> Vec<u8> {
    numbers.iter().map(|number| number ^ 128).collect()
}

/// compressed-tensors' int8 with a scale of each row, and a zero.
fn int8_rows() -> Layer {
    let (own, zeros) = (numbers(5, OUT * INPUT, 256), numbers(6, OUT, 256));
    let scales = scales(OUT);
    let shape = [OUT, 1];
    Layer {
        kind: "int8 with zeros",
        tensors: vec![
            made("weight", StoredType::I8, &[OUT, INPUT], signed(&own)),
            made("weight_scale", StoredType::F32, &shape, f32_bytes(&scales)),
            made("weight_zero_point", StoredType::I8, &shape, signed(&zeros)),
        ],
        exact: exact(&own, INPUT, &scales, |row| zeros[row].into()),
        rounding: 0.0,
        bytes: [1184, 1280],
    }
}

/// ComfyUI's int8 with one scale.
fn int8_tensor() -> Layer {
    let (own, scale) = (numbers(7, OUT * INPUT, 256), [0.012_345_678]);
    let format = br#"{"format": "int8_tensorwise"}"#.to_vec();
    Layer {
        kind: "ComfyUI's int8",
        tensors: vec![
            made("weight", StoredType::I8, &[OUT, INPUT], signed(&own)),
            made("weight_scale", StoredType::F32, &[], f32_bytes(&scale)),
            made("comfy_quant", StoredType::U8, &[format.len()], format),
        ],
        exact: exact(&own, OUT * INPUT, &scale, |_| 128.0),
        rounding: 0.0,
        bytes: [1152, 1152],
    }
}

/// LLM.int8, whose 1/127 is multiplied into the scale here, and last by the library: two roundings of f32.
fn llm_int8() -> Layer {
    let (own, scales) = (numbers(8, OUT * INPUT, 256), scales(OUT));
    let steps: Vec<f32> = scales.iter().map(|scale| scale * 0.007_874_016).collect();
    Layer {
        kind: "LLM.int8",
        tensors: vec![
            made("weight", StoredType::I8, &[OUT, INPUT], signed(&own)),
            made("SCB", StoredType::F32, &[OUT], f32_bytes(&scales)),
        ],
        exact: exact(&own, INPUT, &steps, |_| 128.0),
        rounding: 2.0 * f32::EPSILON,
        bytes: [1152, 1152],
    }
}

fn layers() -> [Layer; 6] {
    [
        awq(),
        packed(false),
        packed(true),
        int8_rows(),
        int8_tensor(),
        llm_int8(),
    ]
}

fn opened(tensors: &[Made]) -> Weights {
    let weights = Weights::open("part", Component::Flux, vec![source(safetensors(tensors))]);
    pollster::block_on(weights).unwrap_or_else(|error| panic!("{error}"))
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("f32 data")
}

#[test]
fn a_device_holds_blocks_of_exactly_the_products_of_numbers_and_scales() {
    let device = Device::flex();
    for layer in layers() {
        let (weights, kind) = (opened(&layer.tensors), layer.kind);
        let scope = weights.scope(&device).child("img_in");
        for rows in [0..OUT, 0..1, 3..13, OUT - 1..OUT] {
            let part = layer.exact[rows.start * INPUT..rows.end * INPUT].to_vec();
            let matrix = scope.matrix_rows("weight", [OUT, INPUT], rows);
            let Ok(Matrix::Quantized(blocks)) = pollster::block_on(matrix) else {
                panic!("{kind} is dense");
            };
            assert_eq!(
                Some(blocks.block_type()),
                weights.as_blocks(NAME, Target::Gpu),
                "{kind}"
            );
            assert_eq!(floats(blocks.dequantize()), part, "{kind}");
        }
    }
}

#[test]
fn blocks_differ_from_a_library_s_floats_by_their_rounding() {
    for layer in layers() {
        let tensor = pollster::block_on(opened(&layer.tensors).read(NAME)).map(|t| t.to_f32());
        let dense = tensor.expect(layer.kind);
        for (exact, dense) in layer.exact.iter().zip(dense) {
            let most = layer.rounding * exact.abs();
            assert!(
                (exact - dense).abs() <= most,
                "{}: {exact} {dense}",
                layer.kind
            );
        }
    }
}

#[test]
fn weights_of_four_and_eight_bits_take_no_more_on_a_device() {
    for layer in layers() {
        let weights = opened(&layer.tensors);
        let found = [Target::Cpu, Target::Gpu].map(|target| weights.loaded_len(NAME, target));
        let expected = layer.bytes.map(|bytes| bytes * (OUT * INPUT) as u64 / 1024);
        assert_eq!(found, expected, "{}", layer.kind);
        assert_eq!(weights.device_len("", &Device::flex()), expected[0]);
    }
}

#[test]
fn a_layer_gives_the_product_of_the_exact_weight() {
    /// Inputs of 16 bits: 1e-4 of the largest output. Of 8 bits (7 beside 8): one step in 64 of the largest
    /// input, averaged over 128 numbers.
    const TOLERANCES: [(InputBits, f32); 2] =
        [(InputBits::Sixteen, 1e-4), (InputBits::AsWeights, 2e-2)];
    let device = Device::flex();
    for layer in layers() {
        for (m, (input_bits, tolerance)) in
            [1, 20].into_iter().flat_map(|m| TOLERANCES.map(|t| (m, t)))
        {
            let weights = opened(&layer.tensors);
            let scope = weights.scope(&device).with_input_bits(input_bits);
            let scope = scope.child("img_in");
            let matrix = pollster::block_on(scope.matrix("weight", [OUT, INPUT]));
            let Ok(Matrix::Quantized(weight)) = matrix else {
                panic!("{} is dense", layer.kind);
            };
            let x: Vec<f32> = (0..m * INPUT)
                .map(|i| (i * 7919 % 997) as f32 / 498.0 - 1.0)
                .collect();
            let rows = layer.exact.chunks_exact(INPUT);
            let expected = x.chunks_exact(INPUT).flat_map(|x| {
                let dot = move |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
                rows.clone().map(dot)
            });
            let expected: Vec<f32> = expected.collect();
            let largest = expected.iter().fold(0.0, |most: f32, y| most.max(y.abs()));
            let x = Tensor::<2>::from_data(TensorData::new(x.clone(), [m, INPUT]), &device);
            for (found, expected) in floats(qmatmul(x, &weight, None)).iter().zip(&expected) {
                let off = (found - expected).abs();
                assert!(
                    off <= tolerance * largest,
                    "{} {input_bits:?}: {found}, not {expected}",
                    layer.kind
                );
            }
        }
    }
}

#[test]
fn groups_that_are_not_whole_blocks_stay_dense() {
    let (input, scales) = (48, scales(OUT));
    let tensors = [
        made(
            "weight",
            StoredType::I8,
            &[OUT, input],
            numbers(9, OUT * input, 256),
        ),
        made(
            "weight_scale",
            StoredType::F32,
            &[OUT, 1],
            f32_bytes(&scales),
        ),
    ];
    let weights = opened(&tensors);
    assert_eq!(weights.as_blocks(NAME, Target::Gpu), None);
    let device = Device::flex();
    let scope = weights.scope(&device).child("img_in");
    let matrix = pollster::block_on(scope.matrix("weight", [OUT, input]));
    assert!(matches!(matrix, Ok(Matrix::Dense(_))));
    assert_eq!(
        weights.loaded_len(NAME, Target::Gpu),
        4 * (OUT * input) as u64
    );
}
