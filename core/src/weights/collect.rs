//! From the names of a part's files to our tensors.
//!
//! Left out: what names mean (`names`), and which companions a quantized weight has (`companions`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::{Error, Result};

use super::companions::{self, Logical};
use super::file::WeightFile;
use super::names::{Component, Layout, Translator};
use super::stored::StoredType;
use super::tensor::{Order, Piece, Tensor};

/// The tensors of a part.
pub(super) struct Collected {
    /// By our names.
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Names of other parts' tensors, and of those that change nothing.
    pub(super) ignored: Vec<String>,
}

/// The pieces of one of our tensors while files are still being looked through.
struct Found {
    /// The names of all pieces in the foreign naming; one for a whole tensor.
    wanted: Vec<String>,
    pieces: Vec<Option<Piece>>,
    layout: Layout,
}

/// Looks through all files of a part and sorts their tensors by our names; `label` names the part in
/// messages.
///
/// # Errors
/// [`Error::Format`] when a tensor is there twice, can't be read or fits no other piece of the same
/// one, and when one may be this part's that nothing reads; [`Error::MissingTensor`] when a piece is
/// missing.
pub(super) fn collect(
    label: &str,
    component: Component,
    files: &[WeightFile],
) -> Result<Collected> {
    let names = || {
        let tensors = files.iter().flat_map(|file| file.tensors().keys());
        let unread = files.iter().flat_map(|file| file.unread().keys());
        tensors.chain(unread).map(String::as_str)
    };
    let translator = Translator::new(component, names());
    for file in files {
        let mut unread = file.unread().iter();
        if let Some((name, stored)) = unread.find(|(name, _)| translator.may_own(name)) {
            return Err(file.unreadable(name, stored));
        }
    }
    let others = names().filter(|name| !translator.may_own(name));
    let ignored = others.map(str::to_owned).collect();
    let mut found = BTreeMap::<String, Found>::new();
    let mut unknown = Vec::new();
    for logical in companions::resolve(files, |name| translator.may_own(name))? {
        let Some(target) = translator.translate(&logical.name) else {
            unknown.push(logical);
            continue;
        };
        companions::check_plain(files, &logical)?;
        let slot = match found.entry(target.name) {
            Entry::Vacant(entry) => entry.insert(Found {
                pieces: target.pieces.iter().map(|_| None).collect(),
                wanted: target.pieces,
                layout: target.layout,
            }),
            Entry::Occupied(entry) => entry.into_mut(),
        };
        let place = logical.place.clone();
        let piece = Piece {
            place: logical.place,
            stored: logical.stored,
            shape: logical.shape,
            coded: logical.coded,
        };
        // A whole tensor beside pieces of the same one has another number of pieces.
        let free = slot.pieces.get_mut(target.index);
        if free.is_none_or(|free| free.replace(piece).is_some()) {
            return Err(place.refuse(files, "is there twice"));
        }
    }
    refuse_unknown(files, component, &translator, &unknown)?;
    let tensors = found.into_iter().map(|(name, found)| {
        let tensor = join(files, label, &name, found)?;
        Ok((name, tensor))
    });
    Ok(Collected {
        tensors: tensors.collect::<Result<_>>()?,
        ignored,
    })
}

/// Tensors that may be this part's and that nothing here reads: another model's, or of a format
/// that would change what the others mean.
fn refuse_unknown(
    files: &[WeightFile],
    component: Component,
    translator: &Translator,
    unknown: &[Logical],
) -> Result<()> {
    let Some(first) = unknown.first() else {
        return Ok(());
    };
    for logical in unknown {
        if let Some(model) = translator.other_model(&logical.name) {
            let reason = format!("is one of {model}; take FLUX.1-dev or FLUX.1-schnell");
            return Err(logical.place.refuse(files, reason));
        }
    }
    let more = match unknown.len() - 1 {
        0 => String::new(),
        more => format!(" (nor are {more} more)"),
    };
    let reason = format!(
        "is none of a {component}'s{more}: the weights may be another model's, or mean something \
         else with it"
    );
    Err(first.place.refuse(files, reason))
}

/// Checks that the pieces of a tensor are all there and fit together.
fn join(files: &[WeightFile], label: &str, name: &str, found: Found) -> Result<Tensor> {
    let mut pieces = Vec::with_capacity(found.pieces.len());
    for (piece, wanted) in found.pieces.into_iter().zip(found.wanted) {
        pieces.push(piece.ok_or_else(|| Error::MissingTensor {
            file: label.to_owned(),
            name: wanted,
        })?);
    }
    let first = &pieces[0];
    let (mut stored, mut shape) = (first.stored, first.shape.clone());
    for next in &pieces[1..] {
        let misfit = || {
            let reason = format!(
                "of shape {:?} can't be joined to {shape:?} as a part of `{name}`",
                next.shape
            );
            next.place.refuse(files, reason)
        };
        if found.layout == Layout::Interleaved {
            if next.shape != first.shape || stored.is_block() || next.stored.is_block() {
                return Err(misfit());
            }
        } else {
            if shape.is_empty() || next.shape.get(1..) != shape.get(1..) {
                return Err(misfit());
            }
            shape[0] = shape[0].checked_add(next.shape[0]).ok_or_else(misfit)?;
        }
        if next.stored != stored {
            stored = StoredType::F32;
        }
    }
    let (order, shape) = arrange(found.layout, pieces.len(), stored, shape)
        .map_err(|reason| pieces[0].place.refuse(files, reason))?;
    Ok(Tensor {
        pieces,
        order,
        stored,
        shape,
    })
}

/// The order and the shape in which our tensor has the numbers of one of `shape`, which for
/// interleaved ones is that of each of the `pieces`.
///
/// # Errors
/// What is wrong with the tensor, to follow its name.
fn arrange(
    layout: Layout,
    pieces: usize,
    stored: StoredType,
    mut shape: Vec<usize>,
) -> Result<(Order, Vec<usize>), String> {
    let overflows = || "has a shape that overflows".to_owned();
    let mut order = Order::Joined;
    match layout {
        Layout::AsStored => {}
        // [out, in, 1, ..] or [out, in, t, h, w] -> [out, the rest]
        Layout::Matrix if shape.len() > 2 && !stored.is_block() => {
            let rest = shape.split_off(1);
            let rest = rest.into_iter().try_fold(1, usize::checked_mul);
            shape.push(rest.ok_or_else(overflows)?);
        }
        Layout::Matrix => {}
        // [out, in, h, w] of each frame -> [out, in * frames * h * w]
        Layout::Interleaved => {
            let &[out, channels, height, width] = shape.as_slice() else {
                return Err(format!("of shape {shape:?} should have four axes"));
            };
            let run = height.checked_mul(width).ok_or_else(overflows)?;
            let rest = run.checked_mul(channels);
            let rest = rest.and_then(|rest| rest.checked_mul(pieces));
            shape = vec![out, rest.ok_or_else(overflows)?];
            order = Order::Interleaved { run: run.max(1) };
        }
        Layout::HalvesSwapped => {
            order = Order::HalvesSwapped;
            let half = |rows: &usize| [&[rows / 2], &shape[1..]].concat();
            let half = shape.first().filter(|rows| *rows % 2 == 0).map(half);
            // A vector's middle may also lie inside a block.
            if half.and_then(|half| stored.byte_len(&half)).is_none() {
                return Err(format!(
                    "of shape {shape:?} should be a scale and a shift of equal size"
                ));
            }
        }
    }
    match stored.byte_len(&shape) {
        Some(_) => Ok((order, shape)),
        None => Err(overflows()),
    }
}
