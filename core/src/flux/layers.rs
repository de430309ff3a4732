//! The blocks of FLUX.
//!
//! Source: black-forest-labs/flux `modules/layers.py`; fields are named as its checkpoint's
//! tensors.

use burn::tensor::{Tensor, activation};

use crate::config::FluxConfig;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{
    Activations, Bias, Gated, Heads, InputBits, Linear, Qkv, gated_residual, joint_attention,
    modulated_activations, modulated_layer_norm,
};
use crate::weights::Scope;

const EPS: f32 = 1e-6;

/// Linear, SiLU, Linear: how a scalar or the pooled text becomes part of `vec`.
#[derive(Debug, Clone)]
pub struct MlpEmbedder {
    in_layer: Linear,
    out_layer: Linear,
}

impl MlpEmbedder {
    pub async fn load(scope: &Scope<'_>, input: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            in_layer: Linear::load(&scope.child("in_layer"), input, hidden, Bias::Yes).await?,
            out_layer: Linear::load(&scope.child("out_layer"), hidden, hidden, Bias::Yes).await?,
        })
    }

    /// `[batch, input]` -> `[batch, hidden]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.out_layer
            .forward(activation::silu(self.in_layer.forward(x)))
    }
}

/// Shift, scale and gate of one half of a block, each `[batch, 1, hidden]`.
#[derive(Debug, Clone)]
pub struct ModulationOut {
    pub shift: Tensor<3>,
    pub scale: Tensor<3>,
    pub gate: Tensor<3>,
}

impl ModulationOut {
    /// LayerNorm, then this scale and shift.
    pub fn modulate(&self, x: Tensor<3>) -> Activations<3> {
        modulated_activations(x, self.scale.clone(), self.shift.clone(), EPS)
    }

    /// `x` and this gate, for what is added to `x`.
    fn gated(&self, x: Tensor<3>) -> Gated {
        Gated {
            residual: x,
            gate: self.gate.clone(),
        }
    }
}

/// `N` modulations from `vec`: two for a double block's stream, one for a single block.
#[derive(Debug, Clone)]
pub struct Modulation<const N: usize> {
    lin: Linear,
}

impl<const N: usize> Modulation<N> {
    pub async fn load(scope: &Scope<'_>, hidden: usize) -> Result<Self> {
        Ok(Self {
            lin: Linear::load(&scope.child("lin"), hidden, 3 * N * hidden, Bias::Yes).await?,
        })
    }

    /// `vec` `[batch, hidden]`.
    pub fn forward(&self, vec: Tensor<2>) -> [ModulationOut; N] {
        let out = self
            .lin
            .forward(activation::silu(vec))
            .unsqueeze_dim::<3>(1); // [batch, 1, 3 N hidden]
        let hidden = out.dims()[2] / (3 * N);
        let part = |index: usize| out.clone().narrow(2, index * hidden, hidden);
        std::array::from_fn(|n| ModulationOut {
            shift: part(3 * n),
            scale: part(3 * n + 1),
            gate: part(3 * n + 2),
        })
    }
}

/// Weights of the RMSNorm of queries and keys, each `[head_dim]`.
#[derive(Debug, Clone)]
struct QkNorm {
    query_norm: Tensor<1>,
    key_norm: Tensor<1>,
}

impl QkNorm {
    async fn load(scope: &Scope<'_>, head_dim: usize) -> Result<Self> {
        Ok(Self {
            query_norm: scope.tensor("query_norm.scale", [head_dim]).await?,
            key_norm: scope.tensor("key_norm.scale", [head_dim]).await?,
        })
    }
}

/// Splits the projection `[batch, tokens, 3 * hidden]` of one stream; nothing is copied.
fn split(qkv: Tensor<3>, norm: &QkNorm) -> Qkv {
    let hidden = qkv.dims()[2] / 3;
    let part = |index: usize| qkv.clone().narrow(2, index * hidden, hidden);
    Qkv {
        q: Heads {
            x: part(0),
            weight: norm.query_norm.clone(),
        },
        k: Heads {
            x: part(1),
            weight: norm.key_norm.clone(),
        },
        v: part(2),
    }
}

/// Norms and rotates queries and keys of the one stream or both, attends and joins the heads:
/// `[batch, tokens, hidden]`.
fn attend(first: Qkv, more: Option<Qkv>, rope: &Rope, input_bits: InputBits) -> Activations<3> {
    let tables = [rope.cos.clone(), rope.sin.clone()];
    joint_attention(first, more, tables, EPS, input_bits)
}

/// Whether a block's attentions are kept for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attentions {
    /// They are not, which saves their memory.
    #[default]
    Dropped,
    /// They are, for distillation.
    Kept,
}

/// One stream (image or text) of a double block.
#[derive(Debug, Clone)]
struct Stream {
    modulation: Modulation<2>,
    qkv: Linear,
    norm: QkNorm,
    proj: Linear,
    mlp_in: Linear,
    mlp_out: Linear,
}

impl Stream {
    /// Reads the tensors of `img` or `txt`.
    async fn load(scope: &Scope<'_>, stream: &str, config: &FluxConfig) -> Result<Self> {
        let hidden = config.hidden_size();
        let child = |name: &str| scope.child(format!("{stream}_{name}"));
        Ok(Self {
            modulation: Modulation::load(&child("mod"), hidden).await?,
            qkv: Linear::load(&child("attn.qkv"), hidden, 3 * hidden, Bias::Yes).await?,
            norm: QkNorm::load(&child("attn.norm"), config.attention_head_dim).await?,
            proj: Linear::load(&child("attn.proj"), hidden, hidden, Bias::Yes).await?,
            mlp_in: Linear::load(&child("mlp.0"), hidden, config.mlp_size(), Bias::Yes).await?,
            mlp_out: Linear::load(&child("mlp.2"), config.mlp_size(), hidden, Bias::Yes).await?,
        })
    }

    fn qkv(&self, x: &Tensor<3>, [first, _]: &[ModulationOut; 2]) -> Qkv {
        let qkv = self.qkv.forward_activations(first.modulate(x.clone()));
        split(qkv, &self.norm)
    }

    /// The second half of a block: the attention's projection and the MLP, both gated. Gives the projection where it
    /// is kept.
    fn finish(
        &self,
        x: Tensor<3>,
        attn: Activations<3>,
        [first, second]: &[ModulationOut; 2],
        attentions: Attentions,
    ) -> (Tensor<3>, Option<Tensor<3>>) {
        let (x, attn) = match attentions {
            Attentions::Dropped => (self.proj.forward_gated(attn, first.gated(x)), None),
            Attentions::Kept => {
                let attn = self.proj.forward_activations(attn);
                let x = gated_residual(x, first.gate.clone(), attn.clone());
                (x, Some(attn))
            }
        };
        let mlp = self.mlp_in.forward_gelu(second.modulate(x.clone()));
        (self.mlp_out.forward_gated(mlp, second.gated(x)), attn)
    }
}

/// Image and text in two streams that meet in one attention.
#[derive(Debug, Clone)]
pub struct DoubleStreamBlock {
    img: Stream,
    txt: Stream,
    /// What the CPU rounds the attention's factors to.
    input_bits: InputBits,
}

/// Outputs of a double block; X2I distils the attentions.
pub struct DoubleOutput {
    /// `[batch, image tokens, hidden]`.
    pub img: Tensor<3>,
    /// `[batch, text tokens, hidden]`.
    pub txt: Tensor<3>,
    /// The image's attention after its projection, before its gate, where it is kept.
    pub img_attn: Option<Tensor<3>>,
    /// The text's.
    pub txt_attn: Option<Tensor<3>>,
}

impl DoubleStreamBlock {
    pub async fn load(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self> {
        Ok(Self {
            img: Stream::load(scope, "img", config).await?,
            txt: Stream::load(scope, "txt", config).await?,
            input_bits: scope.input_bits(),
        })
    }

    pub fn forward(
        &self,
        img: Tensor<3>,
        txt: Tensor<3>,
        vec: Tensor<2>,
        rope: &Rope,
        attentions: Attentions,
    ) -> DoubleOutput {
        let img_mod = self.img.modulation.forward(vec.clone());
        let txt_mod = self.txt.modulation.forward(vec);
        let img_qkv = self.img.qkv(&img, &img_mod);
        let txt_qkv = self.txt.qkv(&txt, &txt_mod);

        let attn = attend(txt_qkv, Some(img_qkv), rope, self.input_bits); // [batch, text + image tokens, hidden]
        let (txt_tokens, img_tokens) = (txt.dims()[1], img.dims()[1]);
        let of_txt = attn.clone().narrow(1, 0, txt_tokens);
        let of_img = attn.narrow(1, txt_tokens, img_tokens);

        let (img, img_attn) = self.img.finish(img, of_img, &img_mod, attentions);
        let (txt, txt_attn) = self.txt.finish(txt, of_txt, &txt_mod, attentions);
        DoubleOutput {
            img,
            txt,
            img_attn,
            txt_attn,
        }
    }
}

/// Text and image in one stream; attention and MLP side by side.
///
/// The checkpoint's `linear1` is two layers here: its outputs are the widest tensor of a model, and those for
/// the attention are dropped before those for the MLP are made.
#[derive(Debug, Clone)]
pub struct SingleStreamBlock {
    modulation: Modulation<1>,
    linear1_qkv: Linear,
    linear1_mlp: Linear,
    linear2: Linear,
    norm: QkNorm,
    /// What the CPU rounds the attention's factors to.
    input_bits: InputBits,
}

/// Outputs of a single block.
pub struct SingleOutput {
    /// `[batch, text + image tokens, hidden]`.
    pub x: Tensor<3>,
    /// The attention before `linear2`, where it is kept.
    pub attn: Option<Tensor<3>>,
}

impl SingleStreamBlock {
    pub async fn load(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self> {
        let (hidden, mlp) = (config.hidden_size(), config.mlp_size());
        let (linear1, shape) = (scope.child("linear1"), [3 * hidden + mlp, hidden]);
        let (qkv, mlp_rows) = (0..3 * hidden, 3 * hidden..3 * hidden + mlp);
        Ok(Self {
            modulation: Modulation::load(&scope.child("modulation"), hidden).await?,
            linear1_qkv: Linear::load_rows(&linear1, shape, qkv, Bias::Yes).await?,
            linear1_mlp: Linear::load_rows(&linear1, shape, mlp_rows, Bias::Yes).await?,
            linear2: Linear::load(&scope.child("linear2"), hidden + mlp, hidden, Bias::Yes).await?,
            norm: QkNorm::load(&scope.child("norm"), config.attention_head_dim).await?,
            input_bits: scope.input_bits(),
        })
    }

    pub fn forward(
        &self,
        x: Tensor<3>,
        vec: Tensor<2>,
        rope: &Rope,
        attentions: Attentions,
    ) -> SingleOutput {
        let [modulation] = self.modulation.forward(vec);
        let modulated = modulation.modulate(x.clone());
        let qkv = self.linear1_qkv.forward_activations(modulated.clone());
        let attn = attend(split(qkv, &self.norm), None, rope, self.input_bits);
        let kept = match attentions {
            Attentions::Dropped => None,
            Attentions::Kept => Some(attn.clone().to_f32()),
        };
        let joined = self.linear1_mlp.forward_gelu_after(attn, modulated);
        SingleOutput {
            x: self.linear2.forward_gated(joined, modulation.gated(x)),
            attn: kept,
        }
    }
}

/// The last modulation and the projection to latents.
#[derive(Debug, Clone)]
pub struct LastLayer {
    linear: Linear,
    modulation: Linear, // adaLN_modulation.1: shift, then scale
}

impl LastLayer {
    pub async fn load(scope: &Scope<'_>, config: &FluxConfig) -> Result<Self> {
        let hidden = config.hidden_size();
        Ok(Self {
            linear: Linear::load(
                &scope.child("linear"),
                hidden,
                config.in_channels,
                Bias::Yes,
            )
            .await?,
            modulation: Linear::load(
                &scope.child("adaLN_modulation.1"),
                hidden,
                2 * hidden,
                Bias::Yes,
            )
            .await?,
        })
    }

    /// `[batch, image tokens, hidden]` -> velocity `[batch, image tokens, in_channels]`.
    pub fn forward(&self, img: Tensor<3>, vec: Tensor<2>) -> Tensor<3> {
        let out = self
            .modulation
            .forward(activation::silu(vec))
            .unsqueeze_dim::<3>(1);
        let hidden = out.dims()[2] / 2;
        let (shift, scale) = (
            out.clone().narrow(2, 0, hidden),
            out.narrow(2, hidden, hidden),
        );
        self.linear
            .forward(modulated_layer_norm(img, scale, shift, EPS))
    }
}
