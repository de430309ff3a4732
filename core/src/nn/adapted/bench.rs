//! A small FLUX's tensors, LoRA files in memory, and a layer's outputs.

use std::sync::Arc;

use crate::nn::{Bias, Linear};
use crate::weights::gguf::GgufWriter;
use crate::weights::{Component, MemorySource, StoredType, Weights, quant};
use crate::{Lora, LoraConfig};
use burn::tensor::{Device, Tensor, TensorData};

use super::oracle::Matrix;

pub const HIDDEN: usize = 32;
pub const MLP: usize = 128;
/// Sums of f32, as a share of the largest output.
pub const DENSE: f64 = 2e-5;
/// Products of blocks round their inputs to 16 bits.
pub const BLOCKS: f64 = 2e-3;
/// Rows of inputs.
const INPUTS: usize = 3;

/// The tensors of the model.
pub const SHAPES: &[(&str, &[usize])] = &[
    ("img_in.weight", &[HIDDEN, 32]),
    ("img_in.bias", &[HIDDEN]),
    ("double_blocks.0.img_attn.qkv.weight", &[3 * HIDDEN, HIDDEN]),
    ("double_blocks.0.img_attn.qkv.bias", &[3 * HIDDEN]),
    ("double_blocks.0.img_attn.norm.query_norm.scale", &[8]),
    ("double_blocks.0.img_mlp.0.weight", &[MLP, HIDDEN]),
    ("double_blocks.0.img_mlp.0.bias", &[MLP]),
    (
        "single_blocks.0.linear1.weight",
        &[3 * HIDDEN + MLP, HIDDEN],
    ),
    ("single_blocks.0.linear1.bias", &[3 * HIDDEN + MLP]),
    (
        "final_layer.adaLN_modulation.1.weight",
        &[2 * HIDDEN, HIDDEN],
    ),
    ("final_layer.adaLN_modulation.1.bias", &[2 * HIDDEN]),
];

/// The model, its matrices stored so.
pub fn model(stored: StoredType) -> Weights {
    let mut plan = vec![];
    let mut bytes = vec![];
    for (at, (name, shape)) in SHAPES.iter().enumerate() {
        let stored = match shape.len() {
            1 => StoredType::F32,
            _ => stored,
        };
        let columns = shape.get(1).copied().unwrap_or(1);
        let values = Matrix::random(100 + at as u32, shape[0], columns).f32s();
        bytes.push(quant::quantize(&values, stored));
        plan.push(((*name).to_owned(), stored, shape.to_vec()));
    }
    let writer = GgufWriter::new(vec![], plan).expect("a plan");
    let mut file = writer.start("model", Vec::new()).expect("a header");
    for bytes in &bytes {
        file.write_tensor(bytes).expect("a tensor");
    }
    let source = MemorySource::new("model", file.finish().expect("a whole file"));
    let weights = Weights::open("model", Component::Flux, vec![Arc::new(source)]);
    pollster::block_on(weights).expect("a model")
}

/// The numbers of a tensor of the model; a vector has one column.
pub fn own(weights: &Weights, name: &str) -> Matrix {
    let tensor = pollster::block_on(weights.read(name)).expect("a tensor");
    let columns = tensor.shape.get(1).copied().unwrap_or(1);
    Matrix::from_f32(tensor.shape[0], columns, &tensor.to_f32())
}

/// A tensor of a LoRA file: its key, its shape and its numbers.
pub type Made = (String, Vec<usize>, Vec<f32>);

pub fn made(key: impl Into<String>, matrix: &Matrix) -> Made {
    (key.into(), vec![matrix.rows, matrix.columns], matrix.f32s())
}

pub fn number(key: impl Into<String>, value: f32) -> Made {
    (key.into(), vec![], vec![value])
}

/// A safetensors file of f32 tensors with this metadata, which is JSON.
pub fn safetensors(tensors: &[Made], metadata: &str) -> Vec<u8> {
    let stored = tensors.iter().map(|(key, shape, values)| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        (key.as_str(), "F32", shape.as_slice(), bytes.collect())
    });
    stored_safetensors(stored, metadata)
}

/// The same of tensors as they are stored: key, type, shape and bytes.
pub fn stored_safetensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a str, &'a [usize], Vec<u8>)>,
    metadata: &str,
) -> Vec<u8> {
    let (mut data, mut entries) = (vec![], vec![format!(r#""__metadata__":{metadata}"#)]);
    for (key, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend(bytes);
        let end = data.len();
        entries.push(format!(
            r#""{key}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &data].concat()
}

pub fn open(tensors: &[Made], strength: f32) -> crate::Result<Lora> {
    open_with(tensors, "{}", None, strength)
}

pub fn open_with(
    tensors: &[Made],
    metadata: &str,
    config: Option<&str>,
    strength: f32,
) -> crate::Result<Lora> {
    let source = MemorySource::new("lora", safetensors(tensors, metadata));
    let config = config
        .map(|json| LoraConfig::parse("adapter_config.json", json.as_bytes()))
        .transpose()?;
    pollster::block_on(Lora::open_with(Arc::new(source), strength, config.as_ref()))
}

/// The model with these LoRAs.
pub fn adapted(stored: StoredType, loras: Vec<Lora>) -> crate::Result<Weights> {
    let mut weights = model(stored);
    let loras: Vec<Arc<Lora>> = loras.into_iter().map(Arc::new).collect();
    weights.adapt(&loras)?;
    Ok(weights)
}

/// The sentence that a LoRA beside the model is refused with.
pub fn refusal(tensors: &[Made]) -> String {
    let lora = open(tensors, 1.0);
    let error = lora.and_then(|lora| adapted(StoredType::F32, vec![lora]));
    error.expect_err("it is refused").to_string()
}

/// Inputs of a layer.
fn inputs(columns: usize) -> Matrix {
    Matrix::random(7, INPUTS, columns)
}

/// What some rows of a layer give for the inputs, `[inputs, rows]`.
pub fn outputs(weights: &Weights, layer: &str, rows: std::ops::Range<usize>) -> Vec<f32> {
    let device = Device::flex();
    let shape = weights.shape(&format!("{layer}.weight")).expect("a layer");
    let [out, columns] = [shape[0], shape[1]];
    let scope = weights.scope(&device).child(layer);
    let linear = Linear::load_rows(&scope, [out, columns], rows, Bias::Yes);
    let linear = pollster::block_on(linear).expect("it loads");
    let x = TensorData::new(inputs(columns).f32s(), [INPUTS, columns]);
    let y = linear.forward(Tensor::<2>::from_data(x, &device));
    y.into_data().try_to_vec().expect("f32 data")
}

/// A layer gives what a matrix and a bias of f64 give: as a whole, and in two parts.
#[track_caller]
pub fn assert_gives(
    weights: &Weights,
    layer: &str,
    matrix: &Matrix,
    bias: &Matrix,
    tolerance: f64,
) {
    let exact = inputs(matrix.columns).times(&matrix.transposed());
    let exact = exact.map(|_, row, value| value + bias.at(row, 0));
    let largest = exact
        .values
        .iter()
        .fold(0.0f64, |most, value| most.max(value.abs()));
    let cut = matrix.rows * 3 / 7;
    for rows in [0..matrix.rows, 0..cut, cut..matrix.rows] {
        let ours = outputs(weights, layer, rows.clone());
        assert_eq!(ours.len(), INPUTS * rows.len());
        for (at, ours) in ours.iter().enumerate() {
            let exact = exact.at(at / rows.len(), rows.start + at % rows.len());
            let off = (f64::from(*ours) - exact).abs() / largest;
            assert!(
                off < tolerance,
                "{layer} {rows:?} at {at}: {ours}, not {exact} ({off:e} of {largest})"
            );
        }
    }
}
