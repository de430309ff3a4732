//! One check of a model before its numbers are read: that every tensor is there in the shape that the
//! config asks for, that nothing of the model is left unread, and that a prompt passes the chat template
//! and the tokenizer.
//!
//! `Pipeline::load` runs it, and so does whoever wants to know whether it would load: a model that
//! passes can be loaded and painted with, as far as headers and configs tell. The graph itself is loaded,
//! of zeros, so that the check can't ask for other tensors than the graph does. Numbers are looked at by
//! [`Weights::is_finite`].

use burn::tensor::Device;

use super::parts::Files;
use super::plan::LoadOptions;
use crate::align_net::AlignNet;
use crate::config::{EncoderConfig, ModelConfig};
use crate::encoders::{EncodeOptions, Encoder};
use crate::error::{Error, Field, Result};
use crate::flux::Flux;
use crate::model::{ModelSource, read_config};
use crate::vae::{Vae, VaeEncoder};
use crate::weights::{Asked, LocalBoxFuture, Scope, Weights};

/// Words that every tokenizer has tokens for.
const WORDS: &str = "a red apple";
/// Names in a message, beside how many there are.
const SHOWN: usize = 3;

/// Everything that keeps a model from being loaded; empty when it can be. `device` computes nothing.
pub async fn check(source: &dyn ModelSource, device: &Device) -> Vec<Error> {
    match open(source, device).await {
        Ok(files) => files.problems().await,
        Err(error) => vec![error],
    }
}

async fn open(source: &dyn ModelSource, device: &Device) -> Result<Files> {
    let config = read_config(source).await?;
    Files::open(source, &config, device, &LoadOptions::default()).await
}

impl Files {
    /// Fails with the first of the [`problems`](Self::problems).
    ///
    /// # Errors
    /// Errors from the model's files.
    #[inline(never)]
    pub fn check(&self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async {
            let first = self.problems().await.into_iter().next();
            first.map_or(Ok(()), Err)
        })
    }

    /// All that is wrong, part by part; the first of each part.
    async fn problems(&self) -> Vec<Error> {
        let parts: [LocalBoxFuture<'_, Result<()>>; 6] = [
            Box::pin(self.check_control()),
            Box::pin(self.check_encoder()),
            Box::pin(self.check_align_net()),
            Box::pin(self.check_flux()),
            Box::pin(self.check_vae()),
            Box::pin(self.check_ends()),
        ];
        // By a pointer: a thread's stack has no place for the loading of all parts at once.
        let mut problems = Vec::new();
        for part in parts {
            problems.extend(part.await.err());
        }
        problems
    }

    async fn check_encoder(&self) -> Result<()> {
        let (asked, part) = (Asked::new(&self.device), &self.config.encoder);
        let scope = self.headers(&self.encoder, &asked);
        let encoder = Encoder::load(part, self.tokenizer.clone(), &scope).await?;
        encoder.check(WORDS, &options(&self.config))?;
        unread(&self.encoder, &asked, |name| !is_spare(&part.config, name))
    }

    async fn check_align_net(&self) -> Result<()> {
        let asked = Asked::new(&self.device);
        let scope = self.headers(&self.align_net, &asked);
        AlignNet::load(&self.align_config, &scope).await?;
        // The reference's T5 stack is given states in place of tokens.
        let read = |name: &str| name != "t5stack.embed_tokens.weight";
        unread(&self.align_net, &asked, read)
    }

    async fn check_flux(&self) -> Result<()> {
        let asked = Asked::new(&self.device);
        let (weights, config) = (&*self.flux, &self.config.flux.config);
        if !config.guidance_embeds && weights.contains("guidance_in.in_layer.weight") {
            let reason = "guidance_embeds is false or missing, but the weights have a guidance \
                          embedder (FLUX.1-dev's); set it to true";
            return Err(Error::config(weights.label(), reason));
        }
        Flux::load(config, &self.headers(weights, &asked)).await?;
        unread(weights, &asked, |_| true)
    }

    async fn check_vae(&self) -> Result<()> {
        let asked = Asked::new(&self.device);
        let (weights, config) = (&self.vae, &self.config.vae.config);
        let scope = self.headers(weights, &asked);
        Vae::load_decoder(config, &scope).await?;
        // A config that leaves the switch out means that they are there.
        let mut beside = weights.ignored().iter();
        if let Some(name) = beside.find(|name| name.ends_with("quant_conv.weight")) {
            let reason = format!(
                "holds `{name}` (Stable Diffusion's form), FLUX's autoencoder has no quant convs"
            );
            return Err(Error::format(weights.label(), reason));
        }
        // Only initial images need the encoder; some files leave it out.
        let encodes = |name: &str| name.starts_with(VaeEncoder::PREFIX);
        if weights.names().any(encodes) {
            VaeEncoder::load(config, &scope).await?;
        }
        unread(weights, &asked, |_| true)
    }

    async fn check_control(&self) -> Result<()> {
        let Some(weights) = &self.control else {
            return Ok(());
        };
        let asked = Asked::new(&self.device);
        let load = async {
            let scope = self.headers(weights, &asked);
            self.control_nets(weights, &scope).await?;
            unread(weights, &asked, |_| true)
        };
        let checked: Result<()> = load.await;
        checked.map_err(|error| error.at(Field::ControlWeights))
    }

    /// Files without a recorded hash must fit the checksums that they have, and not end in zeros.
    async fn check_ends(&self) -> Result<()> {
        for weights in self.all_weights() {
            for file in weights.files() {
                let recorded = self.config.files.keys();
                if recorded
                    .into_iter()
                    .any(|name| file.name().ends_with(name.as_str()))
                {
                    continue;
                }
                if let Some(entry) = file.broken_entry().await? {
                    let reason = format!(
                        "its entry `{entry}` does not fit its checksum; get the file again"
                    );
                    return Err(Error::format(file.name(), reason));
                }
                if let Some(name) = file.zero_end().await? {
                    let reason = format!(
                        "its last matrix, `{name}`, is all zeros, as in a download that was cut; get \
                         the file again"
                    );
                    return Err(Error::format(file.name(), reason));
                }
            }
        }
        Ok(())
    }

    fn headers<'a>(&'a self, weights: &'a Weights, asked: &'a Asked) -> Scope<'a> {
        weights.scope(&self.device).of_headers(asked)
    }
}

/// What a request takes where it says nothing.
fn options(config: &ModelConfig) -> EncodeOptions {
    EncodeOptions::of(&config.defaults, config.defaults.conditioning, 0)
}

/// True for a tensor that a published LLM's file holds and its config leaves unread: the head where
/// that is the embedding's, and a layer of the vision tower that is not run.
fn is_spare(config: &EncoderConfig, name: &str) -> bool {
    let tied = config.decoder().tie_word_embeddings && name.ends_with("lm_head.weight");
    let dropped = match config {
        EncoderConfig::MiniCpmO(config) if config.drop_vision_last_layer => {
            name.starts_with(&format!("vpm.encoder.layers.{}.", config.vision_layers()))
        }
        _ => false,
    };
    tied || dropped
}

/// Refuses tensors that the graph would have to read and does not: the config is of another model.
fn unread(weights: &Weights, asked: &Asked, counts: impl Fn(&str) -> bool) -> Result<()> {
    let unread = weights
        .names()
        .filter(|name| !asked.contains(name) && counts(name));
    let unread: Vec<&str> = unread.collect();
    let Some(first) = unread.first() else {
        return Ok(());
    };
    let shown = unread[..unread.len().min(SHOWN)].join("`, `");
    let more = match unread.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let reason = format!(
        "holds `{shown}`{more}, which its config does not ask for; the config is of another model"
    );
    Err(Error::format(weights.file_of(first), reason))
}
