//! Whether a LoRA fits a transformer: what is refused, and what is left out with a warning.

use crate::weights::names::lora::Place;

use super::Lora;
use super::kinds::{Change, VectorChange};
use super::message::{keys, short, some, some_problems};

/// Why a layer is not in a transformer, where that is no fault of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// Guidance, which schnell does not have.
    Guidance,
    /// A block of a deeper transformer.
    Block,
}

/// Why a transformer has no such layer; `None` for a layer that none has.
fn absence(layer: &str, has: &impl Fn(&str) -> bool) -> Option<Absence> {
    if layer.starts_with("guidance_in.") {
        return Some(Absence::Guidance);
    }
    let first = ["double_blocks.", "single_blocks."]
        .iter()
        .find_map(|kind| {
            let (_, inner) = layer.strip_prefix(kind)?.split_once('.')?;
            Some(format!("{kind}0.{inner}"))
        });
    first.filter(|first| has(first)).map(|_| Absence::Block)
}

impl Lora {
    /// Warnings, one sentence each: what this file changes that a transformer does not have. `has_layer` says
    /// whether it has a layer of this name, as BFL's checkpoints call it (`double_blocks.0.img_attn.qkv`).
    pub fn warnings(&self, has_layer: impl Fn(&str) -> bool) -> Vec<String> {
        let mut warnings: Vec<String> = self.notes.clone();
        let beside = &self.beside;
        if beside.text_encoders > 0 {
            warnings.push(format!(
                "{} the text encoders CLIP and T5, which X2I does not use; they are ignored",
                keys(beside.text_encoders, "change")
            ));
        }
        if beside.embeddings > 0 {
            warnings.push(format!(
                "{} new words to the text encoders CLIP and T5, which X2I does not use; they are ignored",
                keys(beside.embeddings, "add")
            ));
        }
        let absent = |reason| {
            let absent = |place: &&Place| {
                !has_layer(&place.layer) && absence(&place.layer, &has_layer) == Some(reason)
            };
            let changes = self.changes.iter().map(|change| &change.place);
            let vectors = self.vectors.iter().map(|vector| &vector.place);
            let layers = changes.chain(vectors).filter(absent);
            let mut layers: Vec<&str> = layers.map(|place| place.layer.as_str()).collect();
            layers.sort_unstable();
            layers.dedup();
            layers
        };
        if !absent(Absence::Guidance).is_empty() {
            warnings.push(
                "it changes guidance, which this transformer does not have; that is ignored"
                    .to_owned(),
            );
        }
        let blocks = absent(Absence::Block);
        if !blocks.is_empty() {
            warnings.push(format!(
                "it changes {} layers of blocks that this transformer does not have, which are ignored: {}",
                blocks.len(),
                some(blocks)
            ));
        }
        let name = self.name();
        warnings
            .into_iter()
            .map(|warning| format!("{name}: {warning}"))
            .collect()
    }

    /// The changes that fit a transformer, by their numbers; `shape` says what shape its tensors have.
    ///
    /// # Errors
    /// All that keeps the file from changing it.
    pub(super) fn fit(
        &self,
        shape: &impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<Fitting, Vec<String>> {
        let has = |layer: &str| {
            let names = ["weight", "scale"].map(|leaf| format!("{layer}.{leaf}"));
            names.iter().any(|name| shape(name).is_some())
        };
        let mut problems = self.problems.clone();
        let mut strangers: Vec<&str> = self.strangers.iter().map(String::as_str).collect();
        let mut fitting = Fitting::default();
        for (index, change) in self.changes.iter().enumerate() {
            let layer = &change.place.layer;
            match shape(&change.place.weight()).as_deref() {
                Some(&[out, input]) => {
                    if let Some(control) = control(change, input) {
                        return Err(vec![control]);
                    }
                    problems.extend(self.misfit(change, [out, input]));
                    fitting.changes.push(index);
                }
                _ if !has(layer) && absence(layer, &has).is_some() => {}
                _ => strangers.extend(change.keys()),
            }
        }
        for (index, vector) in self.vectors.iter().enumerate() {
            let layer = &vector.place.layer;
            match shape(&vector.tensor).as_deref() {
                Some(&[length]) => {
                    let weight = shape(&vector.place.weight());
                    problems.extend(self.vector_misfit(vector, length, weight.as_deref()));
                    fitting.vectors.push(index);
                }
                _ if !has(layer) && absence(layer, &has).is_some() => {}
                _ => strangers.push(&vector.key),
            }
        }
        if !strangers.is_empty() {
            let keys = self.file.tensors().len();
            let count = strangers.len();
            let strangers = some(strangers);
            problems.insert(
                0,
                format!("{count} of {keys} keys match nothing in the transformer: {strangers}"),
            );
        } else if fitting.is_empty() && problems.is_empty() {
            problems.push("no key changes the transformer".to_owned());
        }
        match problems.is_empty() {
            true => Ok(fitting),
            false => Err(some_problems(problems)),
        }
    }

    /// What is wrong with the shape of a change.
    fn misfit(&self, change: &Change, [out, input]: [usize; 2]) -> Vec<String> {
        let rows = change.place.rows.range([out, input]);
        let (found, expected) = (change.kind.shape(), [rows.len(), input]);
        if rows.end > out {
            return vec![format!("{} has no such rows", change.place.layer)];
        }
        if found == expected {
            return vec![];
        }
        let Some(keys) = change.kind.outer_keys() else {
            let key = change.keys().next().unwrap_or_default();
            return vec![format!(
                "`{}` and its like make a change of shape {found:?}, the transformer takes {expected:?}",
                short(key)
            )];
        };
        let axes = [0, 1]
            .into_iter()
            .filter(|&axis| found[axis] != expected[axis]);
        let wrong = axes.map(|axis| {
            let key = keys[axis];
            let shape = &self.file.tensors()[key].shape;
            let axis_name = ["rows", "columns"][axis];
            format!(
                "`{}` has shape {shape:?}, the transformer takes {} {axis_name} there",
                short(key),
                expected[axis]
            )
        });
        wrong.collect()
    }

    /// What is wrong with the length of a vector; `weight` is the shape of its layer's weight.
    fn vector_misfit(
        &self,
        vector: &VectorChange,
        length: usize,
        weight: Option<&[usize]>,
    ) -> Option<String> {
        let found = &self.file.tensors()[&vector.key];
        let rows = match weight {
            Some(&[out, input]) => vector.place.rows.range([out, input]),
            _ => 0..length,
        };
        let expected = rows.len();
        (found.elements() != expected as u64 || rows.end > length).then(|| {
            format!(
                "`{}` has shape {:?}, the transformer takes {expected} numbers",
                short(&vector.key),
                found.shape
            )
        })
    }
}

/// The changes of a file that a transformer takes, by their numbers there.
#[derive(Debug, Default)]
pub(super) struct Fitting {
    pub changes: Vec<usize>,
    pub vectors: Vec<usize>,
}

impl Fitting {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.vectors.is_empty()
    }
}

/// What a LoRA is that gives the transformer's input more channels, next to the latents' own.
fn control(change: &Change, input: usize) -> Option<String> {
    let [_, found] = change.kind.shape();
    let key = change.keys().next().unwrap_or_default();
    (change.place.layer == "img_in" && found > input).then(|| {
        format!(
            "`{}` reads {found} channels, the transformer has {input}: this is a control LoRA (as \
             FLUX.1 Canny and Depth [dev]), which takes a second picture; x2i does not have these",
            short(key)
        )
    })
}
