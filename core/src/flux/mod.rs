//! The FLUX transformer: noisy latents and conditioning in, velocity out.
//!
//! Source: black-forest-labs/flux `model.py`. Runs dev (with guidance) and schnell (without) at any
//! depth, width, heads and rotary axes. Not here: LightControl's additions (see [`AfterDouble`]),
//! and text encoders, which AlignNet replaces.

mod blocks;
mod border;
mod chain;
mod first_block_cache;
pub mod latents;
mod layers;
pub mod noise;
mod placement;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::FluxConfig;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{Bias, Linear, sinusoid};
use crate::weights::{Scope, Weights};
use blocks::{Blocks, Stream};
use border::{Known, Place, moved};
pub use chain::{BlockAttentions, Streams};
pub use first_block_cache::FirstBlockCache;
pub use layers::Attentions;
use layers::{
    DoubleOutput, DoubleStreamBlock, LastLayer, MlpEmbedder, SingleOutput, SingleStreamBlock,
};
pub(crate) use placement::FluxBytes;
pub use placement::Placement;

/// Channels of a timestep's sines and cosines.
const TIME_CHANNELS: usize = 256;
/// Base of the rotary frequencies.
const THETA: f64 = 10_000.0;

/// The transformer; fields are the checkpoint's prefixes.
#[derive(Debug)]
pub struct Flux {
    img_in: Linear,
    txt_in: Linear,
    time_in: MlpEmbedder,
    vector_in: MlpEmbedder,
    guidance_in: Option<MlpEmbedder>,
    double_blocks: Blocks<DoubleStreamBlock>,
    single_blocks: Blocks<SingleStreamBlock>,
    final_layer: LastLayer,
    config: FluxConfig,
    /// The first one has all but the blocks.
    devices: Vec<Device>,
}

/// One call of the transformer.
pub struct FluxInput<'a> {
    /// Packed latents `[batch, image tokens, in_channels]`.
    pub img: Tensor<3>,
    /// Values that are constant over all steps: [`Flux::embed`].
    pub conditions: &'a Conditions,
    /// Noise level of each batch item, 0..1.
    pub sigma: &'a [f32],
    /// Rotations of all tokens, text first: [`Flux::rope`].
    pub rope: &'a Rope,
    /// Whether [`BlockOutput`] has the attentions.
    pub attentions: Attentions,
}

/// Gives the addition to the image stream after the double block of an index, `[batch, image tokens,
/// hidden]`; none adds nothing.
pub type AfterDouble<'a> = &'a dyn Fn(usize) -> Option<Tensor<3>>;

/// An image's conditioning after its embedders, constant over all steps.
#[derive(Debug, Clone)]
pub struct Conditions {
    txt: Tensor<3>,              // [batch, text tokens, hidden]
    vec: Tensor<2>,              // [batch, hidden]
    guidance: Option<Tensor<2>>, // [batch, hidden]
}

/// A finished block or the skipped ones, for progress, cancellation and distillation.
pub enum BlockOutput<'a> {
    /// A double block; attentions are after their projection and before their gate, where they are kept.
    Double {
        /// Its number, from 0.
        index: usize,
        /// `[batch, image tokens, hidden]`.
        img: &'a Tensor<3>,
        /// `[batch, text tokens, hidden]`.
        txt: &'a Tensor<3>,
        /// `[batch, image tokens, hidden]`.
        img_attn: Option<&'a Tensor<3>>,
        /// `[batch, text tokens, hidden]`.
        txt_attn: Option<&'a Tensor<3>>,
    },
    /// A single block; the attention is before `linear2`, over text and image, where it is kept.
    Single {
        /// Its number, from 0.
        index: usize,
        /// `[batch, text + image tokens, hidden]`.
        x: &'a Tensor<3>,
        /// `[batch, text + image tokens, hidden]`.
        attn: Option<&'a Tensor<3>>,
    },
    /// All blocks after the first, which a [`FirstBlockCache`] skips.
    Skipped {
        /// How many they are.
        blocks: usize,
    },
}

impl BlockOutput<'_> {
    fn double(index: usize, out: &DoubleOutput) -> BlockOutput<'_> {
        BlockOutput::Double {
            index,
            img: &out.img,
            txt: &out.txt,
            img_attn: out.img_attn.as_ref(),
            txt_attn: out.txt_attn.as_ref(),
        }
    }

    fn single(index: usize, out: &SingleOutput) -> BlockOutput<'_> {
        BlockOutput::Single {
            index,
            x: &out.x,
            attn: out.attn.as_ref(),
        }
    }

    /// The number of blocks that it tells of.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Double { .. } | Self::Single { .. } => 1,
            Self::Skipped { blocks } => *blocks,
        }
    }
}

impl Flux {
    /// Reads all weights under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &FluxConfig, scope: &Scope<'_>) -> Result<Self> {
        let all = Placement {
            double: vec![config.num_layers],
            single: vec![config.num_single_layers],
        };
        Self::read(config, std::slice::from_ref(scope), &all, None).await
    }

    /// Reads what a placement keeps under `scopes`, of one device each and all the root of the same weights. The
    /// other blocks are read from `streamed`, those weights, in every call, to the first device; without it
    /// the placement has to keep all. What is computed is the same.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// Without a scope.
    pub async fn load_placed(
        placement: &Placement,
        config: &FluxConfig,
        streamed: Option<&Arc<Weights>>,
        scopes: &[Scope<'_>],
    ) -> Result<Self> {
        let stream = streamed.map(|weights| Stream {
            weights: weights.clone(),
            device: scopes[0].device().clone(),
            config: config.clone(),
            input_bits: scopes[0].input_bits(),
            leaves: scopes[0].leaves().cloned(),
        });
        Self::read(config, scopes, placement, stream.as_ref()).await
    }

    async fn read(
        config: &FluxConfig,
        scopes: &[Scope<'_>],
        placement: &Placement,
        stream: Option<&Stream>,
    ) -> Result<Self> {
        let scope = &scopes[0];
        let hidden = config.hidden_size();
        let guidance_in = match config.guidance_embeds {
            true => {
                Some(MlpEmbedder::load(&scope.child("guidance_in"), TIME_CHANNELS, hidden).await?)
            }
            false => None,
        };
        let double_blocks = Blocks::load(scopes, config, &placement.double, stream).await?;
        let single_blocks = Blocks::load(scopes, config, &placement.single, stream).await?;
        Ok(Self {
            img_in: Linear::load(
                &scope.child("img_in"),
                config.in_channels,
                hidden,
                Bias::Yes,
            )
            .await?,
            txt_in: Linear::load(
                &scope.child("txt_in"),
                config.joint_attention_dim,
                hidden,
                Bias::Yes,
            )
            .await?,
            time_in: MlpEmbedder::load(&scope.child("time_in"), TIME_CHANNELS, hidden).await?,
            vector_in: MlpEmbedder::load(
                &scope.child("vector_in"),
                config.pooled_projection_dim,
                hidden,
            )
            .await?,
            guidance_in,
            double_blocks,
            single_blocks,
            final_layer: LastLayer::load(&scope.child("final_layer"), config).await?,
            config: config.clone(),
            devices: scopes.iter().map(|scope| scope.device().clone()).collect(),
        })
    }

    /// True where no block is read for a step.
    pub fn is_resident(&self) -> bool {
        self.double_blocks.is_resident() && self.single_blocks.is_resident()
    }

    /// Blocks of one call.
    pub fn blocks(&self) -> usize {
        self.double_blocks.len() + self.single_blocks.len()
    }

    /// The numbers of the devices that compute a call: the first, and those of the blocks.
    pub fn devices_used(&self) -> Vec<usize> {
        let has_blocks = |device: &usize| {
            let [double, single] = [&self.double_blocks.homes, &self.single_blocks.homes];
            *device == 0 || double.contains(device) || single.contains(device)
        };
        (0..self.devices.len()).filter(has_blocks).collect()
    }

    /// The velocity `[batch, image tokens, in_channels]`; `on_block` hears every block and may stop.
    ///
    /// # Errors
    /// The errors of `on_block`.
    pub async fn forward(
        &self,
        input: FluxInput<'_>,
        on_block: &mut impl AsyncFnMut(BlockOutput<'_>) -> Result<()>,
    ) -> Result<Tensor<3>> {
        self.forward_controlled(input, &|_| None, on_block).await
    }

    /// [`forward`](Self::forward), with `control` added to the image stream; `on_block` hears the
    /// blocks as they were before that. Gives `[batch, image tokens, in_channels]`.
    ///
    /// # Errors
    /// The errors of `on_block`.
    pub async fn forward_controlled(
        &self,
        input: FluxInput<'_>,
        control: AfterDouble<'_>,
        on_block: &mut impl AsyncFnMut(BlockOutput<'_>) -> Result<()>,
    ) -> Result<Tensor<3>> {
        self.forward_cached(input, control, None, on_block).await
    }

    /// [`forward_controlled`](Self::forward_controlled), the next step of a picture's `cache` if there
    /// is one: skipped blocks are neither read nor asked a control for.
    ///
    /// # Errors
    /// The errors of `on_block`.
    pub async fn forward_cached(
        &self,
        input: FluxInput<'_>,
        control: AfterDouble<'_>,
        mut cache: Option<&mut FirstBlockCache>,
        on_block: &mut impl AsyncFnMut(BlockOutput<'_>) -> Result<()>,
    ) -> Result<Tensor<3>> {
        let FluxInput {
            conditions,
            rope,
            attentions,
            ..
        } = input;
        let vec = self.modulation_vector(conditions, input.sigma);
        let mut img = self.img_in.forward(input.img);
        let mut txt = conditions.txt.clone();
        let (known, rope) = (vec.clone(), rope.clone());
        let mut place = Place::first(&self.devices, Known { vec: known, rope });

        for index in 0..self.double_blocks.len() {
            let block = self.double_blocks.get(index, &img).await?;
            let cache = cache.as_mut().filter(|_| index == 0);
            let cached = cache.map(|cache| (cache, img.clone()));
            let home = self.double_blocks.home(index);
            let known = place.go(home, &mut [&mut img, &mut txt]).await?;
            let out = block.forward(img, txt, known.vec.clone(), &known.rope, attentions);
            on_block(BlockOutput::double(index, &out)).await?;
            (img, txt) = (out.img, out.txt);
            if let Some((cache, before)) = cached {
                let after = moved(img.clone(), &self.devices[0]).await?;
                if let Some(img) = cache.skip(before, &after).await? {
                    let blocks = self.blocks() - 1;
                    on_block(BlockOutput::Skipped { blocks }).await?;
                    return Ok(self.final_layer.forward(img, vec));
                }
            }
            if let Some(control) = control(index) {
                img = img + moved(control, &self.devices[home]).await?;
            }
        }

        let (txt_tokens, img_tokens) = (txt.dims()[1], img.dims()[1]);
        let mut x = Tensor::cat(vec![txt, img], 1);
        for index in 0..self.single_blocks.len() {
            let block = self.single_blocks.get(index, &x).await?;
            let home = self.single_blocks.home(index);
            let known = place.go(home, &mut [&mut x]).await?;
            let out = block.forward(x, known.vec.clone(), &known.rope, attentions);
            on_block(BlockOutput::single(index, &out)).await?;
            x = out.x;
        }

        let img = moved(x.narrow(1, txt_tokens, img_tokens), &self.devices[0]).await?;
        if let Some(cache) = cache {
            cache.keep(img.clone());
        }
        Ok(self.final_layer.forward(img, vec))
    }

    /// Embeds the values that are constant over all steps of an image: conditioning tokens `txt`
    /// `[batch, text tokens, joint_attention_dim]`, pooled conditioning `vec`
    /// `[batch, pooled_projection_dim]`, and the guidance of each batch item, which models without
    /// its embedding ignore.
    pub fn embed(&self, txt: Tensor<3>, vec: Tensor<2>, guidance: &[f32]) -> Conditions {
        let guidance_in = self.guidance_in.as_ref();
        Conditions {
            txt: self.txt_in.forward(txt),
            vec: self.vector_in.forward(vec),
            guidance: guidance_in.map(|layer| layer.forward(self.sinusoid(guidance))),
        }
    }

    /// `vec` of every block: noise level, pooled text and guidance, `[batch, hidden]`.
    fn modulation_vector(&self, conditions: &Conditions, sigma: &[f32]) -> Tensor<2> {
        let vec = self.time_in.forward(self.sinusoid(sigma)) + conditions.vec.clone();
        match &conditions.guidance {
            Some(guidance) => vec + guidance.clone(),
            None => vec,
        }
    }

    fn sinusoid(&self, values: &[f32]) -> Tensor<2> {
        sinusoid(values, TIME_CHANNELS, &self.devices[0])
    }

    /// Rotations of tokens with these ids (text first); one table serves all steps.
    pub fn rope(&self, ids: &[[f32; 3]]) -> Rope {
        rope_table(&self.config, ids, &self.devices[0])
    }
}

/// Each axis turns its own channels: angle `id * theta^(-2k / width)`, each twice.
fn rope_table(config: &FluxConfig, ids: &[[f32; 3]], device: &Device) -> Rope {
    let mut angles = Vec::with_capacity(ids.len() * config.attention_head_dim);
    for id in ids {
        for (&position, &width) in id.iter().zip(&config.axes_dims_rope) {
            for k in 0..width / 2 {
                let angle = f64::from(position) * THETA.powf(-((2 * k) as f64) / width as f64);
                angles.extend([angle, angle]);
            }
        }
    }
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
        Tensor::from_data(
            TensorData::new(values, [ids.len(), config.attention_head_dim]),
            device,
        )
    };
    Rope {
        cos: table(f64::cos),
        sin: table(f64::sin),
    }
}
