//! The parts of a model that training reads: opened once, loaded where they are needed.

use burn::tensor::Device;
use x2i_core::config::AlignNetConfig;
use x2i_core::encoders::Encoder;
use x2i_core::flux::Flux;
use x2i_core::model::{ModelSource, open_weights, read_tokenizer};
use x2i_core::vae::{Vae, VaeEncoder};
use x2i_core::weights::{Component, Held, WeightFile, Weights};
use x2i_core::{ModelConfig, Result};
use x2i_engine::Model;

/// The opened files of a model on a device.
pub(crate) struct Parts<'a> {
    model: &'a Model,
    pub(crate) device: Device,
    pub(crate) encoder: Weights,
    pub(crate) align_net: Weights,
    pub(crate) flux: Weights,
    pub(crate) vae: Weights,
    pub(crate) align_config: AlignNetConfig,
    /// Tensors of parts that are loaded again and again.
    pub(crate) held: Held,
}

impl<'a> Parts<'a> {
    pub(crate) fn open(model: &'a Model, device: &Device) -> Result<Self> {
        let (source, config) = (source(model), model.config());
        pollster::block_on(async {
            let encoder = config.encoder.config.component();
            let align_net =
                open_weights(source, Component::AlignNet, &config.align_net.weights).await?;
            Ok(Self {
                encoder: open_weights(source, encoder, &config.encoder.weights).await?,
                flux: open_weights(source, Component::Flux, &config.flux.weights).await?,
                vae: open_weights(source, Component::Vae, &config.vae.weights).await?,
                align_config: align_config(config, &align_net)?,
                align_net,
                model,
                device: device.clone(),
                held: Held::default(),
            })
        })
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    pub(crate) fn source(&self) -> &dyn ModelSource {
        source(self.model)
    }

    pub(crate) fn encoder(&self) -> Result<Encoder> {
        let part = &self.config().encoder;
        pollster::block_on(async {
            let tokenizer = read_tokenizer(self.source(), part).await?;
            Encoder::load(part, tokenizer, &self.encoder.scope(&self.device)).await
        })
    }

    pub(crate) fn flux(&self) -> Result<Flux> {
        let config = &self.config().flux.config;
        pollster::block_on(Flux::load(config, &self.flux.scope(&self.device)))
    }

    pub(crate) fn decoder(&self) -> Result<Vae> {
        let config = &self.config().vae.config;
        pollster::block_on(Vae::load_decoder(config, &self.vae.scope(&self.device)))
    }

    pub(crate) fn vae_encoder(&self) -> Result<VaeEncoder> {
        let config = &self.config().vae.config;
        pollster::block_on(VaeEncoder::load(config, &self.vae.scope(&self.device)))
    }
}

fn align_config(config: &ModelConfig, weights: &Weights) -> Result<AlignNetConfig> {
    let beside = Some(&config.align_net.config).filter(|json| json.is_object());
    // ComfyUI's files carry it.
    let json = beside.or_else(|| weights.files().iter().find_map(WeightFile::config));
    AlignNetConfig::from_shapes(weights.label(), json, |name| weights.shape(name))
}

fn source(model: &Model) -> &dyn ModelSource {
    model.files()
}
