//! LoRA: low-rank changes of the transformer's matrices.
//!
//! Source: Hu et al. 2021 (arXiv 2106.09685): `y = W x + scale · alpha / rank · B (A x)`; a file
//! without an alpha means the rank. A change is never merged into its matrix, which may be
//! quantized, lent by a file, or streamed; it is read whenever its layer is. All changes of a layer
//! are joined to one pair of products. Not here: the names in the files ([`crate::weights`] has
//! those of all weights), and training.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use x2i_shaders::linear;

use crate::error::{Error, Field, Result};
use crate::weights::gguf::MetaValue;
use crate::weights::names::lora::{Place, Role, is_text_encoder, place, split};
use crate::weights::{WeightFile, WeightSource};

/// One LoRA file, opened: its names are understood, its numbers stay in the file.
pub struct Lora {
    file: WeightFile,
    pairs: Vec<Pair>,
    /// Keys that match nothing.
    strangers: Vec<String>,
    /// Keys that change text encoders.
    text_encoders: Vec<String>,
    /// Other problems.
    problems: Vec<String>,
}

/// A module's change, by the file's keys.
struct Pair {
    place: Place,
    down: String,
    up: String,
    bias: Option<String>,
    rank: usize,
    /// `scale * alpha / rank`.
    scale: f32,
}

/// The keys of a module while the file is looked through.
#[derive(Default)]
struct Keys<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    bias: Option<&'a str>,
    alpha: Option<&'a str>,
}

/// The keys of a file, sorted by what they change.
#[derive(Default)]
struct Sorted<'a> {
    /// Place and keys of each module.
    modules: BTreeMap<&'a str, (Place, Keys<'a>)>,
    strangers: Vec<String>,
    text_encoders: Vec<String>,
}

impl<'a> Sorted<'a> {
    fn of(all: impl Iterator<Item = &'a String>) -> Self {
        let mut sorted = Self::default();
        for key in all {
            if is_text_encoder(key) {
                sorted.text_encoders.push(key.clone());
                continue;
            }
            let found = split(key).and_then(|(module, role)| Some((module, place(module)?, role)));
            let Some((module, place, role)) = found else {
                sorted.strangers.push(key.clone());
                continue;
            };
            let entry = sorted.modules.entry(module);
            let (_, keys) = entry.or_insert_with(|| (place, Keys::default()));
            let slot = match role {
                Role::Down => &mut keys.down,
                Role::Up => &mut keys.up,
                Role::UpBias => &mut keys.bias,
                Role::Alpha => &mut keys.alpha,
            };
            // A second key for the same role.
            let second = slot.replace(key).map(ToOwned::to_owned);
            sorted.strangers.extend(second);
        }
        sorted
    }
}

impl Lora {
    /// Opens a file, whose changes shall count `scale` times.
    ///
    /// # Errors
    /// [`Error::Request`] for a scale that is no number; [`Error::Format`] for a broken file.
    /// Whether the changes fit is known beside a transformer: [`crate::weights::Weights::adapt`].
    pub async fn open(source: Arc<dyn WeightSource>, scale: f32) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::request(
                Field::LoraScale,
                format!("{scale} is no scale"),
            ));
        }
        let file = WeightFile::open(source).await?;
        if let Some((name, stored)) = file.unread().first_key_value() {
            return Err(file.unreadable(name, stored));
        }
        let mut problems = vec![];
        let default_alpha = default_alpha(&file, &mut problems);
        let Sorted {
            modules,
            strangers,
            text_encoders,
        } = Sorted::of(file.tensors().keys());
        let mut pairs = Vec::with_capacity(modules.len());
        for (module, (place, keys)) in modules {
            let (Some(down), Some(up)) = (keys.down, keys.up) else {
                problems.push(format!("`{module}` has one half of a pair only"));
                continue;
            };
            let rank = file.tensors()[down].shape.first().copied();
            let rank = rank.unwrap_or(0);
            let alpha = match keys.alpha {
                Some(key) => read_alpha(&file, key).await?,
                None => default_alpha.unwrap_or(rank as f32),
            };
            pairs.push(Pair {
                place,
                down: down.to_owned(),
                up: up.to_owned(),
                bias: keys.bias.map(ToOwned::to_owned),
                rank,
                scale: scale * alpha / rank as f32,
            });
        }
        Ok(Self {
            file,
            pairs,
            strangers,
            text_encoders,
            problems,
        })
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        self.file.name()
    }

    /// Keys that change CLIP or T5, which are ignored: AlignNet replaces these encoders.
    pub fn text_encoder_keys(&self) -> &[String] {
        &self.text_encoders
    }

    /// All that keeps the file from changing matrices of these shapes.
    fn misfits(&self, shape: &impl Fn(&str) -> Option<Vec<usize>>) -> Vec<String> {
        let mut strangers: Vec<&str> = self.strangers.iter().map(String::as_str).collect();
        let mut problems = self.problems.clone();
        for pair in &self.pairs {
            let keys = [Some(&pair.down), Some(&pair.up), pair.bias.as_ref()];
            let keys = keys.into_iter().flatten();
            let Some(&[out, input]) = shape(&pair.place.layer).as_deref() else {
                strangers.extend(keys.map(String::as_str));
                continue;
            };
            let rows = pair.place.rows.range([out, input]).len();
            let expected = [vec![pair.rank, input], vec![rows, pair.rank], vec![rows]];
            for (key, expected) in keys.zip(expected) {
                let found = &self.file.tensors()[key].shape;
                if *found != expected || pair.rank == 0 {
                    problems.push(format!(
                        "`{key}` has shape {found:?}, the transformer takes {expected:?}"
                    ));
                }
            }
        }
        if !strangers.is_empty() {
            let keys = self.file.tensors().len();
            problems.insert(
                0,
                format!(
                    "{} of {keys} keys match nothing in the transformer: {}",
                    strangers.len(),
                    strangers.join(", ")
                ),
            );
        } else if self.pairs.is_empty() && problems.is_empty() {
            problems.push("no key changes the transformer".to_owned());
        }
        problems
    }
}

/// The alpha of pairs without one: newer diffusers write PEFT's config into the header.
fn default_alpha(file: &WeightFile, problems: &mut Vec<String>) -> Option<f32> {
    let Some(MetaValue::String(json)) = file.metadata_value("lora_adapter_metadata") else {
        return None;
    };
    let config: serde_json::Value = serde_json::from_str(json).ok()?;
    let value = |key: &str| config.get(format!("transformer.{key}"));
    for key in ["use_rslora", "use_dora", "alpha_pattern"] {
        let unset = value(key).is_none_or(|value| {
            value.is_null() || value == false || value.as_object().is_some_and(|o| o.is_empty())
        });
        if !unset {
            let problem = format!("its metadata asks for `{key}`, which x2i does not have");
            problems.push(problem);
        }
    }
    value("lora_alpha")?.as_f64().map(|alpha| alpha as f32)
}

/// Reads the one number of an `alpha`.
async fn read_alpha(file: &WeightFile, key: &str) -> Result<f32> {
    match file.read(key).await?.to_f32().as_slice() {
        [alpha] if alpha.is_finite() => Ok(*alpha),
        _ => Err(Error::format(
            file.name(),
            format!("tensor `{key}` should be one number"),
        )),
    }
}

impl fmt::Debug for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lora")
            .field("name", &self.name())
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

/// The changes of one part's matrices, by layer.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    loras: Vec<Arc<Lora>>,
    layers: BTreeMap<String, Layer>,
}

/// The changes of one layer.
#[derive(Debug)]
struct Layer {
    /// `[out, in]` of its matrix.
    shape: [usize; 2],
    /// The sum of all ranks.
    rank: usize,
    /// A LoRA and a pair of it, each.
    pairs: Vec<(usize, usize)>,
}

impl Adapters {
    /// Finds the layers of all files; `shape` says what shape a layer's matrix has.
    ///
    /// # Errors
    /// [`Error::Lora`] with every key that matches nothing and every wrong shape.
    pub fn new(loras: &[Arc<Lora>], shape: impl Fn(&str) -> Option<Vec<usize>>) -> Result<Self> {
        let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
        for (file, lora) in loras.iter().enumerate() {
            let problems = lora.misfits(&shape);
            if !problems.is_empty() {
                return Err(Error::Lora {
                    file: lora.name().to_owned(),
                    problems,
                });
            }
            for (index, pair) in lora.pairs.iter().enumerate() {
                let name = &pair.place.layer;
                let Some(&[out, input]) = shape(name).as_deref() else {
                    continue; // `misfits` has refused it
                };
                let layer = layers.entry(name.clone()).or_insert_with(|| Layer {
                    shape: [out, input],
                    rank: 0,
                    pairs: vec![],
                });
                layer.rank += pair.rank;
                layer.pairs.push((file, index));
            }
        }
        Ok(Self {
            loras: loras.to_vec(),
            layers,
        })
    }

    /// Bytes on the device of the changes of layers whose names begin with `prefix`.
    pub fn device_len(&self, prefix: &str) -> u64 {
        let layers = self.layers.range(prefix.to_owned()..);
        let layers = layers.take_while(|(name, _)| name.starts_with(prefix));
        let numbers = layers.map(|(_, layer)| layer.rank * (layer.shape[0] + layer.shape[1]));
        (numbers.sum::<usize>() * size_of::<f32>()) as u64
    }

    /// Reads the change of a layer to the device.
    ///
    /// # Errors
    /// The errors of the source.
    pub async fn read(&self, layer: &str, device: &Device) -> Result<Option<LowRank>> {
        match self.layers.get(layer) {
            // Boxed, so that a layer without a change does not carry the place for one.
            Some(layer) => Box::pin(self.read_layer(layer, device)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn read_layer(&self, layer: &Layer, device: &Device) -> Result<LowRank> {
        let ([out, input], rank) = (layer.shape, layer.rank);
        let mut down = Vec::with_capacity(rank * input);
        let mut up = vec![0.0; out * rank];
        let mut bias = None;
        let mut column = 0;
        for &(file, pair) in &layer.pairs {
            let file = &self.loras[file];
            let pair = &file.pairs[pair];
            down.extend(file.read(&pair.down).await?);
            let rows = || pair.place.rows.of([out, input]);
            let values = file.read(&pair.up).await?;
            for (row, values) in rows().zip(values.chunks_exact(pair.rank)) {
                let to = &mut up[row * rank + column..][..pair.rank];
                for (to, value) in to.iter_mut().zip(values) {
                    *to = value * pair.scale;
                }
            }
            if let Some(key) = &pair.bias {
                let bias = bias.get_or_insert_with(|| vec![0.0; out]);
                for (row, value) in rows().zip(file.read(key).await?) {
                    bias[row] += value * pair.scale;
                }
            }
            column += pair.rank;
        }
        Ok(LowRank {
            down: Tensor::from_data(TensorData::new(down, [rank, input]), device),
            up: Tensor::from_data(TensorData::new(up, [out, rank]), device),
            bias: bias.map(|bias| Tensor::from_data(TensorData::new(bias, [out]), device)),
        })
    }
}

impl Lora {
    async fn read(&self, key: &str) -> Result<Vec<f32>> {
        let values = self.file.read(key).await?.to_f32();
        self.file.release(key);
        Ok(values)
    }
}

/// All changes of one layer on the device, their scales in `up`.
#[derive(Debug, Clone)]
pub(crate) struct LowRank {
    down: Tensor<2>,         // [rank, in]
    up: Tensor<2>,           // [out, rank]
    bias: Option<Tensor<1>>, // [out]
}

impl LowRank {
    /// The change of some rows of the layer's matrix.
    pub fn rows(self, rows: Range<usize>) -> Self {
        Self {
            down: self.down,
            up: self.up.slice([rows.clone()]),
            bias: self.bias.map(|bias| bias.slice([rows])),
        }
    }

    /// The addition to the layer's product: `[rows, in]` -> `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let down = linear(x, self.down.clone(), None);
        linear(down, self.up.clone(), self.bias.clone())
    }
}
