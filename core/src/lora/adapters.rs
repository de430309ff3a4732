//! The changes of one part of a model, by layer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;

use crate::error::{Error, Result};

use super::Lora;
use super::dora::{self, Base};
use super::kinds::{Axis, Change, How, VectorChange};
use super::layer::{Gain, LayerChange, Sum};

/// The changes of one part's tensors.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    loras: Vec<Arc<Lora>>,
    layers: BTreeMap<String, Layer>,
    /// Changes of vectors, by tensor: a LoRA, and a vector of it.
    vectors: BTreeMap<String, Vec<(usize, usize)>>,
}

/// The changes of one layer.
#[derive(Debug)]
struct Layer {
    /// `[out, in]` of its matrix.
    shape: [usize; 2],
    changes: Vec<Entry>,
}

/// A LoRA and a change of it.
#[derive(Debug)]
struct Entry {
    lora: usize,
    change: usize,
    /// DoRA's gains, found once: a streamed layer is read in every step.
    gains: OnceLock<Vec<f32>>,
}

impl Adapters {
    /// Finds the layers of all files; `shape` says what shape a tensor has.
    ///
    /// # Errors
    /// [`Error::Lora`] with what matches nothing and what has a wrong shape.
    pub fn new(loras: &[Arc<Lora>], shape: impl Fn(&str) -> Option<Vec<usize>>) -> Result<Self> {
        let mut adapters = Self {
            loras: loras.to_vec(),
            ..Self::default()
        };
        for (file, lora) in loras.iter().enumerate() {
            let fitting = lora.fit(&shape).map_err(|problems| Error::Lora {
                file: lora.name().to_owned(),
                problems,
            })?;
            for change in fitting.changes {
                let place = &lora.changes[change].place;
                let Some(&[out, input]) = shape(&place.weight()).as_deref() else {
                    continue; // `fit` has refused it
                };
                let layers = &mut adapters.layers;
                let layer = layers.entry(place.layer.clone()).or_insert_with(|| Layer {
                    shape: [out, input],
                    changes: vec![],
                });
                layer.changes.push(Entry {
                    lora: file,
                    change,
                    gains: OnceLock::new(),
                });
            }
            for vector in fitting.vectors {
                let tensor = lora.vectors[vector].tensor.clone();
                let vectors = adapters.vectors.entry(tensor).or_default();
                vectors.push((file, vector));
            }
        }
        Ok(adapters)
    }

    fn change(&self, entry: &Entry) -> (&Lora, &Change) {
        let lora = &self.loras[entry.lora];
        (lora, &lora.changes[entry.change])
    }

    /// Bytes on the device of the changes of layers whose names begin with `prefix`.
    pub fn device_len(&self, prefix: &str) -> u64 {
        let layers = self.layers.range(prefix.to_owned()..);
        let layers = layers.take_while(|(name, _)| name.starts_with(prefix));
        let changes = layers.flat_map(|(_, layer)| {
            let changes = layer.changes.iter();
            changes.map(|entry| self.change(entry).1.numbers(layer.shape))
        });
        (changes.sum::<usize>() * size_of::<f32>()) as u64
    }

    /// Reads the change of a layer to the device.
    ///
    /// # Errors
    /// The errors of the sources.
    pub async fn read(
        &self,
        layer: &str,
        device: &Device,
        base: impl Base,
    ) -> Result<Option<LayerChange>> {
        match self.layers.get(layer) {
            // Boxed, so that a layer without a change does not carry the place for one.
            Some(layer) => Box::pin(self.read_layer(layer, device, base))
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    async fn read_layer(
        &self,
        layer: &Layer,
        device: &Device,
        base: impl Base,
    ) -> Result<LayerChange> {
        let mut sum = Sum::new(layer.shape, device);
        for entry in &layer.changes {
            let (lora, change) = self.change(entry);
            let factors = lora.factors(change, layer.shape).await?;
            let rows = change.place.rows.range(layer.shape);
            let strength = lora.strength;
            let Some(magnitude) = &change.magnitude else {
                sum.add(factors, rows, Gain::All(strength));
                continue;
            };
            let mut lengths = lora.read(&magnitude.key).await?;
            if magnitude.axis == Axis::Columns {
                let lengths = (lengths.as_slice(), strength);
                dora::add_by_columns(&mut sum, &base, &factors, rows, lengths).await?;
                continue;
            }
            let found = change.place.rows.of(layer.shape).zip(lengths.clone());
            for (row, length) in found {
                lengths[row - rows.start] = length;
            }
            let gains = match entry.gains.get() {
                Some(gains) => gains.clone(),
                None => {
                    let place = (rows.clone(), layer.shape[1]);
                    dora::row_gains(&base, &factors, place, &lengths, device).await?
                }
            };
            let gains = entry.gains.get_or_init(|| gains);
            let own = gains.iter().map(|gain| strength * (gain - 1.0));
            sum.add_row_scale(rows.clone(), own);
            let gains: Vec<f32> = gains.iter().map(|gain| strength * gain).collect();
            sum.add(factors, rows, Gain::Rows(&gains));
        }
        Ok(sum.finish())
    }

    /// Changes some `rows` of a vector, of which `values` are those of the model; `weight` is the shape of the
    /// layer's weight.
    ///
    /// # Errors
    /// The errors of the sources.
    pub async fn change_vector(
        &self,
        tensor: &str,
        rows: Range<usize>,
        values: &mut [f32],
        weight: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<()> {
        let Some(changes) = self.vectors.get(tensor) else {
            return Ok(());
        };
        for &(lora, vector) in changes {
            let lora = &self.loras[lora];
            let VectorChange {
                place, key, how, ..
            } = &lora.vectors[vector];
            let new = lora.read(key).await?;
            let shape = match weight(&place.weight()).as_deref() {
                Some(&[out, input]) => [out, input],
                _ => [new.len(), 0],
            };
            for (row, new) in place.rows.of(shape).zip(new) {
                let Some(value) = row
                    .checked_sub(rows.start)
                    .and_then(|at| values.get_mut(at))
                else {
                    continue;
                };
                match how {
                    How::Add(scale) => *value += new * scale * lora.strength,
                    How::Replace => *value += (new - *value) * lora.strength,
                }
            }
        }
        Ok(())
    }
}
