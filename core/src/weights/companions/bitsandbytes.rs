//! bitsandbytes' companions: four bits (NF4, FP4) and LLM.int8.

use serde::Deserialize;
use x2i_shaders::BlockType;

use super::layer::{Layer, Role};
use crate::error::Result;
use crate::weights::coded::{Absmax, Coded, Formula, FourBit, Grid, Nested, Scaled};
use crate::weights::file::WeightFile;
use crate::weights::place::Place;
use crate::weights::stored::{StoredType, element_count};

/// 1/127 as bitsandbytes multiplies with it.
const INT8_STEP: f32 = 0.007_874_016;

/// The JSON of a `quant_state` tensor.
#[derive(Deserialize)]
struct State {
    quant_type: String,
    blocksize: u64,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<u64>,
    nested_offset: Option<f32>,
    nested_dtype: Option<String>,
}

/// A weight of four bits.
///
/// # Errors
/// [`crate::Error::Format`] naming a companion that is missing, or that is not as it should be.
pub(super) fn four_bit(files: &[WeightFile], layer: &mut Layer, first: &Place) -> Result<Coded> {
    let numbers = layer.need_weight(files, first)?;
    let place = layer.need(files, Role::State, &numbers)?;
    let state = state(files, &place)?;
    let stored = match state.dtype.as_str() {
        "float32" => StoredType::F32,
        "float16" => StoredType::F16,
        "bfloat16" => StoredType::BF16,
        other => return Err(place.refuse(files, format!("names an unknown dtype {other:?}"))),
    };
    let map = layer.need(files, Role::Map, &place)?;
    expect(files, &map, StoredType::F32, 16)?;
    let values = layer.need(files, Role::Absmax, &place)?;
    let overflows = || place.refuse(files, "names a shape that overflows");
    let count = element_count(&state.shape).ok_or_else(overflows)?;
    if count == 0 || state.blocksize == 0 || state.shape.is_empty() {
        return Err(place.refuse(files, "names an empty shape or block"));
    }
    expect(files, &numbers, StoredType::U8, count.div_ceil(2))?;
    let blocks = count.div_ceil(state.blocksize);
    let nested = match layer.take(Role::NestedAbsmax) {
        Some(absmax) => {
            let map = layer.need(files, Role::NestedMap, &absmax)?;
            Some(nested(files, &place, &state, blocks, absmax, map)?)
        }
        None => None,
    };
    let kind = match nested {
        Some(_) => StoredType::U8,
        None => StoredType::F32,
    };
    expect(files, &values, kind, blocks)?;
    Ok(Coded {
        formula: Formula::FourBit(FourBit {
            numbers,
            products: products(files, &map).filter(|_| state.blocksize.is_multiple_of(32)),
            map,
            block: state.blocksize,
            absmax: Absmax { values, nested },
        }),
        stored,
        shape: state.shape,
    })
}

/// The blocks of products that know the numbers of a map.
fn products(files: &[WeightFile], map: &Place) -> Option<BlockType> {
    let bytes = files[map.file].note(&map.name)?;
    let numbers = bytes
        .as_chunks()
        .0
        .iter()
        .map(|&number| f32::from_le_bytes(number));
    let numbers: Vec<f32> = numbers.collect();
    let mut known = [BlockType::NF4, BlockType::FP4].into_iter();
    known.find(|known| known.float_table().is_some_and(|table| numbers == table))
}

fn state(files: &[WeightFile], place: &Place) -> Result<State> {
    let json = files[place.file].note(&place.name).unwrap_or_default();
    let state: State = serde_json::from_slice(json)
        .map_err(|error| place.refuse(files, format!("can't be read: {error}")))?;
    let named = place.name.rsplit("__").next().unwrap_or_default();
    if state.quant_type != named {
        let reason = format!("says the quant_type {:?}", state.quant_type);
        return Err(place.refuse(files, reason));
    }
    if let Some(other) = state
        .nested_dtype
        .as_ref()
        .filter(|dtype| *dtype != "float32")
    {
        return Err(place.refuse(files, format!("names an unknown nested_dtype {other:?}")));
    }
    Ok(state)
}

fn nested(
    files: &[WeightFile],
    place: &Place,
    state: &State,
    blocks: u64,
    absmax: Place,
    map: Place,
) -> Result<Nested> {
    let (Some(block @ 1..), Some(offset)) = (state.nested_blocksize, state.nested_offset) else {
        return Err(place.refuse(files, "lacks nested_blocksize or nested_offset"));
    };
    expect(files, &map, StoredType::F32, 256)?;
    expect(files, &absmax, StoredType::F32, blocks.div_ceil(block))?;
    Ok(Nested {
        map,
        absmax,
        block,
        offset,
    })
}

/// A weight of LLM.int8: rows, each with its largest magnitude.
///
/// # Errors
/// As [`four_bit`].
pub(super) fn llm_int8(files: &[WeightFile], layer: &mut Layer, first: &Place) -> Result<Coded> {
    if let Some(format) = layer.take(Role::WeightFormat) {
        // 0 is rows; the others are orders for one kind of GPU.
        if files[format.file].note(&format.name) != Some(&[0]) {
            let reason = "says that the weight is not stored by rows; save it again as `row`";
            return Err(format.refuse(files, reason));
        }
    }
    let scb = layer.need(files, Role::Scb, first)?;
    let numbers = layer.need_weight(files, &scb)?;
    let info = numbers.info(files);
    let shape = info.shape.clone();
    expect(files, &numbers, StoredType::I8, info.elements())?;
    expect(
        files,
        &scb,
        StoredType::F32,
        shape.first().copied().unwrap_or(0) as u64,
    )?;
    let rows = [shape.first().copied().unwrap_or(0), 1];
    let grid = Grid::of(&shape, &rows);
    let grid = grid.ok_or_else(|| scb.refuse(files, "stands beside a weight without rows"))?;
    Ok(Coded {
        formula: Formula::Scaled(Scaled {
            numbers,
            scales: scb,
            zeros: None,
            grid,
            factor: INT8_STEP,
        }),
        stored: StoredType::F32,
        shape,
    })
}

/// Fails unless the tensor holds so many numbers of this type.
fn expect(files: &[WeightFile], place: &Place, stored: StoredType, count: u64) -> Result<()> {
    let info = place.info(files);
    if info.stored == stored && info.elements() == count {
        return Ok(());
    }
    let reason = format!(
        "holds {} numbers of {}, its quantization needs {count} of {stored}",
        info.elements(),
        info.stored
    );
    Err(place.refuse(files, reason))
}
