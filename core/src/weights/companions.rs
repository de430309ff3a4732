//! Which tensors stand beside a weight because it is quantized, and how it is then read.
//!
//! A quantizer keeps a weight's scales, zeros, magnitudes and formats in tensors of their own,
//! named like the weight. Each ending that is in use is in [`ROLES`]; the companions of a layer
//! then say which formula makes its weight, or it is refused by the name of the companion that
//! can't be followed. Sources: the state dictionaries of bitsandbytes, AutoAWQ, compressed-tensors,
//! transformers and ComfyUI. Left out: the formulas (`coded`) and what names mean (`names`).

mod bitsandbytes;
mod comfy;
mod layer;
mod packed;
mod scales;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::{Error, Result};

use super::coded::Coded;
use super::file::WeightFile;
use super::place::Place;
use super::stored::StoredType;
use layer::{Layer, ROLES, Role};

/// A tensor by the name that a layer without quantization would give it.
pub(super) struct Logical {
    pub(super) name: String,
    /// The tensor itself, or the one that holds the weight's numbers.
    pub(super) place: Place,
    pub(super) stored: StoredType,
    pub(super) shape: Vec<usize>,
    /// How the numbers are made, where the file has not the weight itself.
    pub(super) coded: Option<Coded>,
}

/// The tensors of all files whose names `is_own`, companions joined to their weights.
///
/// # Errors
/// [`Error::Format`] naming a companion that no formula here uses, or one without its weight.
pub(super) fn resolve(files: &[WeightFile], is_own: impl Fn(&str) -> bool) -> Result<Vec<Logical>> {
    comfy::check_metadata(files)?;
    let mut layers = BTreeMap::<String, Layer>::new();
    let mut plain = Vec::new();
    for (file, opened) in files.iter().enumerate() {
        let own = opened.tensors().keys().filter(|name| is_own(name));
        for name in own {
            let place = Place {
                file,
                name: name.clone(),
            };
            let Some((layer, role)) = split(name) else {
                plain.push(place);
                continue;
            };
            if role == Role::Input {
                continue;
            }
            let layer = layers.entry(layer.to_owned()).or_default();
            match layer.parts.entry(role) {
                Entry::Vacant(entry) => drop(entry.insert(place)),
                // The first part of a format that is not read is enough to refuse the layer by.
                Entry::Occupied(_) if matches!(role, Role::Unread(_)) => {}
                Entry::Occupied(_) => return Err(place.refuse(files, "is there twice")),
            }
        }
    }
    // A marker of the whole part stands at its root.
    let marker = plain.iter().position(|place| comfy::is_marker(&place.name));
    let marker = marker.map(|at| plain.remove(at));
    if marker.is_some() {
        plain
            .iter()
            .try_for_each(|place| scales::needs_scale(files, place, &layers))?;
    }
    let mut logical = Vec::with_capacity(plain.len() + layers.len());
    let mut weights = BTreeMap::new();
    for place in plain {
        match place.name.strip_suffix(".weight") {
            Some(layer) if layers.contains_key(layer) => {
                let layer = layer.to_owned();
                match weights.entry(layer) {
                    Entry::Vacant(entry) => drop(entry.insert(place)),
                    Entry::Occupied(_) => return Err(place.refuse(files, "is there twice")),
                }
            }
            _ => logical.push(as_stored(files, place)),
        }
    }
    for (name, mut layer) in layers {
        layer.weight = weights.remove(&name);
        logical.extend(layer_weight(files, &name, layer, marker.is_some())?);
    }
    Ok(logical)
}

/// The layer of a companion's name, and what it is there.
fn split(name: &str) -> Option<(&str, Role)> {
    let role = |(ending, role): &(&str, Role)| Some((name.strip_suffix(ending)?, *role));
    ROLES.iter().find_map(role)
}

fn as_stored(files: &[WeightFile], place: Place) -> Logical {
    let info = place.info(files);
    Logical {
        name: place.name.clone(),
        stored: info.stored,
        shape: info.shape.clone(),
        place,
        coded: None,
    }
}

/// The one formula that uses all companions of a layer; none where they stand alone and harmless.
fn layer_weight(
    files: &[WeightFile],
    name: &str,
    mut layer: Layer,
    marked: bool,
) -> Result<Option<Logical>> {
    let Some((&role, first)) = layer.parts.first_key_value() else {
        return Ok(layer.weight.map(|weight| as_stored(files, weight)));
    };
    let first = first.clone();
    if let Some((why, part)) = layer.unread() {
        return Err(part.refuse(files, format!("is {why}")));
    }
    let coded = match role {
        Role::State | Role::Absmax | Role::Map | Role::NestedAbsmax | Role::NestedMap => {
            bitsandbytes::four_bit(files, &mut layer, &first)?
        }
        Role::Scb | Role::WeightFormat => bitsandbytes::llm_int8(files, &mut layer, &first)?,
        Role::Qweight | Role::Qzeros | Role::Scales => packed::awq(files, &mut layer, &first)?,
        Role::Packed | Role::PackedShape => packed::pack_quantized(files, &mut layer, &first)?,
        _ => scales::scaled(files, &mut layer, &first, marked)?,
    };
    if let Some((_, left)) = layer.parts.first_key_value() {
        let reason = format!("is none that goes with `{}`", first.name);
        return Err(left.refuse(files, reason));
    }
    let numbers = coded.places()[0].clone();
    if let Some(weight) = layer.weight.filter(|weight| *weight != numbers) {
        let reason = format!(
            "is there beside `{}`, which makes the same weight",
            numbers.name
        );
        return Err(weight.refuse(files, reason));
    }
    Ok(Some(Logical {
        name: format!("{name}.weight"),
        place: numbers,
        stored: coded.stored,
        shape: coded.shape.clone(),
        coded: Some(coded),
    }))
}

/// What a plain tensor of a part may hold: whole numbers without a scale are no weights.
///
/// # Errors
/// [`Error::Format`] naming the tensor.
pub(super) fn check_plain(files: &[WeightFile], logical: &Logical) -> Result<(), Error> {
    if !logical.stored.is_whole() {
        return Ok(());
    }
    let reason = format!(
        "holds whole numbers ({}) and no scale stands beside it; its quantization is not known \
         here, take the weights as bf16, FP8 or GGUF",
        logical.stored
    );
    Err(logical.place.refuse(files, reason))
}
