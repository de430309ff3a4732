//! The audio tower: Whisper's encoder, a projection, and an average over neighbouring frames.
//!
//! A frame attends to its own second and to all before it, as in streaming. Sounds are read in
//! clips of at most 30 s, each padded with silence to the longest. Source: `get_audio_embedding`
//! and `MiniCPMWhisperEncoder` of X2I's `minicpm/modeling_minicpmo.py`. Not supported: the cache
//! for streams.

use burn::tensor::activation::{gelu, relu};
use burn::tensor::{Device, Tensor, TensorData};

use super::block::{Activation, Block, BlockConfig};
use crate::audio::log_mel::Mel;
use crate::config::MiniCpmOConfig;
use crate::error::Result;
use crate::nn::{Bias, Conv1d, LayerNorm, Linear};
use crate::weights::Scope;

/// Epsilon of Whisper's LayerNorms.
const EPS: f64 = 1e-5;

/// The audio tower (Whisper's encoder) with its projection into the decoder's width.
#[derive(Debug)]
pub struct AudioTower {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Tensor<2>, // [positions, width]
    layers: Vec<Block>,
    layer_norm: LayerNorm,
    linear1: Linear,
    linear2: Linear,
    mel_bins: usize,
    /// Frames of a block, if a frame does not hear the whole clip.
    chunk_frames: Option<usize>,
    /// Frames of one token.
    pool_step: usize,
    device: Device,
}

impl AudioTower {
    /// Reads `apm` and `audio_projection_layer` under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &MiniCpmOConfig, scope: &Scope<'_>) -> Result<Self> {
        let audio = &config.audio_config;
        let (width, apm) = (audio.d_model, scope.child("apm"));
        let block = BlockConfig {
            width,
            inner: audio.encoder_ffn_dim,
            heads: audio.encoder_attention_heads,
            eps: EPS,
            key_bias: Bias::No,
            activation: Activation::Gelu,
            names: ["self_attn_layer_norm", "final_layer_norm", "fc1", "fc2"],
        };
        let mut layers = Vec::with_capacity(audio.encoder_layers);
        for index in 0..audio.encoder_layers {
            layers.push(Block::load(&block, &apm.child("layers").child(index)).await?);
        }
        let (projection, hidden) = (
            scope.child("audio_projection_layer"),
            config.decoder.hidden_size,
        );
        let positions = [audio.max_source_positions, width];
        Ok(Self {
            conv1: Conv1d::load(&apm.child("conv1"), audio.num_mel_bins, width, 1).await?,
            conv2: Conv1d::load(&apm.child("conv2"), width, width, 2).await?,
            embed_positions: apm
                .child("embed_positions")
                .tensor("weight", positions)
                .await?,
            layers,
            layer_norm: LayerNorm::load(&apm.child("layer_norm"), width, EPS).await?,
            linear1: Linear::load(&projection.child("linear1"), width, hidden, Bias::Yes).await?,
            linear2: Linear::load(&projection.child("linear2"), hidden, hidden, Bias::Yes).await?,
            mel_bins: audio.num_mel_bins,
            chunk_frames: config.audio_chunk_frames(),
            pool_step: config.audio_pool_step,
            device: scope.device().clone(),
        })
    }

    /// One clip -> its tokens, `[tokens, hidden]`. The clip is heard as one of `longest` mel frames,
    /// since the published code hears all clips of a prompt as long as the longest.
    ///
    /// # Errors
    /// The errors of `before_layer`, which is called before every layer, so that a caller can stop.
    pub async fn forward(
        &self,
        mel: &Mel,
        longest: usize,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<2>> {
        let mut x = self.embed(mel, longest);
        let mask = self.mask(mel.frames, longest);
        for layer in 0..self.layers() {
            before_layer().await?;
            x = self.layer(layer, x, mask.clone());
        }
        let pooled = self.pool(self.project(self.finish(x)));
        Ok(pooled
            .squeeze_dim::<2>(0)
            .narrow(0, 0, self.tokens(mel.frames)))
    }

    /// Layers of the tower.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Tokens of a clip of so many mel frames.
    pub fn tokens(&self, frames: usize) -> usize {
        tokens(frames, self.pool_step)
    }

    /// A clip with silence up to `longest` mel frames: `[1, longest / 2, width]`.
    ///
    /// # Panics
    /// When the spectrogram has other bins than the tower, or more frames than `longest`.
    pub fn embed(&self, mel: &Mel, longest: usize) -> Tensor<3> {
        let [_, x] = self.convolve(mel, longest);
        let x = gelu(x);
        let positions = self.embed_positions.clone().narrow(0, 0, x.dims()[1]);
        x + positions.unsqueeze()
    }

    /// Outputs of the two convolutions before their activation, `[1, longest, width]` and
    /// `[1, longest / 2, width]`.
    ///
    /// # Panics
    /// As [`embed`](Self::embed).
    pub fn convolve(&self, mel: &Mel, longest: usize) -> [Tensor<3>; 2] {
        let shape = [1, self.mel_bins, mel.frames];
        let data = TensorData::new(mel.values.clone(), shape);
        let mut sound = Tensor::<3>::from_data(data, &self.device).swap_dims(1, 2);
        if longest > mel.frames {
            let silence = [1, longest - mel.frames, self.mel_bins];
            let silence = Tensor::<3>::zeros(silence, &self.device);
            sound = Tensor::cat(vec![sound, silence], 1);
        }
        let first = self.conv1.forward(sound);
        [first.clone(), self.conv2.forward(gelu(first))]
    }

    /// The attention mask of a clip of `frames` mel frames, `[1, 1, longest / 2, longest / 2]`; none
    /// where every frame attends to all.
    ///
    /// The published code compares places of the tower's frames with a length in mel frames, twice
    /// as many: half of the silence behind a clip is heard. The weights know it so.
    pub fn mask(&self, frames: usize, longest: usize) -> Option<Tensor<4>> {
        let length = longest.div_ceil(2);
        let end = |query: usize| match self.chunk_frames {
            Some(chunk) => ((query / chunk + 1) * chunk).min(frames),
            None => frames,
        };
        if end(0) >= length {
            return None;
        }
        let row = |query| {
            let end = end(query);
            (0..length).map(move |key| if key < end { 0.0 } else { f32::MIN })
        };
        let values: Vec<f32> = (0..length).flat_map(row).collect();
        let data = TensorData::new(values, [1, 1, length, length]);
        Some(Tensor::from_data(data, &self.device))
    }

    /// One layer: `[1, frames, width]`, same shape out.
    pub fn layer(&self, index: usize, x: Tensor<3>, mask: Option<Tensor<4>>) -> Tensor<3> {
        self.layers[index].forward(x, mask)
    }

    /// The norm after the last layer: `[1, frames, width]`, same shape out.
    pub fn finish(&self, x: Tensor<3>) -> Tensor<3> {
        self.layer_norm.forward(x)
    }

    /// Into the decoder's width: `[1, frames, width]` -> `[1, frames, hidden]`.
    pub fn project(&self, x: Tensor<3>) -> Tensor<3> {
        self.linear2.forward(relu(self.linear1.forward(x)))
    }

    /// The mean of `pool_step` frames each: `[1, frames, hidden]` -> `[1, frames / step, hidden]`.
    pub fn pool(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, frames, width] = x.dims();
        let pooled = frames / self.pool_step;
        x.narrow(1, 0, pooled * self.pool_step)
            .reshape([batch, pooled, self.pool_step, width])
            .mean_dim(2)
            .reshape([batch, pooled, width])
    }
}

/// Tokens of a clip of so many mel frames, of which the tower makes half as many and averages `step`.
pub(super) fn tokens(frames: usize, step: usize) -> usize {
    frames.div_ceil(2) / step
}
