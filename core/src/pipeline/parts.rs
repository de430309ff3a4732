//! The parts of a model: all on the device, or each loaded when its turn comes and dropped after.

use std::ops::Deref;
use std::sync::Arc;

use burn::tensor::Device;

use super::meter::LoadMeter;
use super::plan::{Limit, LoadOptions, Sizes, activation_bytes};
use crate::align_net::AlignNet;
use crate::config::{AlignNetConfig, ModelConfig, VaeConfig};
use crate::encoders::{Encoder, EncoderBytes};
use crate::error::{Error, Result};
use crate::flux::{Flux, FluxBytes};
use crate::light_control::{GROUPS, LightControl};
use crate::model::{ModelSource, open_weights, read_tokenizer};
use crate::nn::{InputBits, halves_activations};
use crate::request::OnProgress;
use crate::tokenizer::Tokenizer;
use crate::vae::{Vae, VaeEncoder};
use crate::weights::{Component, OnRead, Scope, Streaming, WeightFile, Weights};

/// The opened files of a model: headers, and no values.
pub(super) struct Files {
    pub config: ModelConfig,
    pub align_config: AlignNetConfig,
    pub tokenizer: Tokenizer,
    pub encoder: Arc<Weights>,
    pub align_net: Weights,
    pub flux: Arc<Weights>,
    pub vae: Weights,
    pub control: Option<Arc<Weights>>,
    pub device: Device,
    /// The devices beside it, for blocks of the transformer.
    others: Vec<Device>,
    input_bits: InputBits,
}

/// A model on the device.
pub(super) struct Models {
    encoder: Encoder,
    align_net: AlignNet,
    flux: Flux,
    vae: Vae,
    /// For its encoder, which does not stay.
    vae_weights: Weights,
    control: Option<LightControl>,
}

/// Where the parts are.
#[allow(clippy::large_enum_variant, reason = "a pipeline has one")]
pub(super) enum Parts {
    /// On the device.
    Resident(Models),
    /// In their files.
    OneByOne(Files),
}

/// A part for the time of its use.
pub(super) enum Held<'a, T> {
    /// It stays.
    Kept(&'a T),
    /// It goes.
    Loaded(T),
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Kept(part) => part,
            Self::Loaded(part) => part,
        }
    }
}

impl Files {
    /// Opens all parts and checks that they fit each other.
    pub async fn open(
        source: &dyn ModelSource,
        config: &ModelConfig,
        device: &Device,
        options: &LoadOptions,
    ) -> Result<Self> {
        let open = async |component, files| open_weights(source, component, files).await;
        let encoder = open(config.encoder.config.component(), &config.encoder.weights).await?;
        let align_net = open(Component::AlignNet, &config.align_net.weights).await?;
        let mut flux = open(Component::Flux, &config.flux.weights).await?;
        flux.adapt(&options.loras)?;
        let vae = open(Component::Vae, &config.vae.weights).await?;
        let align_config = align_net_config(config, &align_net)?;
        check_fit(config, &align_config)?;
        Ok(Self {
            config: config.clone(),
            align_config,
            tokenizer: read_tokenizer(source, &config.encoder).await?,
            encoder: Arc::new(encoder),
            align_net,
            flux: Arc::new(flux),
            vae,
            control: options.control.clone(),
            device: device.clone(),
            others: options
                .others
                .iter()
                .map(|other| other.device.clone())
                .collect(),
            input_bits: options.input_bits,
        })
    }

    /// The opened files of the encoder, AlignNet, the transformer and the VAE.
    pub fn all_weights(&self) -> [&Weights; 4] {
        [&self.encoder, &self.align_net, &self.flux, &self.vae]
    }

    /// What the parts take on the device.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            encoder: self.encoder_sizes(),
            align_net: self.align_net.device_len("", &self.device),
            flux: self.flux_sizes(),
            vae: self.vae.device_len(Vae::DECODER, &self.device),
            control: self.control_bytes(),
            per_token: activation_bytes(&self.config.flux.config, self.halves_activations()),
        }
    }

    /// True where activations between products take 16 bits; layers with a LoRA take and give f32.
    fn halves_activations(&self) -> bool {
        self.flux.change_len("") == 0 && halves_activations(&self.device)
    }

    /// Loads all parts, the transformer's blocks within `limit`.
    pub async fn load(self, limit: &Limit, on_progress: &mut impl OnProgress) -> Result<Models> {
        let total = self.encoder.byte_len("")
            + self.align_net.byte_len("")
            + self.flux_bytes(limit)
            + self.vae.byte_len(Vae::DECODER)
            + self.control.as_ref().map_or(0, |nets| nets.byte_len(""));
        let meter = LoadMeter::new(on_progress, total);
        meter.begin().await?;
        let models = Models {
            encoder: self.encoder(u64::MAX, &meter).await?,
            align_net: self.align_net(&meter).await?,
            flux: self.flux(limit, &meter).await?,
            vae: self.vae(&meter).await?,
            control: match &self.control {
                Some(nets) => Some(self.control(nets, &meter).await?),
                None => None,
            },
            vae_weights: self.vae,
        };
        meter.end().await?;
        Ok(models)
    }

    /// The LLM, its layers within `limit` bytes.
    async fn encoder(&self, limit: u64, heard_by: &dyn OnRead) -> Result<Encoder> {
        let scope = self.scope(&self.encoder, heard_by).streaming(Streaming {
            resident: self.encoder_sizes().resident(limit),
            weights: &self.encoder,
        });
        Encoder::load(&self.config.encoder, self.tokenizer.clone(), &scope).await
    }

    async fn align_net(&self, heard_by: &dyn OnRead) -> Result<AlignNet> {
        let scope = self.scope(&self.align_net, heard_by);
        AlignNet::load(&self.align_config, &scope).await
    }

    async fn flux(&self, limit: &Limit, heard_by: &dyn OnRead) -> Result<Flux> {
        let config = &self.config.flux.config;
        let placement = self.flux_sizes().place(limit.flux_weights());
        let devices = std::iter::once(&self.device).chain(&self.others);
        let scope = |device| self.scope_on(device, &self.flux, heard_by);
        let scopes: Vec<Scope<'_>> = devices.map(scope).collect();
        Flux::load_placed(&placement, config, Some(&self.flux), &scopes).await
    }

    /// What the LLM takes on the device.
    fn encoder_sizes(&self) -> EncoderBytes {
        EncoderBytes::of(&self.config.encoder.config, &self.encoder, &self.device)
    }

    /// Bytes that loading the LLM reads.
    fn encoder_bytes(&self, limit: u64) -> u64 {
        let prefix = self.config.encoder.config.layers_prefix();
        let layers = self.config.encoder.config.decoder().num_hidden_layers;
        let streamed = self.encoder_sizes().resident(limit)..layers;
        let layer = |index| self.encoder.byte_len(&format!("{prefix}.{index}."));
        let all = self.encoder.byte_len("");
        all.saturating_sub(streamed.map(layer).sum())
    }

    /// What the transformer takes on the devices.
    fn flux_sizes(&self) -> FluxBytes {
        let config = &self.config.flux.config;
        FluxBytes::of(config, &self.flux, &self.device, &self.others)
    }

    /// Bytes that loading the transformer reads.
    fn flux_bytes(&self, limit: &Limit) -> u64 {
        self.flux_sizes()
            .read_within(limit.flux_weights(), &self.flux)
    }

    async fn vae(&self, heard_by: &dyn OnRead) -> Result<Vae> {
        let scope = self.scope(&self.vae, heard_by);
        Vae::load_decoder(&self.config.vae.config, &scope).await
    }

    async fn control(&self, nets: &Weights, heard_by: &dyn OnRead) -> Result<LightControl> {
        self.control_nets(nets, &self.scope(nets, heard_by)).await
    }

    /// LightControl's nets, which fit the transformer.
    pub async fn control_nets(&self, nets: &Weights, scope: &Scope<'_>) -> Result<LightControl> {
        let config = &self.config.flux.config;
        let control = LightControl::load(scope, config.hidden_size(), &GROUPS).await?;
        let (found, blocks) = (control.len(), config.num_layers);
        if found > blocks {
            let reason = format!("has {found} nets, the transformer has {blocks} double blocks");
            return Err(Error::format(nets.label(), reason));
        }
        Ok(control)
    }

    fn control_bytes(&self) -> u64 {
        let nets = self.control.as_ref();
        nets.map_or(0, |nets| nets.device_len("", &self.device))
    }

    fn scope<'a>(&'a self, weights: &'a Weights, heard_by: &'a dyn OnRead) -> Scope<'a> {
        self.scope_on(&self.device, weights, heard_by)
    }

    fn scope_on<'a>(
        &self,
        device: &'a Device,
        weights: &'a Weights,
        heard_by: &'a dyn OnRead,
    ) -> Scope<'a> {
        let scope = weights.scope(device).heard_by(heard_by);
        scope.with_input_bits(self.input_bits)
    }
}

impl Parts {
    /// True where every part is on its device, and no block is read in a step.
    pub fn stay(&self) -> bool {
        match self {
            Self::Resident(models) => models.flux.is_resident(),
            Self::OneByOne(_) => false,
        }
    }

    /// Before the long work: the transformer can paint so many tokens within `limit`, beside what a
    /// picture keeps, in bytes.
    pub fn check(&self, limit: &Limit, image_tokens: usize, kept: u64) -> Result<()> {
        match self {
            Self::Resident(_) => Ok(()),
            Self::OneByOne(files) => limit.check_picture(&files.sizes().flux, image_tokens, kept),
        }
    }

    /// The LLM; its layers within `limit`, where it is loaded now.
    pub async fn encoder(
        &self,
        limit: &Limit,
        on_progress: &mut impl OnProgress,
    ) -> Result<Held<'_, Encoder>> {
        let files = match self {
            Self::Resident(models) => return Ok(Held::Kept(&models.encoder)),
            Self::OneByOne(files) => files,
        };
        let limit = limit.first();
        let meter = LoadMeter::new(on_progress, files.encoder_bytes(limit));
        meter.begin().await?;
        let encoder = files.encoder(limit, &meter).await?;
        meter.end().await?;
        Ok(Held::Loaded(encoder))
    }

    /// AlignNet.
    pub async fn align_net(&self, on_progress: &mut impl OnProgress) -> Result<Held<'_, AlignNet>> {
        let files = match self {
            Self::Resident(models) => return Ok(Held::Kept(&models.align_net)),
            Self::OneByOne(files) => files,
        };
        let meter = LoadMeter::new(on_progress, files.align_net.byte_len(""));
        meter.begin().await?;
        let align_net = files.align_net(&meter).await?;
        meter.end().await?;
        Ok(Held::Loaded(align_net))
    }

    /// The transformer; its blocks within `limit`, where it is loaded now.
    pub async fn flux(
        &self,
        limit: &Limit,
        on_progress: &mut impl OnProgress,
    ) -> Result<Held<'_, Flux>> {
        let files = match self {
            Self::Resident(models) => return Ok(Held::Kept(&models.flux)),
            Self::OneByOne(files) => files,
        };
        let meter = LoadMeter::new(on_progress, files.flux_bytes(limit));
        meter.begin().await?;
        let flux = files.flux(limit, &meter).await?;
        meter.end().await?;
        Ok(Held::Loaded(flux))
    }

    /// LightControl's nets, where there are any.
    pub async fn control(
        &self,
        on_progress: &mut impl OnProgress,
    ) -> Result<Option<Held<'_, LightControl>>> {
        let files = match self {
            Self::Resident(models) => return Ok(models.control.as_ref().map(Held::Kept)),
            Self::OneByOne(files) => files,
        };
        let Some(nets) = &files.control else {
            return Ok(None);
        };
        let meter = LoadMeter::new(on_progress, nets.byte_len(""));
        meter.begin().await?;
        let control = files.control(nets, &meter).await?;
        meter.end().await?;
        Ok(Some(Held::Loaded(control)))
    }

    /// Whether there are nets of LightControl, and the bytes that they take beside a transformer
    /// which is loaded now.
    pub fn control_beside(&self) -> Option<u64> {
        match self {
            Self::Resident(models) => models.control.as_ref().map(|_| 0),
            Self::OneByOne(files) => files.control.as_ref().map(|_| files.control_bytes()),
        }
    }

    /// The VAE's encoder: it is loaded when a picture begins with another one, and dropped after.
    pub async fn vae_encoder(
        &self,
        config: &VaeConfig,
        device: &Device,
        on_progress: &mut impl OnProgress,
    ) -> Result<VaeEncoder> {
        let weights = match self {
            Self::Resident(models) => &models.vae_weights,
            Self::OneByOne(files) => &files.vae,
        };
        let meter = LoadMeter::new(on_progress, weights.byte_len(VaeEncoder::PREFIX));
        meter.begin().await?;
        let scope = weights.scope(device).heard_by(&meter);
        let encoder = VaeEncoder::load(config, &scope).await?;
        meter.end().await?;
        Ok(encoder)
    }

    /// The VAE's decoder.
    pub async fn vae(&self, on_progress: &mut impl OnProgress) -> Result<Held<'_, Vae>> {
        let files = match self {
            Self::Resident(models) => return Ok(Held::Kept(&models.vae)),
            Self::OneByOne(files) => files,
        };
        let meter = LoadMeter::new(on_progress, files.vae.byte_len(Vae::DECODER));
        meter.begin().await?;
        let vae = files.vae(&meter).await?;
        meter.end().await?;
        Ok(Held::Loaded(vae))
    }
}

fn align_net_config(config: &ModelConfig, weights: &Weights) -> Result<AlignNetConfig> {
    let beside = Some(&config.align_net.config).filter(|json| json.is_object());
    // ComfyUI's files carry it.
    let json = beside.or_else(|| weights.files().iter().find_map(WeightFile::config));
    AlignNetConfig::from_shapes(weights.label(), json, |name| weights.shape(name))
}

/// AlignNet stands between two published models: say which side it does not fit.
fn check_fit(config: &ModelConfig, align: &AlignNetConfig) -> Result<()> {
    let file = || config.align_net.weights.join(", ");
    let (layers, width) = (
        config.encoder.config.hidden_states(),
        config.encoder.config.decoder().hidden_size,
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
                "this AlignNet gives widths {} and {}, the transformer takes {text} (joint_attention_dim) and \
                 {pooled} (pooled_projection_dim)",
                align.text_dim, align.pooled_dim
            ),
        ));
    }
    Ok(())
}
