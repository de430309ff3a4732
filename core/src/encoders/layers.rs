//! A decoder's layers: kept on the device, or read for every call.
//!
//! A prompt passes each layer once, so that a model which is loaded for one prompt takes no longer when its layers are
//! read on the way. An answer reads them for every token. Not here: how much memory there is (`pipeline`).

use std::borrow::Cow;

use burn::tensor::{Device, Tensor};

use super::decoder_layer::DecoderLayer;
use crate::config::{EncoderConfig, Qwen2Config};
use crate::error::Result;
use crate::nn::computed;
use crate::weights::{Later, Scope, Weights};

/// All layers of a decoder.
#[derive(Debug)]
pub(super) struct Layers {
    /// The first ones.
    resident: Vec<DecoderLayer>,
    count: usize,
    /// Where the others are, and the sizes of all.
    rest: Option<(Later, Box<Qwen2Config>)>,
}

impl Layers {
    /// Reads as many layers as stay under `scope`, which has them by their numbers.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &Qwen2Config, scope: &Scope<'_>) -> Result<Self> {
        let count = config.num_hidden_layers;
        let (stay, later) = scope.stays(count);
        let mut resident = Vec::with_capacity(stay);
        for index in 0..stay {
            resident.push(DecoderLayer::load(config, &scope.child(index)).await?);
        }
        Ok(Self {
            resident,
            count,
            rest: later.map(|later| (later, Box::new(config.clone()))),
        })
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Layer `index`, read first where it is not on the device. It waits for `x`, what it will work on: the layer
    /// that gave it is then done with its memory.
    ///
    /// # Errors
    /// Those of the source, and [`crate::Error::Device`].
    pub async fn get(&self, index: usize, x: &Tensor<3>) -> Result<Cow<'_, DecoderLayer>> {
        let Some((later, config)) = &self.rest else {
            return Ok(Cow::Borrowed(&self.resident[index]));
        };
        if let Some(layer) = self.resident.get(index) {
            return Ok(Cow::Borrowed(layer));
        }
        let scope = later.scope();
        // On the heap: the future of an answer would hold another loading beside the whole model's.
        let layer = Box::pin(DecoderLayer::load(config, &scope.child(index))).await?;
        computed(x).await?;
        Ok(Cow::Owned(layer))
    }
}

/// Bytes that a multimodal LLM's weights take on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncoderBytes {
    /// Everything that is no layer of the decoder: embedding, head and towers.
    rest: u64,
    layers: Vec<u64>,
}

impl EncoderBytes {
    /// Counted from the headers.
    pub fn of(config: &EncoderConfig, weights: &Weights, device: &Device) -> Self {
        let prefix = config.layers_prefix();
        let layer = |index| weights.device_len(&format!("{prefix}.{index}."), device);
        let layers: Vec<u64> = (0..config.decoder().num_hidden_layers).map(layer).collect();
        let all = weights.device_len("", device);
        Self {
            rest: all.saturating_sub(layers.iter().sum()),
            layers,
        }
    }

    /// All of it.
    pub fn all(&self) -> u64 {
        self.rest + self.layers.iter().sum::<u64>()
    }

    /// The least with which a prompt can be read: all but the layers, and two of those.
    pub fn least(&self) -> u64 {
        let largest = self.layers.iter().max().copied().unwrap_or(0);
        self.all().min(self.rest + 2 * largest)
    }

    /// The layers that stay within `limit` bytes. Where not all of them do, there is place for two that are streamed.
    pub fn resident(&self, limit: u64) -> usize {
        if self.all() <= limit {
            return self.layers.len();
        }
        let mut left = limit.saturating_sub(self.least());
        let fits = self.layers.iter().take_while(|&&bytes| {
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            fits
        });
        fits.count()
    }

    /// Bytes at once where so many layers stay.
    pub fn held(&self, resident: usize) -> u64 {
        if resident >= self.layers.len() {
            return self.all();
        }
        self.least() + self.layers[..resident].iter().sum::<u64>()
    }
}

#[cfg(test)]
impl EncoderBytes {
    /// Whether the weights have every layer below the prefix of their family.
    pub(super) fn finds_layers(&self) -> bool {
        !self.layers.is_empty() && !self.layers.contains(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_layers_stay_as_fit_beside_two_streamed_ones() {
        let bytes = EncoderBytes {
            rest: 100,
            layers: vec![10; 5],
        };
        assert_eq!((bytes.all(), bytes.least()), (150, 120));
        let resident = [150, 149, 130, 129, 120, 0].map(|limit| bytes.resident(limit));
        assert_eq!(resident, [5, 2, 1, 0, 0, 0]);
        assert_eq!([5, 2, 0].map(|count| bytes.held(count)), [150, 140, 120]);
    }

    #[test]
    fn a_model_of_one_layer_needs_no_place_for_a_second_one() {
        let bytes = EncoderBytes {
            rest: 100,
            layers: vec![10],
        };
        assert_eq!((bytes.least(), bytes.resident(110)), (110, 1));
    }
}
