//! Numbers of four or eight bits that share i32: AWQ and compressed-tensors' `pack-quantized`.

use super::layer::{Layer, Role};
use crate::error::{Error, Result};
use crate::weights::coded::{AWQ_PACK, Awq, Coded, Formula, Packed};
use crate::weights::file::WeightFile;
use crate::weights::place::Place;
use crate::weights::stored::StoredType;

/// AWQ's three tensors, in the layout of `version: gemm`.
///
/// # Errors
/// [`crate::Error::Format`] naming a companion that is missing, or of another layout (GPTQ's has
/// the same names).
pub(super) fn awq(files: &[WeightFile], layer: &mut Layer, first: &Place) -> Result<Coded> {
    let numbers = layer.need(files, Role::Qweight, first)?;
    let scales = layer.need(files, Role::Scales, &numbers)?;
    let zeros = layer.need(files, Role::Qzeros, &numbers)?;
    let info = |place: &Place| {
        let info = place.info(files);
        match *info.shape.as_slice() {
            [rows, columns] => Some((info.stored, rows, columns)),
            _ => None,
        }
    };
    let layout = || {
        let reason = "is not in AWQ's layout of `version: gemm` (GPTQ's and AWQ's other layouts are \
                      not read)";
        numbers.refuse(files, reason)
    };
    let (Some((StoredType::I32, input, packs)), Some((StoredType::I32, groups, zero_packs))) =
        (info(&numbers), info(&zeros))
    else {
        return Err(layout());
    };
    let out = packs.checked_mul(AWQ_PACK).ok_or_else(layout)?;
    let fits = info(&scales) == Some((StoredType::F16, groups, out));
    if !fits || zero_packs != packs || groups == 0 || out == 0 || !input.is_multiple_of(groups) {
        return Err(layout());
    }
    Ok(Coded {
        formula: Formula::Awq(Awq {
            numbers,
            zeros,
            scales,
            group: input / groups,
            out,
        }),
        stored: StoredType::F16,
        shape: vec![out, input],
    })
}

/// compressed-tensors' packed numbers.
///
/// # Errors
/// As [`awq`].
pub(super) fn pack_quantized(
    files: &[WeightFile],
    layer: &mut Layer,
    first: &Place,
) -> Result<Coded> {
    let numbers = layer.need(files, Role::Packed, first)?;
    let scales = layer.need(files, Role::Scale, &numbers)?;
    // The shape is also that of the numbers, but for what fills up a row's last word.
    let shape = layer.need(files, Role::PackedShape, &numbers)?;
    let zeros = layer.take(Role::Zero);
    if numbers.info(files).stored != StoredType::I32 || shape.info(files).elements() != 2 {
        return Err(unknown(files, &numbers));
    }
    let (out, words) = size(files, &numbers)?;
    let (scale_rows, groups) = size(files, &scales)?;
    let said = files[shape.file].note(&shape.name).and_then(two_sizes);
    let Some([rows, input @ (1..)]) = said else {
        return Err(unknown(files, &shape));
    };
    if rows != out {
        return Err(unknown(files, &shape));
    }
    let bits = match words {
        _ if words == input.div_ceil(8) => 4,
        _ if words == input.div_ceil(4) => 8,
        _ => return Err(unknown(files, &numbers)),
    };
    let of_scale = scales.info(files).stored;
    let floats = matches!(
        of_scale,
        StoredType::F32 | StoredType::F16 | StoredType::BF16
    );
    if scale_rows != out || groups == 0 || !input.is_multiple_of(groups) || !floats {
        return Err(unknown(files, &scales));
    }
    if let Some(zeros) = &zeros {
        let packed = zeros.info(files).stored == StoredType::I32;
        if !packed || size(files, zeros)? != (out.div_ceil(32 / bits as usize), groups) {
            return Err(unknown(files, zeros));
        }
    }
    Ok(Coded {
        formula: Formula::Packed(Packed {
            numbers,
            scales,
            zeros,
            bits,
            words: words as u64,
            groups: groups as u64,
        }),
        stored: of_scale,
        shape: vec![out, input],
    })
}

fn unknown(files: &[WeightFile], place: &Place) -> Error {
    let reason =
        "is not in the layout of compressed-tensors' pack-quantized numbers of 4 or 8 bits";
    place.refuse(files, reason)
}

/// Rows and columns of a matrix.
fn size(files: &[WeightFile], place: &Place) -> Result<(usize, usize)> {
    match *place.info(files).shape.as_slice() {
        [rows, columns] => Ok((rows, columns)),
        _ => Err(unknown(files, place)),
    }
}

/// Two numbers of 32 or 64 bits.
fn two_sizes(note: &[u8]) -> Option<[usize; 2]> {
    let size = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => usize::try_from(i32::from_le_bytes([a, b, c, d])).ok(),
        _ => usize::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok(),
    };
    let (first, second) = note.split_at(note.len() / 2);
    Some([size(first)?, size(second)?])
}
