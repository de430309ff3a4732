//! A model whose matrices are whole numbers with scales, as other libraries or ggml's tables store them, and
//! the same numbers as f32.
//!
//! Numbers are the nearest ones; nothing else is optimised, because both models have them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use x2i_core::weights::{Component, MemorySource, StoredType, Weights, quant};

use crate::case::Fallible;
use crate::device::Effort;
use crate::quantized::Quantized;

/// Numbers that share a scale.
const GROUP: usize = 32;
/// AWQ's columns in the order of a word's nibbles.
const AWQ_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// How the numbers are stored.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// AutoAWQ's `qweight`, `qzeros` and `scales`.
    Awq,
    /// compressed-tensors' `weight_packed` of 4 bits.
    Packed,
    /// compressed-tensors' int8 with a scale for each row.
    Int8,
    /// Nibbles through a table.
    Table(StoredType),
}

impl Kind {
    /// All of them; one where cases are to be brief.
    pub fn all(effort: Effort) -> &'static [Self] {
        match effort {
            Effort::Whole => &[
                Self::Awq,
                Self::Packed,
                Self::Int8,
                Self::Table(StoredType::IQ4NL),
                Self::Table(StoredType::MXFP4),
            ],
            Effort::Brief => &[Self::Awq],
        }
    }

    /// The tensors of a layer, and its numbers as f32.
    fn store(self, layer: &str, [rows, columns]: [usize; 2], values: &[f32]) -> Layer {
        let groups = columns / GROUP;
        let named = |ending: &str, stored, shape: &[usize], bytes| {
            (format!("{layer}.{ending}"), stored, shape.to_vec(), bytes)
        };
        match self {
            Self::Awq => {
                let rounded = Rounded::of(values, GROUP, |low, high| {
                    let range = (high.max(0.0) - low.min(0.0)).max(1e-3);
                    let scale = rounded_to(StoredType::F16, range / 15.0);
                    (scale, (-low.min(0.0) / scale).round().min(15.0))
                });
                let scales = transposed(&rounded.scales, groups);
                let scales = quant::quantize(&scales, StoredType::F16);
                let numbers = words(&transposed(&rounded.numbers, columns), AWQ_ORDER);
                let zeros = words(&transposed(&rounded.zeros, groups), AWQ_ORDER);
                let tensors = vec![
                    named("qweight", StoredType::I32, &[columns, rows / 8], numbers),
                    named("qzeros", StoredType::I32, &[groups, rows / 8], zeros),
                    named("scales", StoredType::F16, &[groups, rows], scales),
                ];
                (tensors, rounded.values())
            }
            Self::Packed => {
                let rounded = Rounded::of(values, GROUP, |low, high| {
                    let largest = high.max(-low).max(1e-3);
                    (rounded_to(StoredType::BF16, largest / 7.0), 8.0)
                });
                let scales = quant::quantize(&rounded.scales, StoredType::BF16);
                let numbers = words(&rounded.numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
                let shape = [rows as i64, columns as i64].map(i64::to_le_bytes).concat();
                let packed = [rows, columns / 8];
                let tensors = vec![
                    named("weight_packed", StoredType::I32, &packed, numbers),
                    named("weight_scale", StoredType::BF16, &[rows, groups], scales),
                    named("weight_shape", StoredType::I64, &[2], shape),
                ];
                (tensors, rounded.values())
            }
            Self::Int8 => {
                let rounded = Rounded::of(values, columns, |low, high| {
                    (high.max(-low).max(1e-3) / 127.0, 128.0)
                });
                let numbers = rounded.numbers.iter().map(|number| number ^ 128);
                let scales = quant::quantize(&rounded.scales, StoredType::F32);
                let tensors = vec![
                    named(
                        "weight",
                        StoredType::I8,
                        &[rows, columns],
                        numbers.collect(),
                    ),
                    named("weight_scale", StoredType::F32, &[rows, 1], scales),
                ];
                (tensors, rounded.values())
            }
            Self::Table(_) => unreachable!("a table's blocks are a tensor"),
        }
    }
}

/// Tensors with their names, and the numbers that they stand for.
type Layer = (Vec<Tensor>, Vec<f32>);
type Tensor = (String, StoredType, Vec<usize>, Vec<u8>);

/// Whole numbers of groups.
struct Rounded {
    group: usize,
    numbers: Vec<u8>,
    zeros: Vec<u8>,
    scales: Vec<f32>,
}

impl Rounded {
    /// `factors` gives a group's scale and zero for its smallest and largest value. A zero of 128 means
    /// numbers of 8 bits, any other of 4.
    fn of(values: &[f32], group: usize, factors: impl Fn(f32, f32) -> (f32, f32)) -> Self {
        let (mut numbers, mut zeros, mut scales) = (vec![], vec![], vec![]);
        for values in values.chunks_exact(group) {
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (scale, zero) = factors(low, high);
            let most = if zero == 128.0 { 255.0 } else { 15.0 };
            let number = |value: &f32| (value / scale + zero).round().clamp(0.0, most) as u8;
            numbers.extend(values.iter().map(number));
            zeros.push(zero as u8);
            scales.push(scale);
        }
        Self {
            group,
            numbers,
            zeros,
            scales,
        }
    }

    fn values(&self) -> Vec<f32> {
        let value = |(i, &number): (usize, &u8)| {
            let group = i / self.group;
            (f32::from(number) - f32::from(self.zeros[group])) * self.scales[group]
        };
        self.numbers.iter().enumerate().map(value).collect()
    }
}

/// The nearest number of this type.
fn rounded_to(stored: StoredType, value: f32) -> f32 {
    quant::dequantize(&quant::quantize(&[value], stored), stored)[0]
}

/// Eight numbers a word, the number `order[place]` at each place.
fn words(numbers: &[u8], order: [usize; 8]) -> Vec<u8> {
    let word = |eight: &[u8; 8]| {
        let bits = (0..8).map(|place| u32::from(eight[order[place]]) << (4 * place));
        bits.sum::<u32>().to_le_bytes()
    };
    numbers.as_chunks().0.iter().flat_map(word).collect()
}

/// `[rows, columns]` by columns.
fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    let column = |at: usize| values[at..].iter().step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// Blocks of a table: the places of the nearest numbers.
fn table_blocks(stored: StoredType, values: &[f32]) -> Vec<u8> {
    let mut blocks = vec![];
    for values in values.as_chunks::<GROUP>().0 {
        let largest = values.iter().fold(1e-3, |most: f32, v| most.max(v.abs()));
        let head = match stored {
            StoredType::MXFP4 => vec![((largest / 6.0).log2().ceil() + 127.0) as u8],
            _ => quant::quantize(&[largest / 113.0], StoredType::F16),
        };
        let every: Vec<u8> = head.iter().copied().chain(0..16).collect();
        let table = &quant::dequantize(&every, stored)[..16];
        let off = |place: &u8, value: f32| (table[usize::from(*place)] - value).abs();
        let place = |value: f32| {
            let nearest = (0..16).min_by(|a, b| off(a, value).total_cmp(&off(b, value)));
            nearest.unwrap_or(0)
        };
        let (low, high) = values.split_at(GROUP / 2);
        blocks.extend(head);
        blocks.extend(
            low.iter()
                .zip(high)
                .map(|(&low, &high)| place(low) | place(high) << 4),
        );
    }
    blocks
}

/// The transformer with every matrix whose rows are whole groups stored so.
pub async fn repack(weights: &Weights, kind: Kind) -> Fallible<Quantized> {
    let (mut blocks, mut plain) = (vec![], vec![]);
    for name in weights.names() {
        let tensor = weights.read(name).await?;
        let (shape, values) = (tensor.shape.clone(), tensor.to_f32());
        let layer = name.strip_suffix(".weight");
        let (stored, exact) = match (layer, shape.as_slice(), kind) {
            (Some(_), &[_, columns], Kind::Table(stored)) if columns.is_multiple_of(GROUP) => {
                let bytes = table_blocks(stored, &values);
                let exact = quant::dequantize(&bytes, stored);
                (vec![(name.to_owned(), stored, shape.clone(), bytes)], exact)
            }
            (Some(layer), &[rows, columns], kind)
                if columns.is_multiple_of(GROUP)
                    && rows.is_multiple_of(8)
                    && !matches!(kind, Kind::Table(_)) =>
            {
                kind.store(layer, [rows, columns], &values)
            }
            _ => {
                let bytes = quant::quantize(&values, StoredType::F32);
                let same = (name.to_owned(), StoredType::F32, shape.clone(), bytes);
                (vec![same], values)
            }
        };
        blocks.extend(stored);
        let bytes = quant::quantize(&exact, StoredType::F32);
        plain.push((name.to_owned(), StoredType::F32, shape, bytes));
    }
    let blocks = match kind {
        Kind::Table(_) => gguf(&blocks).await?,
        _ => opened(safetensors(&blocks)).await?,
    };
    Ok(Quantized {
        blocks,
        values: opened(safetensors(&plain)).await?,
    })
}

async fn gguf(tensors: &[Tensor]) -> Fallible<Weights> {
    let tensors = tensors
        .iter()
        .map(|(name, stored, shape, bytes)| (name.as_str(), *stored, shape.clone(), bytes.clone()));
    crate::quantized::file(Component::Flux, tensors.collect()).await
}

async fn opened(bytes: Vec<u8>) -> Fallible<Weights> {
    let source = MemorySource::new("memory", bytes);
    Ok(Weights::open("memory", Component::Flux, vec![Arc::new(source)]).await?)
}

fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let (mut data, mut header) = (vec![], Map::new());
    for (name, stored, shape, bytes) in tensors {
        let begin = data.len();
        data.extend(bytes);
        let entry = json!({
            "dtype": stored.to_string(), "shape": shape, "data_offsets": [begin, data.len()]
        });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &data].concat()
}
