//! The vision tower: patches to tokens of the decoder's width.
//!
//! Most blocks attend inside windows, some over whole frames, with rotary positions of rows and
//! columns; a merger makes one token of 2x2 patches. Windows of equal length run as one batch, so
//! that no mask of all patches by all patches is built. Source: transformers 4.49's
//! `Qwen2_5_VisionTransformerPretrainedModel`.

use std::collections::BTreeMap;

use burn::tensor::activation::gelu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::windows::Layout;
use crate::config::VisionConfig;
use crate::encoders::decoder_layer::SwiGlu;
use crate::encoders::qwen2::rope_of_angles;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{Bias, Linear, RmsNorm, attention};
use crate::weights::Scope;

/// Epsilon of the tower's RMSNorms; no published config states it.
const EPS: f64 = 1e-6;

/// The vision tower: patches to vectors of the decoder's width.
#[derive(Debug)]
pub struct VisionTower {
    config: VisionConfig,
    patch_embed: Linear,
    blocks: Vec<VisionBlock>,
    merger: Merger,
}

impl VisionTower {
    /// Reads the tower under `scope` (`visual`).
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &VisionConfig, scope: &Scope<'_>) -> Result<Self> {
        let pixels = config.in_channels * config.temporal_patch_size * config.patch_size.pow(2);
        let patch_embed = scope.child("patch_embed.proj");
        let mut blocks = Vec::with_capacity(config.depth);
        for index in 0..config.depth {
            blocks.push(VisionBlock::load(config, &scope.child("blocks").child(index)).await?);
        }
        Ok(Self {
            patch_embed: Linear::load(&patch_embed, pixels, config.hidden_size, Bias::No).await?,
            blocks,
            merger: Merger::load(config, &scope.child("merger")).await?,
            config: config.clone(),
        })
    }

    /// Pixels `[patches, pixels]` of all images -> `[patches / 4, out_hidden]`.
    ///
    /// # Errors
    /// The errors of `before_block`, which is called before every block, so that a caller can stop.
    pub async fn forward(
        &self,
        pixel_values: Tensor<2>,
        layout: &Layout,
        before_block: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<2>> {
        let order = WindowOrder::new(layout, &self.config, &pixel_values.device());
        let mut x = order.enter(self.embed(pixel_values));
        for block in 0..self.blocks() {
            before_block().await?;
            x = self.block(block, x, &order);
        }
        Ok(order.leave(self.merge(x)))
    }

    /// Blocks of the tower.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Patches as vectors: `[patches, pixels]` -> `[patches, hidden]`.
    pub fn embed(&self, pixel_values: Tensor<2>) -> Tensor<2> {
        self.patch_embed.forward(pixel_values)
    }

    /// One block, in window order: `[patches, hidden]`, same shape out.
    pub fn block(&self, index: usize, x: Tensor<2>, order: &WindowOrder) -> Tensor<2> {
        let spans = if self.config.fullatt_block_indexes.contains(&index) {
            &order.frames
        } else {
            &order.windows
        };
        self.blocks[index].forward(x, &order.rope, spans)
    }

    /// Four neighbouring patches become a token: `[patches, hidden]` -> `[patches / 4, out_hidden]`.
    pub fn merge(&self, x: Tensor<2>) -> Tensor<2> {
        self.merger.forward(x)
    }
}

/// A [`Layout`] on the device: the order of patches, their rotations, and the spans that attend.
#[derive(Debug)]
pub struct WindowOrder {
    /// Patches in window order.
    patches: Tensor<1, Int>,
    /// The place of each merged patch in window order.
    inverse: Tensor<1, Int>,
    rope: Rope,
    windows: Spans,
    frames: Spans,
}

impl WindowOrder {
    /// Puts a layout on `device`.
    pub fn new(layout: &Layout, config: &VisionConfig, device: &Device) -> Self {
        let unit = config.spatial_merge_size.pow(2);
        let patches: Vec<usize> = layout
            .window_index
            .iter()
            .flat_map(|&merged| merged * unit..(merged + 1) * unit)
            .collect();
        let half = layout.rope_freqs.len() / patches.len().max(1);
        let angles = patches
            .iter()
            .flat_map(|&patch| &layout.rope_freqs[patch * half..(patch + 1) * half]);
        Self {
            rope: rope_of_angles(angles.copied().collect(), patches.len(), device),
            patches: indices(&patches, device),
            inverse: indices(&inverse(&layout.window_index), device),
            windows: Spans::new(&layout.window_lengths, device),
            frames: Spans::new(&layout.frame_lengths, device),
        }
    }

    /// The image's order to window order, `[patches, width]`.
    pub fn enter(&self, x: Tensor<2>) -> Tensor<2> {
        x.select(0, self.patches.clone())
    }

    /// Window order to the image's, `[patches / 4, width]`.
    pub fn leave(&self, x: Tensor<2>) -> Tensor<2> {
        x.select(0, self.inverse.clone())
    }
}

/// Spans of patches that attend to each other, batched by their length.
#[derive(Debug)]
struct Spans {
    /// Patches sorted by the length of their span, and the way back; none when all are equal.
    sorted: Option<[Tensor<1, Int>; 2]>,
    /// Count and length of the spans of each batch, in sorted order.
    batches: Vec<(usize, usize)>,
}

impl Spans {
    fn new(lengths: &[usize], device: &Device) -> Self {
        let mut starts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut start = 0;
        for &length in lengths {
            starts.entry(length).or_default().push(start);
            start += length;
        }
        let order: Vec<usize> = starts
            .iter()
            .flat_map(|(length, starts)| {
                starts.iter().flat_map(move |start| *start..start + length)
            })
            .collect();
        Self {
            sorted: (starts.len() > 1)
                .then(|| [indices(&order, device), indices(&inverse(&order), device)]),
            batches: starts
                .iter()
                .map(|(&length, starts)| (starts.len(), length))
                .collect(),
        }
    }

    /// Attention inside each span; all `[1, heads, patches, head_dim]`.
    fn attend(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let [_, heads, _, head_dim] = q.dims();
        let scale = 1.0 / (head_dim as f32).sqrt();
        let [q, k, v] = [q, k, v].map(|x| match &self.sorted {
            Some([order, _]) => x.select(2, order.clone()),
            None => x,
        });
        let mut start = 0;
        let batches = self.batches.iter().map(|&(count, length)| {
            let [q, k, v] = [&q, &k, &v].map(|x| {
                let spans = x.clone().narrow(2, start, count * length);
                spans
                    .reshape([heads, count, length, head_dim])
                    .swap_dims(0, 1) // [count, heads, length, head_dim]
            });
            start += count * length;
            let mixed = attention(q, k, v, None, scale).swap_dims(0, 1);
            mixed.reshape([1, heads, count * length, head_dim])
        });
        let mixed = Tensor::cat(batches.collect(), 2);
        match &self.sorted {
            Some([_, inverse]) => mixed.select(2, inverse.clone()),
            None => mixed,
        }
    }
}

#[derive(Debug)]
struct VisionBlock {
    norm1: RmsNorm,
    qkv: Linear,
    proj: Linear,
    norm2: RmsNorm,
    mlp: SwiGlu,
    heads: usize,
}

impl VisionBlock {
    async fn load(config: &VisionConfig, scope: &Scope<'_>) -> Result<Self> {
        let width = config.hidden_size;
        let attn = scope.child("attn");
        Ok(Self {
            norm1: RmsNorm::load(&scope.child("norm1"), "weight", width, EPS).await?,
            qkv: Linear::load(&attn.child("qkv"), width, 3 * width, Bias::Yes).await?,
            proj: Linear::load(&attn.child("proj"), width, width, Bias::Yes).await?,
            norm2: RmsNorm::load(&scope.child("norm2"), "weight", width, EPS).await?,
            mlp: SwiGlu::load(
                &scope.child("mlp"),
                width,
                config.intermediate_size,
                Bias::Yes,
            )
            .await?,
            heads: config.num_heads,
        })
    }

    fn forward(&self, x: Tensor<2>, rope: &Rope, spans: &Spans) -> Tensor<2> {
        let [patches, width] = x.dims();
        let heads = self.heads;
        let qkv = self.qkv.forward(self.norm1.forward(x.clone()));
        let qkv = qkv
            .reshape([1, patches, 3 * heads, width / heads])
            .swap_dims(1, 2); // [1, 3 * heads, patches, head_dim]
        let q = rope.rotate_halves(qkv.clone().narrow(1, 0, heads));
        let k = rope.rotate_halves(qkv.clone().narrow(1, heads, heads));
        let mixed = spans.attend(q, k, qkv.narrow(1, 2 * heads, heads));
        let x = x + self
            .proj
            .forward(mixed.swap_dims(1, 2).reshape([patches, width]));
        let normed = self.norm2.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}

#[derive(Debug)]
struct Merger {
    ln_q: RmsNorm,
    mlp: [Linear; 2],
    /// Patches of one token.
    unit: usize,
}

impl Merger {
    async fn load(config: &VisionConfig, scope: &Scope<'_>) -> Result<Self> {
        let unit = config.spatial_merge_size.pow(2);
        let merged = config.hidden_size * unit;
        let mlp = scope.child("mlp");
        Ok(Self {
            ln_q: RmsNorm::load(&scope.child("ln_q"), "weight", config.hidden_size, EPS).await?,
            mlp: [
                Linear::load(&mlp.child(0), merged, merged, Bias::Yes).await?,
                Linear::load(&mlp.child(2), merged, config.out_hidden_size, Bias::Yes).await?,
            ],
            unit,
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [patches, width] = x.dims();
        let merged = self
            .ln_q
            .forward(x)
            .reshape([patches / self.unit, self.unit * width]);
        let [first, second] = &self.mlp;
        second.forward(gelu(first.forward(merged)))
    }
}

fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The inverse of a permutation.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (place, &index) in order.iter().enumerate() {
        inverse[index] = place;
    }
    inverse
}
