//! From the saved object to tensors by name.
//!
//! A state dict is a dictionary of tensors; training scripts put it under `state_dict` or `model`,
//! ComfyUI's X2I nodes beside a `config`. Names of nested dictionaries are joined with dots.

use std::collections::BTreeMap;

use crate::weights::header::Header;
use crate::weights::stored::TensorInfo;

use super::machine::Loaded;
use super::values::{Arena, Value};

/// Dictionaries in dictionaries, at most.
const MAX_DEPTH: usize = 16;

/// A tensor's place in the arena by its name, and the config beside them.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) tensors: BTreeMap<String, usize>,
    pub(super) config: Option<serde_json::Value>,
}

impl Flat {
    /// Turns views into places in the file; `starts` is where each storage's bytes begin.
    pub(super) fn into_header(self, arena: &Arena, starts: &[u64]) -> Header {
        let tensors = self.tensors.into_iter().map(|(name, at)| {
            let view = &arena.tensors[at];
            let stored = arena.storages[view.storage].stored;
            let info = TensorInfo {
                stored,
                shape: view.shape.clone(),
                offset: starts[view.storage] + view.start * stored.block_bytes() as u64,
                strides: view.strides.clone(),
            };
            (name, info)
        });
        Header {
            tensors: tensors.collect(),
            config: self.config,
            ..Header::default()
        }
    }
}

/// Finds the state dict and the config; `pickle_len` bounds the work, since a dictionary that
/// holds another one twice, forty times over, would have no end.
pub(super) fn flatten(loaded: &Loaded, pickle_len: u64) -> Result<Flat, String> {
    let arena = &loaded.arena;
    let Some(pairs) = arena.dict(loaded.root) else {
        return Err("the pickle holds no dictionary of tensors".to_owned());
    };
    let under = |wanted: &str| {
        let mut pairs = pairs.iter();
        pairs
            .find(|(key, _)| arena.text(*key) == Some(wanted))
            .map(|(_, value)| *value)
    };
    let is_dict = |value: &Value| matches!(value, Value::Dict(_));
    let state = ["state_dict", "model"]
        .iter()
        .find_map(|key| under(key).filter(is_dict));
    let mut walk = Walk {
        arena,
        budget: pickle_len.saturating_mul(16).saturating_add(1 << 16),
    };
    let mut flat = Flat::default();
    walk.tensors(
        state.unwrap_or(loaded.root),
        "",
        MAX_DEPTH,
        &mut flat.tensors,
    )?;
    if flat.tensors.is_empty() {
        return Err("the pickle's dictionary holds no tensors".to_owned());
    }
    if let Some(config) = under("config").filter(is_dict) {
        flat.config = Some(walk.json(config, MAX_DEPTH)?);
    }
    Ok(flat)
}

struct Walk<'a> {
    arena: &'a Arena,
    /// Bytes of names and values that may still be made.
    budget: u64,
}

impl Walk<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.budget.checked_sub(bytes as u64 + 1);
        self.budget = left.ok_or("the pickle repeats its values too often")?;
        Ok(())
    }

    fn deeper(depth: usize) -> Result<usize, String> {
        let depth = depth.checked_sub(1);
        depth.ok_or_else(|| format!("the pickle nests dictionaries over {MAX_DEPTH} deep"))
    }

    fn tensors(
        &mut self,
        dict: Value,
        prefix: &str,
        depth: usize,
        found: &mut BTreeMap<String, usize>,
    ) -> Result<(), String> {
        let depth = Self::deeper(depth)?;
        for &(key, value) in self.arena.dict(dict).unwrap_or_default() {
            let key = match key {
                Value::Int(number) => number.to_string(),
                _ => self.arena.text(key).unwrap_or("?").to_owned(),
            };
            self.spend(prefix.len() + key.len())?;
            let name = if prefix.is_empty() {
                key
            } else {
                format!("{prefix}.{key}")
            };
            match value {
                Value::Dict(_) => self.tensors(value, &name, depth, found)?,
                Value::Tensor(tensor) => {
                    if found.contains_key(&name) {
                        return Err(format!("tensor `{name}` is there twice"));
                    }
                    found.insert(name, tensor);
                }
                // Epochs, learning rates and the like.
                _ => {}
            }
        }
        Ok(())
    }

    fn json(&mut self, value: Value, depth: usize) -> Result<serde_json::Value, String> {
        self.spend(0)?;
        Ok(match value {
            Value::Bool(flag) => flag.into(),
            Value::Int(number) => number.into(),
            Value::Float(number) => number.into(),
            Value::Text(at) => {
                let text = &self.arena.texts[at];
                self.spend(text.len())?;
                text.as_str().into()
            }
            Value::Sequence(at) => {
                let depth = Self::deeper(depth)?;
                let values = self.arena.sequences[at].iter();
                let values = values.map(|&value| self.json(value, depth));
                serde_json::Value::Array(values.collect::<Result<_, _>>()?)
            }
            Value::Dict(at) => {
                let depth = Self::deeper(depth)?;
                let mut map = serde_json::Map::new();
                for &(key, value) in &self.arena.dicts[at] {
                    let key = self
                        .arena
                        .text(key)
                        .ok_or("the pickle's config has a key of no text")?;
                    self.spend(key.len())?;
                    map.insert(key.to_owned(), self.json(value, depth)?);
                }
                serde_json::Value::Object(map)
            }
            _ => serde_json::Value::Null,
        })
    }
}
