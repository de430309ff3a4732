//! The files that every side of `x2i bench vae` reads: weights and latents of FLUX's autoencoder.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use x2i_core::config::VaeConfig;
use x2i_core::weights::Component;

use super::folder::{Content, Folder, read_floats};
use super::synthetic::normal;
use crate::flags::{Quantize, Size};

/// The published numbers.
const FLUX: &str = include_str!("../../../../core/configs/flux1-schnell.json");

/// The first index of the latents in the sequence of [`normal`]; weights come before them.
const LATENTS: u64 = 1 << 40;

/// `vae.json`: the description of the folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VaeContent {
    /// The version of the generated numbers, so that old files are not used.
    pub numbers: u32,
    /// Sizes, with diffusers' keys.
    pub vae: VaeConfig,
}

impl Content for VaeContent {
    const FILE: &str = "vae.json";
}

impl VaeContent {
    /// FLUX's autoencoder.
    ///
    /// # Errors
    /// When the published numbers can't be read.
    pub fn flux() -> Result<Self> {
        let json: serde_json::Value = serde_json::from_str(FLUX)?;
        let vae = serde_json::from_value(json["vae"].clone())?;
        Ok(Self { numbers: 1, vae })
    }

    /// Multiplications and additions of one decode, its convolutions taken as direct sums, in
    /// billions.
    pub fn gflop(&self, size: Size) -> f64 {
        let latents = size.width * size.height / self.vae.downsampling().pow(2);
        let layers = layers(&self.vae);
        let products = layers.iter().map(|layer| match layer.kind {
            Kind::Norm => 0,
            Kind::Linear => layer.input * layer.output * latents,
            Kind::Conv(kernel) => {
                let pixels = latents * layer.scale * layer.scale;
                layer.input * layer.output * kernel * kernel * pixels
            }
        });
        let attention = 2 * latents * latents * self.coarsest();
        2e-9 * (products.sum::<usize>() + attention) as f64
    }

    fn coarsest(&self) -> usize {
        self.vae.block_out_channels.last().copied().unwrap_or(0)
    }
}

/// The folder.
pub(super) struct VaeFiles(Folder<VaeContent>);

impl VaeFiles {
    /// The name of the weights: bf16, which are the same numbers in f32 on every side.
    pub const WEIGHTS: &str = "bf16.gguf";

    /// Makes the folder, and writes the missing files for images of `size`.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn create(folder: &Path, content: VaeContent, size: Size) -> Result<Self> {
        let files = Self(Folder::create(folder, content)?);
        let config = &files.content().vae;
        let shapes: Vec<_> = layers(config).iter().flat_map(Layer::tensors).collect();
        files
            .0
            .need_weights(Self::WEIGHTS, Component::Vae, &shapes, Quantize::None)?;
        let count = files.latents_shape(size).iter().product();
        let numbers = (LATENTS..).take(count).map(normal);
        files.0.need_floats(&latents_file(size), numbers)?;
        Ok(files)
    }

    /// Opens an existing folder.
    ///
    /// # Errors
    /// When it has no readable `vae.json`.
    pub fn open(folder: &Path) -> Result<Self> {
        Folder::open(folder).map(Self)
    }

    /// The description of its content.
    pub fn content(&self) -> &VaeContent {
        self.0.content()
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path(name)
    }

    /// The shape of the latents: `[1, latent_channels, height / 8, width / 8]`.
    pub fn latents_shape(&self, size: Size) -> [usize; 4] {
        let config = &self.content().vae;
        let [height, width] = [size.height, size.width].map(|side| side / config.downsampling());
        [1, config.latent_channels, height, width]
    }

    /// The latents, in the shape of [`VaeFiles::latents_shape`].
    ///
    /// # Errors
    /// When they do not exist.
    pub fn latents(&self, size: Size) -> Result<Vec<f32>> {
        read_floats(&self.path(&latents_file(size)))
    }
}

fn latents_file(size: Size) -> String {
    format!("latents-{size}.f32")
}

/// The kind of a layer.
enum Kind {
    /// A convolution with a square kernel of this side.
    Conv(usize),
    Linear,
    Norm,
}

/// A layer with weights.
struct Layer {
    name: String,
    kind: Kind,
    input: usize,
    output: usize,
    /// The side of a latent in pixels at this layer.
    scale: usize,
}

impl Layer {
    fn tensors(&self) -> [(String, Vec<usize>); 2] {
        let weight = match self.kind {
            Kind::Conv(kernel) => vec![self.output, self.input, kernel, kernel],
            Kind::Linear => vec![self.output, self.input],
            Kind::Norm => vec![self.output],
        };
        [
            (format!("{}.weight", self.name), weight),
            (format!("{}.bias", self.name), vec![self.output]),
        ]
    }
}

/// The decoder's layers, named as in BFL's checkpoint.
fn layers(config: &VaeConfig) -> Vec<Layer> {
    let channels = &config.block_out_channels;
    let levels = channels.len();
    let (finest, coarsest) = (channels[0], channels[levels - 1]);
    let mut layers = Layers(Vec::new());
    layers.conv("conv_in", config.latent_channels, coarsest, 3, 1);
    layers.resnet("mid.block_1", coarsest, coarsest, 1);
    layers.add("mid.attn_1.norm", Kind::Norm, coarsest, coarsest, 1);
    for name in ["q", "k", "v", "proj_out"] {
        let name = format!("mid.attn_1.{name}");
        layers.add(&name, Kind::Linear, coarsest, coarsest, 1);
    }
    layers.resnet("mid.block_2", coarsest, coarsest, 1);
    for level in (0..levels).rev() {
        let scale = 1 << (levels - 1 - level);
        let mut input = channels[(level + 1).min(levels - 1)];
        for block in 0..=config.layers_per_block {
            let name = format!("up.{level}.block.{block}");
            layers.resnet(&name, input, channels[level], scale);
            input = channels[level];
        }
        if level > 0 {
            let name = format!("up.{level}.upsample.conv");
            layers.conv(&name, input, input, 3, 2 * scale);
        }
    }
    let scale = config.downsampling();
    layers.add("norm_out", Kind::Norm, finest, finest, scale);
    layers.conv("conv_out", finest, 3, 3, scale);
    layers.0
}

struct Layers(Vec<Layer>);

impl Layers {
    fn add(&mut self, name: &str, kind: Kind, input: usize, output: usize, scale: usize) {
        let name = format!("decoder.{name}");
        self.0.push(Layer {
            name,
            kind,
            input,
            output,
            scale,
        });
    }

    fn conv(&mut self, name: &str, input: usize, output: usize, kernel: usize, scale: usize) {
        self.add(name, Kind::Conv(kernel), input, output, scale);
    }

    fn resnet(&mut self, name: &str, input: usize, output: usize, scale: usize) {
        self.add(&format!("{name}.norm1"), Kind::Norm, input, input, scale);
        self.conv(&format!("{name}.conv1"), input, output, 3, scale);
        self.add(&format!("{name}.norm2"), Kind::Norm, output, output, scale);
        self.conv(&format!("{name}.conv2"), output, output, 3, scale);
        if input != output {
            self.conv(&format!("{name}.nin_shortcut"), input, output, 1, scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_as_by_torch() -> Result<()> {
        // From torch.utils.flop_counter on diffusers' decoder.
        const TORCH: f64 = 2515.0;
        let size = Size {
            width: 512,
            height: 512,
        };
        let counted = VaeContent::flux()?.gflop(size);
        assert!((counted / TORCH - 1.0).abs() < 1e-3, "{counted}");
        Ok(())
    }
}
