//! The way of one request: prompt, hidden states, conditioning, latents, picture.

mod meter;

use burn::tensor::{Device, Tensor};

use crate::align_net::AlignNet;
use crate::config::{AlignNetConfig, ModelConfig};
use crate::encoders::{EncodeOptions, Encoder};
use crate::error::{Error, Result};
use crate::flux::{BlockOutput, Flux, FluxInput, latents};
use crate::image::{self, Image};
use crate::model::{ModelSource, open_weights, read_config, read_tokenizer};
use crate::request::{OnProgress, Phase, Preview, Progress, Request, Steps, report};
use crate::sampler::FlowMatchEuler;
use crate::vae::{OnPart, Vae};
use crate::weights::{Component, Weights};
use meter::LoadMeter;

/// A model on a device, ready to paint.
pub struct Pipeline {
    config: ModelConfig,
    encoder: Encoder,
    align_net: AlignNet,
    flux: Flux,
    vae: Vae,
    device: Device,
}

/// What a request gives.
#[derive(Debug, Clone)]
pub struct Painting {
    /// The picture.
    pub image: Image,
    /// What the LLM answered, where its answer painted the picture.
    pub answer: Option<String>,
}

/// The longest side of a preview in pixels.
const PREVIEW_SIDE: usize = 256;

impl Pipeline {
    /// Reads a model to a device, tensor by tensor.
    ///
    /// # Errors
    /// Whatever is missing or broken in the folder; [`Error::Cancelled`] when `on_progress` breaks.
    pub async fn load(
        source: &dyn ModelSource,
        device: &Device,
        on_progress: &mut impl OnProgress,
    ) -> Result<Self> {
        let config = read_config(source).await?;
        let open = async |component, files| open_weights(source, component, files).await;
        let encoder_weights = open(Component::Qwen2_5Vl, &config.encoder.weights).await?;
        let align_weights = open(Component::AlignNet, &config.align_net.weights).await?;
        let flux_weights = open(Component::Flux, &config.flux.weights).await?;
        let vae_weights = open(Component::Vae, &config.vae.weights).await?;
        let align_config = align_net_config(&config, &align_weights)?;
        check_fit(&config, &align_config)?;

        let total = encoder_weights.byte_len("")
            + align_weights.byte_len("")
            + flux_weights.byte_len("")
            + vae_weights.byte_len(Vae::DECODER);
        let meter = LoadMeter::new(on_progress, total);
        let scope = |weights| Weights::scope(weights, device).heard_by(&meter);
        meter.begin().await?;
        let tokenizer = read_tokenizer(source, &config.encoder).await?;
        let encoder = Encoder::load(&config.encoder, tokenizer, &scope(&encoder_weights)).await?;
        let align_net = AlignNet::load(&align_config, &scope(&align_weights)).await?;
        let flux = Flux::load(&config.flux.config, &scope(&flux_weights)).await?;
        let vae = Vae::load_decoder(&config.vae.config, &scope(&vae_weights)).await?;
        meter.end().await?;

        Ok(Self {
            config,
            encoder,
            align_net,
            flux,
            vae,
            device: device.clone(),
        })
    }

    /// The model's config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Paints one picture.
    ///
    /// # Errors
    /// [`Error::Request`] for numbers out of range, [`Error::Modality`] for input that the model
    /// can't read, [`Error::Device`] for a lost device, [`Error::Cancelled`] when `on_progress` breaks.
    pub async fn generate(
        &self,
        request: &Request,
        on_progress: &mut impl OnProgress,
    ) -> Result<Painting> {
        request.validate()?;
        if request.prompt.images().next().is_some() && !self.config.reads("image") {
            return Err(Error::Modality {
                model: format!("model {}", self.config.name),
                modality: "images",
                alternatives: "Qwen2.5-VL 3B and 7B with X2I's AlignNet",
            });
        }

        let encoded = self
            .encoder
            .encode(&request.prompt, &self.encode_options(request), on_progress)
            .await?;
        let conditioning = self.align_net.forward(encoded.hidden_states);
        let latents = self
            .denoise(request, conditioning.txt, conditioning.vec, on_progress)
            .await?;
        let total = self.vae.decoder_parts();
        let mut done = 0;
        report(on_progress, Phase::Decode, done, total).await?;
        let mut on_part = async |_: &str, _: &Tensor<4>| {
            done += 1;
            report(on_progress, Phase::Decode, done, total).await
        };
        Ok(Painting {
            image: self.decode(latents, &mut on_part).await?,
            answer: encoded.answer,
        })
    }

    fn encode_options(&self, request: &Request) -> EncodeOptions {
        let defaults = &self.config.defaults;
        EncodeOptions {
            conditioning: request.conditioning,
            prompt_format: defaults.prompt_format,
            padding: defaults.padding,
            input_image_size: defaults.input_image_size,
            max_new_tokens: defaults.max_new_tokens,
            seed: request.seed,
        }
    }

    /// Noise to latents `[1, channels, height/8, width/8]`.
    async fn denoise(
        &self,
        request: &Request,
        txt: Tensor<3>,
        vec: Tensor<2>,
        on_progress: &mut impl OnProgress,
    ) -> Result<Tensor<4>> {
        let side = self.config.vae.config.downsampling();
        let (height, width) = (request.height / side, request.width / side);
        let (rows, columns) = (height / latents::PACK, width / latents::PACK);
        let channels = self.config.vae.config.latent_channels;
        let noise = latents::noise(request.seed, [channels, height, width], &self.device);
        let mut img = latents::pack(noise);

        let schedule = FlowMatchEuler::new(self.config.scheduler.clone())
            .schedule(request.steps, rows * columns);
        let ids = [
            latents::text_ids(txt.dims()[1]),
            latents::image_ids(rows, columns),
        ]
        .concat();
        let rope = self.flux.rope(&ids);
        let mut at = Place {
            blocks: 0,
            total: request.steps * self.flux.blocks(),
            steps: Steps {
                done: 0,
                total: request.steps,
            },
        };
        at.progress().tell(on_progress).await?;
        for levels in schedule.sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                txt: txt.clone(),
                vec: vec.clone(),
                sigma: &levels[..1],
                guidance: &[request.guidance],
                rope: &rope,
            };
            let mut on_block = async |_: BlockOutput<'_>| {
                at.blocks += 1;
                at.progress().tell(on_progress).await
            };
            let velocity = self.flux.forward(input, &mut on_block).await?;
            let next = FlowMatchEuler::step(img.clone(), velocity.clone(), levels[0], levels[1]);
            // A GPU runs behind: wait once a step, so that progress is true and memory bounded.
            next.clone()
                .slice([0..1, 0..1, 0..1])
                .into_data_async()
                .await?;
            let preview = match request.preview {
                Preview::Off => None,
                Preview::On => {
                    // The velocity points at the clean picture: one step to level 0 shows it.
                    let clean = FlowMatchEuler::step(img, velocity, levels[0], 0.0);
                    let clean = latents::unpack(clean, height, width);
                    let small = latents::shrink(clean, (PREVIEW_SIDE / side).max(1));
                    let mut on_part =
                        async |_: &str, _: &Tensor<4>| at.progress().tell(on_progress).await;
                    Some(self.decode(small, &mut on_part).await?)
                }
            };
            img = next;
            at.steps.done += 1;
            let ended = Progress {
                preview,
                ..at.progress()
            };
            ended.tell(on_progress).await?;
        }
        Ok(latents::unpack(img, height, width))
    }

    /// Latents of one picture to the picture.
    async fn decode(&self, latents: Tensor<4>, on_part: &mut impl OnPart) -> Result<Image> {
        let decoded = self.vae.decode(self.vae.unscale(latents), on_part).await?;
        let image = image::to_rgb8(decoded).await?.pop();
        image.ok_or_else(|| Error::device("readback", "the picture came back empty"))
    }
}

/// Where denoising stands.
struct Place {
    blocks: usize,
    total: usize,
    steps: Steps,
}

impl Place {
    fn progress(&self) -> Progress {
        Progress {
            steps: Some(self.steps),
            ..Progress::count(Phase::Denoise, self.blocks, self.total)
        }
    }
}

fn align_net_config(config: &ModelConfig, weights: &Weights) -> Result<AlignNetConfig> {
    let json = Some(&config.align_net.config).filter(|json| json.is_object());
    AlignNetConfig::from_shapes(weights.label(), json, |name| weights.shape(name))
}

/// AlignNet stands between two published models: say which side it does not fit.
fn check_fit(config: &ModelConfig, align: &AlignNetConfig) -> Result<()> {
    let file = || config.align_net.weights.join(", ");
    let (layers, width) = (
        config.encoder.config.hidden_states(),
        config.encoder.config.hidden_size(),
    );
    if (align.in_channels, align.input_dim) != (layers, width) {
        return Err(Error::config(
            file(),
            format!(
                "this AlignNet reads {} hidden states of width {}, the encoder gives {layers} of width {width}",
                align.in_channels, align.input_dim
            ),
        ));
    }
    let (text, pooled) = (
        config.flux.config.joint_attention_dim,
        config.flux.config.pooled_projection_dim,
    );
    if (align.text_dim, align.pooled_dim) != (text, pooled) {
        return Err(Error::config(
            file(),
            format!(
                "this AlignNet gives widths {} and {}, the transformer takes {text} and {pooled}",
                align.text_dim, align.pooled_dim
            ),
        ));
    }
    Ok(())
}
