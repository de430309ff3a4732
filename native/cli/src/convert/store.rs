//! Converts one tensor to its new type, slice by slice, so that memory does not grow with its size.

use anyhow::Result;
use rayon::prelude::*;
use x2i_core::Error;
use x2i_core::weights::{StoredType, Weights, all_finite, quant};

use super::plan::Planned;

/// Numbers in memory at a time; a multiple of every block size.
const PART: u64 = 1 << 22;
/// Numbers that a thread converts at a time; a multiple of every block size.
const SLICE: usize = 1 << 16;
/// The least number that rounds to infinity in f16.
const F16_MAX: f32 = 65_520.0;

/// Hands the tensor's bytes in the `planned` type to `write`, slice by slice; unchanged if the type
/// is the same.
///
/// # Errors
/// Those of reading and of `write`, and [`Error::Format`] for numbers that the type can't hold.
pub(crate) fn store(
    weights: &Weights,
    planned: &Planned,
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (name, to, shape) = planned;
    let from = weights.stored(name).unwrap_or(*to);
    let failed =
        |reason: String| Error::format(weights.file_of(name), format!("tensor `{name}` {reason}"));
    let elements = shape.iter().map(|&size| size as u64).product::<u64>();
    let mut start = 0;
    loop {
        let end = elements.min(start + PART);
        let bytes = pollster::block_on(weights.read_part(name, start..end))?;
        if from == *to {
            check_finite(&bytes, from).map_err(failed)?;
            write(&bytes)?;
        } else {
            for bytes in convert(&bytes, from, *to).map_err(failed)? {
                write(&bytes)?;
            }
        }
        start = end;
        if start == elements {
            return Ok(());
        }
    }
}

/// Converts the numbers in `bytes` to another type; returns the slices in order.
fn convert(bytes: &[u8], from: StoredType, to: StoredType) -> Result<Vec<Vec<u8>>, String> {
    bytes
        .par_chunks(SLICE / from.block_len() * from.block_bytes())
        .map(|slice| {
            let values = quant::dequantize(slice, from);
            check(&values, to)?;
            Ok(quant::quantize(&values, to))
        })
        .collect()
}

/// What is wrong with a tensor of numbers that are not finite.
const NOT_FINITE: &str = "holds NaN or an infinity; the file is damaged: get it again";

/// Checks numbers that are stored as they are.
fn check_finite(bytes: &[u8], stored: StoredType) -> Result<(), String> {
    let finite = bytes
        .par_chunks(SLICE / stored.block_len() * stored.block_bytes())
        .all(|slice| all_finite(slice, stored));
    finite.then_some(()).ok_or_else(|| NOT_FINITE.into())
}

/// Checks that the type can hold the numbers.
fn check(values: &[f32], to: StoredType) -> Result<(), String> {
    if !values.iter().all(|value| value.is_finite()) {
        return Err(NOT_FINITE.into());
    }
    let too_large = |value: &&f32| value.abs() >= F16_MAX;
    if to == StoredType::F16
        && let Some(value) = values.iter().find(too_large)
    {
        return Err(format!(
            "holds {value}, which f16 can't; keep its type with --quantize none, or give it another with --override"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_type_can_not_hold_are_refused() {
        assert!(check(&[65_504.0, -65_519.0], StoredType::F16).is_ok());
        assert!(check(&[f32::INFINITY], StoredType::F16).is_err());
        assert!(check(&[f32::NAN], StoredType::F32).is_err());
        assert!(check(&[1.0, -70_000.0], StoredType::F16).is_err());
        assert!(check(&[70_000.0], StoredType::BF16).is_ok());
        assert!(check(&[f32::NAN; 32], StoredType::Q8_0).is_err());
        assert!(check(&[70_000.0; 32], StoredType::Q8_0).is_ok());
    }

    #[test]
    fn slices_follow_each_other_as_one_tensor() -> Result<(), String> {
        let values: Vec<f32> = (0..2 * SLICE + 256).map(|i| (i % 1000) as f32).collect();
        let bytes = quant::quantize(&values, StoredType::F32);
        for to in [
            StoredType::Q8_0,
            StoredType::Q4_0,
            StoredType::Q4K,
            StoredType::F16,
        ] {
            let slices = convert(&bytes, StoredType::F32, to)?;
            assert_eq!(slices.len(), 3);
            assert!(slices.concat() == quant::quantize(&values, to), "{to}");
        }
        let blocks = quant::quantize(&values, StoredType::Q4_0);
        let back = convert(&blocks, StoredType::Q4_0, StoredType::F32)?.concat();
        let expected = quant::dequantize(&blocks, StoredType::Q4_0);
        assert!(back == quant::quantize(&expected, StoredType::F32));
        Ok(())
    }
}
