//! Weights of 8 bits beside their scales, whoever names them.

use std::collections::BTreeMap;

use super::comfy;
use super::layer::{Layer, Role};
use crate::error::Result;
use crate::weights::coded::{Coded, Formula, Grid, Scaled};
use crate::weights::file::WeightFile;
use crate::weights::place::Place;
use crate::weights::stored::StoredType;

/// A weight of FP8 or int8; `marked` where ComfyUI's marker of scaled FP8 is there.
///
/// # Errors
/// [`crate::Error::Format`] naming a companion that does not fit, above all a scale beside a weight
/// that seems to be scaled already.
pub(super) fn scaled(
    files: &[WeightFile],
    layer: &mut Layer,
    first: &Place,
    marked: bool,
) -> Result<Coded> {
    let format = layer.take(Role::Format);
    let zeros = layer.take(Role::Zero);
    let found =
        [Role::Scale, Role::ComfyScale, Role::BlockScale].map(|role| (role, layer.take(role)));
    let mut found = found
        .into_iter()
        .filter_map(|(role, place)| Some((role, place?)));
    let Some((role, scales)) = found.next() else {
        return Err(first.refuse(
            files,
            "has no `*.weight_scale` beside it, by which it is read",
        ));
    };
    if let Some((_, second)) = found.next() {
        let reason = format!("is a second scale beside `{}`", scales.name);
        return Err(second.refuse(files, reason));
    }
    let numbers = layer.need_weight(files, &scales)?;
    let (info, stored) = (numbers.info(files), numbers.info(files).stored);
    check_in_use(files, &numbers, &scales, role, marked)?;
    if let Some(format) = format {
        let asked = comfy::format(files, &format)?;
        if asked != stored {
            let reason = format!("asks for {asked}, `{}` is {stored}", numbers.name);
            return Err(format.refuse(files, reason));
        }
    }
    let grid = fit(files, &numbers, &scales)?;
    if let Some(zeros) = &zeros {
        let count = scales.info(files).elements();
        let kind = zeros.info(files);
        if kind.stored != stored || kind.elements() != count {
            return Err(zeros.refuse(files, "has another type or size than its weight asks for"));
        }
    }
    let of_scale = scales.info(files).stored;
    Ok(Coded {
        formula: Formula::Scaled(Scaled {
            numbers,
            zeros,
            grid,
            factor: 1.0,
            scales,
        }),
        // compressed-tensors computes in the scale's type. ComfyUI's scales are f32.
        stored: of_scale,
        shape: info.shape.clone(),
    })
}

/// Fails for a matrix of FP8 without a scale, in a file whose marker says that its FP8 is scaled: a file
/// of both has lost one.
///
/// # Errors
/// [`crate::Error::Format`] naming the matrix.
pub(super) fn needs_scale(
    files: &[WeightFile],
    place: &Place,
    layers: &BTreeMap<String, Layer>,
) -> Result<()> {
    let info = place.info(files);
    let alone = place
        .name
        .strip_suffix(".weight")
        .is_some_and(|layer| !layers.contains_key(layer));
    if layers.is_empty() || !alone || !info.stored.is_fp8() || info.shape.len() < 2 {
        return Ok(());
    }
    let reason = "is FP8 without a scale, in a file whose `scaled_fp8` says that its FP8 is scaled: \
                  its `scale_weight` is lost, get the file again";
    Err(place.refuse(files, reason))
}

/// Fails where a scale may be left over from a weight that was multiplied with it already.
fn check_in_use(
    files: &[WeightFile],
    numbers: &Place,
    scales: &Place,
    role: Role,
    marked: bool,
) -> Result<()> {
    let stored = numbers.info(files).stored;
    if !stored.is_fp8() && stored != StoredType::I8 {
        let reason = format!(
            "is a scale beside `{}`, which is {stored}: whether that is scaled already can't be \
             told; take weights without it, or quantized ones",
            numbers.name
        );
        return Err(scales.refuse(files, reason));
    }
    // ComfyUI reads this name under its marker alone, and passes over it elsewhere.
    if role == Role::ComfyScale && !marked {
        let reason = "is a scale, but no `scaled_fp8` stands in the file to say that it is in use";
        return Err(scales.refuse(files, reason));
    }
    Ok(())
}

fn fit(files: &[WeightFile], numbers: &Place, scales: &Place) -> Result<Grid> {
    let (weight, scale) = (numbers.info(files), scales.info(files));
    use StoredType::{BF16, F16, F32};
    if !matches!(scale.stored, F32 | F16 | BF16) {
        let reason = format!("is a scale of type {}, which is not read", scale.stored);
        return Err(scales.refuse(files, reason));
    }
    Grid::of(&weight.shape, &scale.shape).ok_or_else(|| {
        let reason = format!(
            "of shape {:?} scales neither the tensor, its rows nor blocks of `{}`, whose shape is \
             {:?}",
            scale.shape, numbers.name, weight.shape
        );
        scales.refuse(files, reason)
    })
}
