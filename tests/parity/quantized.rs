//! A model whose matrices are blocks, and the same numbers as f32.
//!
//! What quantizing loses is the model's choice; what computing with blocks adds is ours to keep
//! small. So the two are compared with each other, and only the first with the golden.

use std::sync::Arc;

use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{Component, MemorySource, StoredType, Weights, quant};

use crate::case::Fallible;
use crate::device::Effort;

/// The types that `x2i convert --quantize` makes; one of them where cases are to be brief.
pub fn types(effort: Effort) -> &'static [StoredType] {
    match effort {
        Effort::Whole => &[StoredType::Q8_0, StoredType::Q4_0, StoredType::Q4K],
        Effort::Brief => &[StoredType::Q4_0],
    }
}

/// The largest difference between the two, as a share of the largest value.
pub const TOLERANCE: f32 = 1e-3;

/// One part of a model, stored twice.
pub struct Quantized {
    /// Every matrix whose rows divide into blocks is stored in blocks.
    pub blocks: Weights,
    /// The numbers that these blocks stand for, as f32.
    pub values: Weights,
}

/// None where no matrix has rows that divide into blocks of this type.
pub async fn quantize(
    weights: &Weights,
    component: Component,
    stored: StoredType,
) -> Fallible<Option<Quantized>> {
    let (mut blocks, mut values) = (vec![], vec![]);
    for name in weights.names() {
        let tensor = weights.read(name).await?;
        let shape = tensor.shape.clone();
        let row = shape.last().copied().unwrap_or(0);
        if shape.len() == 2 && row > 0 && row.is_multiple_of(stored.block_len()) {
            let bytes = quant::quantize(&tensor.to_f32(), stored);
            values.push((
                name,
                StoredType::F32,
                shape.clone(),
                f32_bytes(&bytes, stored),
            ));
            blocks.push((name, stored, shape, bytes));
        } else {
            let bytes = f32_bytes(&tensor.bytes, tensor.stored);
            values.push((name, StoredType::F32, shape.clone(), bytes.clone()));
            blocks.push((name, StoredType::F32, shape, bytes));
        }
    }
    if blocks
        .iter()
        .all(|(_, stored, ..)| *stored == StoredType::F32)
    {
        return Ok(None);
    }
    Ok(Some(Quantized {
        blocks: file(component, blocks).await?,
        values: file(component, values).await?,
    }))
}

fn f32_bytes(bytes: &[u8], stored: StoredType) -> Vec<u8> {
    quant::quantize(&quant::dequantize(bytes, stored), StoredType::F32)
}

/// A tensor to be written: its name, type, shape and bytes.
pub type Stored<'a> = (&'a str, StoredType, Vec<usize>, Vec<u8>);

/// A GGUF file in memory, opened.
pub async fn file(component: Component, tensors: Vec<Stored<'_>>) -> Fallible<Weights> {
    let plan = tensors
        .iter()
        .map(|(name, stored, shape, _)| ((*name).to_owned(), *stored, shape.clone()));
    let mut body = GgufWriter::new(vec![], plan.collect())?.start("memory", Vec::new())?;
    for (_, _, _, bytes) in &tensors {
        body.write_tensor(bytes)?;
    }
    let source = MemorySource::new("memory", body.finish()?);
    Ok(Weights::open("memory", component, vec![Arc::new(source)]).await?)
}

/// How far numbers are from golden ones: the norm of the difference by the norm.
pub fn relative_error(ours: &[f32], golden: &[f32]) -> f32 {
    let square = |sum: f64, x: f32| sum + f64::from(x) * f64::from(x);
    let difference = ours
        .iter()
        .zip(golden)
        .map(|(a, b)| a - b)
        .fold(0.0, square);
    (difference / golden.iter().copied().fold(0.0, square)).sqrt() as f32
}
