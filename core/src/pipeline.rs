//! The way of one request: prompt, hidden states, conditioning, latents, picture.

use burn::tensor::{Device, Tensor};

use crate::align_net::AlignNet;
use crate::config::{AlignNetConfig, ModelConfig};
use crate::encoders::{EncodeOptions, Encoder};
use crate::error::{Error, Result};
use crate::flux::{Flux, FluxInput, latents};
use crate::image::{self, Image};
use crate::model::{ModelSource, open_weights, read_config, read_tokenizer};
use crate::request::{OnProgress, Phase, Request, report};
use crate::sampler::FlowMatchEuler;
use crate::vae::Vae;
use crate::weights::Component;

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

/// Parts that [`Pipeline::load`] counts.
const PARTS: usize = 4;

impl Pipeline {
    /// Reads a model to a device, tensor by tensor.
    ///
    /// # Errors
    /// Whatever is missing or broken in the folder; [`Error::Cancelled`] when `on_progress` breaks.
    pub async fn load(
        source: &dyn ModelSource,
        device: &Device,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Self> {
        let config = read_config(source).await?;
        report(on_progress, Phase::Load, 0, PARTS)?;

        let weights = open_weights(source, Component::Qwen2_5Vl, &config.encoder.weights).await?;
        let tokenizer = read_tokenizer(source, &config.encoder).await?;
        let encoder = Encoder::load(
            &config.encoder,
            &weights,
            tokenizer,
            config.encoder.chat_template.clone(),
            device,
        )
        .await?;
        report(on_progress, Phase::Load, 1, PARTS)?;

        let weights = open_weights(source, Component::AlignNet, &config.align_net.weights).await?;
        let json = Some(&config.align_net.config).filter(|json| json.is_object());
        let align_config =
            AlignNetConfig::from_shapes(&config.align_net.weights.join(", "), json, |name| {
                weights.shape(name)
            })?;
        check_fit(&config, &align_config)?;
        let align_net = AlignNet::load(&align_config, &weights.scope(device)).await?;
        report(on_progress, Phase::Load, 2, PARTS)?;

        let weights = open_weights(source, Component::Flux, &config.flux.weights).await?;
        let flux = Flux::load(&config.flux.config, &weights.scope(device)).await?;
        report(on_progress, Phase::Load, 3, PARTS)?;

        let weights = open_weights(source, Component::Vae, &config.vae.weights).await?;
        let vae = Vae::load_decoder(&config.vae.config, &weights.scope(device)).await?;
        report(on_progress, Phase::Load, PARTS, PARTS)?;

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
        on_progress: &mut OnProgress<'_>,
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
        let decoded = self.decode(latents, on_progress)?;
        let image = image::to_rgb8(decoded).await?.pop();
        let image =
            image.ok_or_else(|| Error::device("readback", "the picture came back empty"))?;
        Ok(Painting {
            image,
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
        on_progress: &mut OnProgress<'_>,
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
        let total = request.steps * self.flux.blocks();
        let mut done = 0;
        report(on_progress, Phase::Denoise, done, total)?;
        for levels in schedule.sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                txt: txt.clone(),
                vec: vec.clone(),
                sigma: &levels[..1],
                guidance: &[request.guidance],
                rope: &rope,
            };
            let velocity = self.flux.forward(input, &mut |_| {
                done += 1;
                report(on_progress, Phase::Denoise, done, total)
            })?;
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
            // A GPU runs behind: wait once a step, so that progress is true and memory bounded.
            img.clone()
                .slice([0..1, 0..1, 0..1])
                .into_data_async()
                .await?;
        }
        Ok(latents::unpack(img, height, width))
    }

    fn decode(&self, latents: Tensor<4>, on_progress: &mut OnProgress<'_>) -> Result<Tensor<4>> {
        let total = self.vae.decoder_parts();
        let mut done = 0;
        report(on_progress, Phase::Decode, done, total)?;
        self.vae.decode(self.vae.unscale(latents), &mut |_, _| {
            done += 1;
            report(on_progress, Phase::Decode, done, total)
        })
    }
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
