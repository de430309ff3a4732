//! LightControl: an image that steers the transformer's image stream.
//!
//! One small net for each of the first double blocks reads the image and the noise level; its
//! output, times a scale, is added to the image tokens after the block. Source: X2I's
//! `lightcontrol/lightcontrol_flux.py` (`ControlNeXtModel`); fields are the checkpoint's names.
//! Sizes are those of the tensors; the groups of the norms are in no file and are the reference's.
//! Not here: training.

use burn::tensor::{Tensor, activation};
use x2i_shaders::Activation;

use crate::error::{Error, Result};
use crate::nn::{Bias, Conv2d, GroupNorm, Linear, sinusoid};
use crate::weights::Scope;

/// Groups of each stage's norms, in the reference.
pub const GROUPS: [usize; 2] = [4, 8];
/// Groups of the norms of the first convolutions.
const EMBEDDING_GROUPS: usize = 2;
/// Groups of the norms of the last convolutions.
const MID_GROUPS: usize = 8;
/// Channels of a noise level's cosines and sines.
const TIME_CHANNELS: usize = 128;
/// Epsilon of a GroupNorm, PyTorch's default.
const EPS: f64 = 1e-5;
/// Epsilon of the norms of diffusers' residual block.
const RESNET_EPS: f64 = 1e-6;

/// The nets of all steered blocks.
#[derive(Debug)]
pub struct LightControl {
    nets: Vec<ControlNeXt>,
}

impl LightControl {
    /// Reads all nets under `scope`, numbered from 0; their outputs are `hidden` wide, and the norms
    /// of their stages have `groups`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::Shape`]; [`Error::Format`] for channels that do not
    /// divide into groups.
    pub async fn load(scope: &Scope<'_>, hidden: usize, groups: &[usize]) -> Result<Self> {
        let mut nets = vec![];
        while nets.is_empty() || scope.contains(&format!("{}.mid_convs.1.weight", nets.len())) {
            nets.push(ControlNeXt::load(&scope.child(nets.len()), hidden, groups).await?);
        }
        Ok(Self { nets })
    }

    /// The number of steered blocks.
    pub fn len(&self) -> usize {
        self.nets.len()
    }

    /// Never: one net is there at least.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// The addition of `hint` `[batch, 3, height, width]` in -1..1 at the noise levels `sigma` after the
    /// double block `index`: `[batch, height/16 * width/16, hidden]`; none where there is no net.
    pub fn forward(&self, index: usize, hint: &Tensor<4>, sigma: &[f32]) -> Option<Tensor<3>> {
        let net = self.nets.get(index)?;
        Some(net.forward(hint.clone(), sigma))
    }
}

/// `ControlNeXtModel`.
#[derive(Debug)]
struct ControlNeXt {
    time_embedding: [Linear; 2],
    embedding: Vec<(Conv2d, GroupNorm)>,
    stages: Vec<Stage>,
    mid: [(Conv2d, GroupNorm); 2],
    out: Conv2d, // mid_convs.1, 2x2
}

/// `down_res` and `down_sample` of one number.
#[derive(Debug)]
struct Stage {
    down_res: ResnetBlock,
    down_sample: Conv2d,
}

/// diffusers' `ResnetBlock2D`.
#[derive(Debug)]
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ControlNeXt {
    async fn load(scope: &Scope<'_>, hidden: usize, groups: &[usize]) -> Result<Self> {
        let time = scope.child("time_embedding");
        let width = rows(&time, "linear_1");
        let time_embedding = [
            Linear::load(&time.child("linear_1"), TIME_CHANNELS, width, Bias::Yes).await?,
            Linear::load(&time.child("linear_2"), width, width, Bias::Yes).await?,
        ];

        let mut channels = 3;
        let mut embedding = vec![];
        let first = scope.child("embedding");
        for index in [0, 3, 6] {
            let (conv, output) = conv3(&first, index, channels).await?;
            let norm = norm(&first, index + 1, output, EMBEDDING_GROUPS, EPS).await?;
            embedding.push((conv, norm));
            channels = output;
        }

        let mut stages = vec![];
        for (index, &groups) in groups.iter().enumerate() {
            let res = scope.child("down_res").child(index);
            let (down_res, output) = ResnetBlock::load(&res, channels, width, groups).await?;
            let down = scope.child("down_sample").child(index).child("conv");
            stages.push(Stage {
                down_res,
                down_sample: Conv2d::load(&down, output, output, 3).await?,
            });
            channels = output;
        }

        let mid = scope.child("mid_convs").child(0);
        let (conv0, output) = conv3(&mid, 0, channels).await?;
        let norm2 = norm(&mid, 2, output, MID_GROUPS, EPS).await?;
        let conv3 = Conv2d::load(&mid.child(3), output, channels, 3).await?;
        let norm4 = norm(&mid, 4, channels, MID_GROUPS, EPS).await?;
        let out = scope.child("mid_convs").child(1);
        Ok(Self {
            time_embedding,
            embedding,
            stages,
            mid: [(conv0, norm2), (conv3, norm4)],
            out: Conv2d::load(&out, channels, hidden, 2).await?,
        })
    }

    /// `[batch, 3, height, width]` -> `[batch, height/16 * width/16, hidden]`.
    fn forward(&self, hint: Tensor<4>, sigma: &[f32]) -> Tensor<3> {
        let [linear_1, linear_2] = &self.time_embedding;
        let time = sinusoid(sigma, TIME_CHANNELS, &hint.device());
        let time = linear_2.forward(activation::silu(linear_1.forward(time))); // [batch, time width]

        let mut x = hint;
        for (index, (conv, norm)) in self.embedding.iter().enumerate() {
            x = match index {
                0 => conv.forward_halved(x, 1),
                _ => conv.forward(x),
            };
            x = activation::relu(norm.forward(x, Activation::None));
        }
        for stage in &self.stages {
            x = stage.down_res.forward(x, time.clone());
            x = stage.down_sample.forward_halved(x, 1);
        }
        let [(conv0, norm2), (conv3, norm4)] = &self.mid;
        let mid = norm2.forward(activation::relu(conv0.forward(x.clone())), Activation::None);
        let mid = norm4.forward(conv3.forward(mid), Activation::None);
        let out = self.out.forward_halved(mid + x, 0);
        out.flatten::<3>(2, 3).swap_dims(1, 2) // [batch, tokens, hidden]
    }
}

impl ResnetBlock {
    /// The block of `input` channels, and how many it gives.
    async fn load(
        scope: &Scope<'_>,
        input: usize,
        time: usize,
        groups: usize,
    ) -> Result<(Self, usize)> {
        let output = rows(scope, "conv1");
        let shortcut = scope.child("conv_shortcut");
        let conv_shortcut = match input == output {
            true => None,
            false => Some(Conv2d::load(&shortcut, input, output, 1).await?),
        };
        let block = Self {
            norm1: norm(scope, "norm1", input, groups, RESNET_EPS).await?,
            conv1: Conv2d::load(&scope.child("conv1"), input, output, 3).await?,
            time_emb_proj: Linear::load(&scope.child("time_emb_proj"), time, output, Bias::Yes)
                .await?,
            norm2: norm(scope, "norm2", output, groups, RESNET_EPS).await?,
            conv2: Conv2d::load(&scope.child("conv2"), output, output, 3).await?,
            conv_shortcut,
        };
        Ok((block, output))
    }

    fn forward(&self, x: Tensor<4>, time: Tensor<2>) -> Tensor<4> {
        let time = self.time_emb_proj.forward(activation::silu(time));
        let [batch, channels] = time.dims();
        let h = self
            .conv1
            .forward(self.norm1.forward(x.clone(), Activation::Silu));
        let h = h + time.reshape([batch, channels, 1, 1]);
        let h = self.conv2.forward(self.norm2.forward(h, Activation::Silu));
        match &self.conv_shortcut {
            Some(conv) => h + conv.forward(x),
            None => h + x,
        }
    }
}

/// The rows of a layer's weight; 0 where there is none, which loading it then says.
fn rows(scope: &Scope<'_>, layer: impl std::fmt::Display) -> usize {
    let shape = scope.shape(&format!("{layer}.weight"));
    shape.and_then(|shape| shape.first().copied()).unwrap_or(0)
}

/// A convolution of 3x3 and its output channels.
async fn conv3(scope: &Scope<'_>, layer: usize, input: usize) -> Result<(Conv2d, usize)> {
    let output = rows(scope, layer);
    let conv = Conv2d::load(&scope.child(layer), input, output, 3).await?;
    Ok((conv, output))
}

/// A norm whose channels divide into its groups.
async fn norm(
    scope: &Scope<'_>,
    layer: impl std::fmt::Display,
    channels: usize,
    groups: usize,
    eps: f64,
) -> Result<GroupNorm> {
    if channels == 0 || groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::format(
            scope.label(),
            format!("{channels} channels of norm `{layer}` do not divide into {groups} groups"),
        ));
    }
    GroupNorm::load(&scope.child(layer), channels, groups, eps).await
}
