//! The transformer block by block, for a caller that keeps what flows between them: training runs some blocks
//! again, and records only those.
//!
//! The same blocks as [`Flux::forward`]. Left out: a cache of blocks, and progress.

use burn::tensor::Tensor;

use super::border::moved;
use super::{Attentions, Conditions, Flux};
use crate::error::Result;
use crate::nn::rope::Rope;

/// What flows from block to block.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "both are handles that live for one block"
)]
pub enum Streams {
    /// Before and between double blocks, each `[batch, tokens, hidden]`.
    Double {
        /// Image tokens.
        img: Tensor<3>,
        /// Text tokens.
        txt: Tensor<3>,
    },
    /// Behind a single block: text, then image tokens.
    Single {
        /// `[batch, text + image tokens, hidden]`.
        x: Tensor<3>,
        /// How many of them are text.
        txt_tokens: usize,
    },
}

/// The attention outputs of one block, as [`BlockOutput`](super::BlockOutput) has them.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "both are handles that live for one block"
)]
pub enum BlockAttentions {
    /// Of a double block.
    Double {
        /// `[batch, image tokens, hidden]`.
        img: Tensor<3>,
        /// `[batch, text tokens, hidden]`.
        txt: Tensor<3>,
    },
    /// Of a single block, `[batch, text + image tokens, hidden]`.
    Single(Tensor<3>),
}

impl Streams {
    /// The same with each tensor changed.
    pub fn map(self, mut change: impl FnMut(Tensor<3>) -> Tensor<3>) -> Self {
        match self {
            Self::Double { img, txt } => Self::Double {
                img: change(img),
                txt: change(txt),
            },
            Self::Single { x, txt_tokens } => Self::Single {
                x: change(x),
                txt_tokens,
            },
        }
    }

    /// All tensors.
    pub fn tensors(&self) -> Vec<&Tensor<3>> {
        match self {
            Self::Double { img, txt } => vec![img, txt],
            Self::Single { x, .. } => vec![x],
        }
    }
}

impl Flux {
    /// Double blocks of a call; [`blocks`](Self::blocks) counts the single blocks too.
    pub fn double_blocks(&self) -> usize {
        self.double_blocks.len()
    }

    /// What the first block takes, of packed latents `img` `[batch, image tokens, in_channels]`, and `vec` `[batch,
    /// hidden]`, which every block takes.
    ///
    /// # Panics
    /// When blocks lie on several devices, over which nothing is recorded.
    pub fn enter(
        &self,
        img: Tensor<3>,
        conditions: &Conditions,
        sigma: &[f32],
    ) -> (Streams, Tensor<2>) {
        let devices = self.devices_used().len();
        assert_eq!(devices, 1, "blocks are walked on one device");
        let streams = Streams::Double {
            img: self.img_in.forward(img),
            txt: conditions.txt.clone(),
        };
        (streams, self.modulation_vector(conditions, sigma))
    }

    /// Block `index` of all blocks, the double ones first; gives its attention outputs where they are kept.
    ///
    /// # Errors
    /// What reading a streamed block gives.
    ///
    /// # Panics
    /// For streams of another kind of block.
    pub async fn block(
        &self,
        index: usize,
        streams: Streams,
        vec: Tensor<2>,
        rope: &Rope,
        attentions: Attentions,
    ) -> Result<(Streams, Option<BlockAttentions>)> {
        let doubles = self.double_blocks.len();
        match streams {
            Streams::Double { img, txt } if index < doubles => {
                let block = self.double_blocks.get(index, &img).await?;
                let out = block.forward(img, txt, vec, rope, attentions);
                let attentions = out.img_attn.zip(out.txt_attn);
                let attentions = attentions.map(|(img, txt)| BlockAttentions::Double { img, txt });
                let (img, txt) = (out.img, out.txt);
                Ok((Streams::Double { img, txt }, attentions))
            }
            Streams::Double { img, txt } => {
                let txt_tokens = txt.dims()[1];
                let x = Tensor::cat(vec![txt, img], 1);
                let streams = Streams::Single { x, txt_tokens };
                Box::pin(self.block(index, streams, vec, rope, attentions)).await
            }
            Streams::Single { x, txt_tokens } => {
                assert!(index >= doubles, "a double block needs two streams");
                let block = self.single_blocks.get(index - doubles, &x).await?;
                let out = block.forward(x, vec, rope, attentions);
                let streams = Streams::Single {
                    x: out.x,
                    txt_tokens,
                };
                Ok((streams, out.attn.map(BlockAttentions::Single)))
            }
        }
    }

    /// The velocity `[batch, image tokens, in_channels]` of what the last block gave.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a device failed.
    pub async fn leave(&self, streams: Streams, vec: Tensor<2>) -> Result<Tensor<3>> {
        let img = match streams {
            Streams::Double { img, .. } => img,
            Streams::Single { x, txt_tokens } => {
                let tokens = x.dims()[1] - txt_tokens;
                x.narrow(1, txt_tokens, tokens)
            }
        };
        let img = moved(img, &self.devices[0]).await?;
        Ok(self.final_layer.forward(img, vec))
    }
}
