//! The pipeline of one request: prompt, hidden states, conditioning, latents, image.

mod check;
mod layout;
mod meter;
mod parts;
mod plan;

use burn::tensor::{Device, Tensor};

use crate::align_net::Conditioning;
use crate::config::ModelConfig;
use crate::encoders::EncodeOptions;
use crate::error::{Error, Field, Result};
use crate::flux::noise::TorchRng;
use crate::flux::{Attentions, BlockOutput, FirstBlockCache, Flux, FluxInput, latents};
use crate::image::{self, Image};
use crate::light_control::LightControl;
use crate::model::{ModelSource, read_config};
use crate::nn::computed;
use crate::request::{
    Answer, Cache, OnProgress, Phase, Preview, Progress, PromptTokens, Request, Steps, report,
};
use crate::sampler::FlowMatchEuler;
use crate::vae::{Bands, OnPart, Vae};
pub use check::check;
pub use layout::{Layout, Share, layout};
use parts::{Files, Held, Parts};
use plan::{Limit, Plan, Residency};
pub use plan::{LoadOptions, Memory, OtherDevice};

/// A model on a device, ready to paint.
pub struct Pipeline {
    config: ModelConfig,
    parts: Parts,
    limit: Limit,
    device: Device,
}

/// The result of a request.
#[derive(Debug, Clone)]
pub struct Painting {
    /// The image.
    pub image: Image,
    /// Its latents, the transformer's output: `[1, channels, height/8, width/8]`.
    pub latents: Tensor<4>,
    /// The LLM's answer, where its states painted the image.
    pub answer: Option<Answer>,
    /// How much of the prompt the LLM has read.
    pub prompt_tokens: PromptTokens,
    /// The steps that ran their first block alone ([`crate::Cache`]).
    pub skipped_steps: usize,
    /// The numbers of the devices that painted it, 0 for the first.
    pub devices: Vec<usize>,
}

/// What a prompt becomes before the transformer.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `txt` and `vec`, in place of T5's and CLIP's.
    pub conditioning: Conditioning,
    /// What the LLM answered, where its answer conditions the transformer.
    pub answer: Option<Answer>,
    /// How much of the prompt the LLM has read.
    pub prompt_tokens: PromptTokens,
}

/// The longest side of a preview in pixels.
const PREVIEW_SIDE: usize = 256;

impl Pipeline {
    /// Reads all of a model to a device, tensor by tensor.
    ///
    /// # Errors
    /// Errors from the model's files and the device; [`Error::Cancelled`] when `on_progress` breaks.
    pub async fn load(
        source: &dyn ModelSource,
        device: &Device,
        on_progress: &mut impl OnProgress,
    ) -> Result<Self> {
        Self::load_with(&LoadOptions::default(), source, device, on_progress).await
    }

    /// Opens a model, and reads as much of it to a device as `options` allow. However much that is,
    /// the images are the same, bit for bit.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`Error::Request`] for a limit that no image can be painted within;
    /// [`Error::Lora`] for a LoRA that does not fit.
    pub async fn load_with(
        options: &LoadOptions,
        source: &dyn ModelSource,
        device: &Device,
        on_progress: &mut impl OnProgress,
    ) -> Result<Self> {
        let config = read_config(source).await?;
        let files = Files::open(source, &config, device, options).await?;
        files.check().await?;
        let plan = Plan::of(options, &config, &files.sizes())?;
        let parts = match plan.residency {
            Residency::All => {
                Parts::Resident(Box::pin(files.load(&plan.limit, on_progress)).await?)
            }
            Residency::OneByOne => Parts::OneByOne(files),
        };
        Ok(Self {
            config,
            parts,
            limit: plan.limit,
            device: device.clone(),
        })
    }

    /// The model's config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// True when all of the model is on its devices: else what is missing is read for every picture, or in every step.
    pub fn is_resident(&self) -> bool {
        self.parts.stay()
    }

    /// Paints one image.
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
        request.prompt.check(&self.config)?;
        if request.control.is_some() && self.parts.control_beside().is_none() {
            return Err(
                Error::request(Field::Control, "needs LightControl's weights")
                    .mended_by(Field::ControlWeights),
            );
        }
        let tokens = self.image_tokens(request);
        self.parts
            .check(&self.limit, tokens, self.cached(request))?;

        // Boxed, so that a future holds one stage's state at a time.
        let begin = Box::pin(self.begin(request, on_progress)).await?;
        let Encoded {
            conditioning,
            answer,
            prompt_tokens,
        } = Box::pin(self.conditioning(request, on_progress)).await?;
        let denoised = Box::pin(self.denoise(request, begin, conditioning, on_progress)).await?;
        let Denoised {
            latents,
            skipped_steps,
            devices,
        } = denoised;
        Ok(Painting {
            image: Box::pin(self.decode(latents.clone(), on_progress)).await?,
            latents,
            answer,
            prompt_tokens,
            skipped_steps,
            devices,
        })
    }

    /// Reads the prompt, and stops where the transformer would begin: for samplers outside of x2i.
    ///
    /// Size, steps, guidance, initial and control image of the request are not used.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub async fn encode(
        &self,
        request: &Request,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        request.validate()?;
        request.prompt.check(&self.config)?;
        self.conditioning(request, on_progress).await
    }

    /// From the prompt to what the transformer expects from T5 and CLIP.
    async fn conditioning(
        &self,
        request: &Request,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        let encoder = self.parts.encoder(&self.limit, on_progress).await?;
        let encoded = encoder
            .encode(&request.prompt, &self.encode_options(request), on_progress)
            .await?;
        drop(encoder);
        if let Some(answer) = &encoded.answer {
            let said = Progress {
                answer: Some(answer.text.clone()),
                ..Progress::count(Phase::Encode, 1, 1)
            };
            said.tell(on_progress).await?;
        }
        let align_net = self.parts.align_net(on_progress).await?;
        Ok(Encoded {
            conditioning: align_net.forward(encoded.hidden_states),
            answer: encoded.answer,
            prompt_tokens: encoded.tokens,
        })
    }

    /// Latents `[1, channels, height/8, width/8]` to the image.
    async fn decode(&self, latents: Tensor<4>, on_progress: &mut impl OnProgress) -> Result<Image> {
        let vae = self.parts.vae(on_progress).await?;
        let total = vae.decoder_parts();
        let mut done = 0;
        report(on_progress, Phase::Decode, done, total).await?;
        let mut on_part = async |_: &str, _: &Bands| {
            done += 1;
            report(on_progress, Phase::Decode, done, total).await
        };
        decode(&vae, latents, &mut on_part).await
    }

    /// Tokens of an image: 2x2 latents each.
    fn image_tokens(&self, request: &Request) -> usize {
        let side = self.config.vae.config.downsampling() * latents::PACK;
        (request.height / side) * (request.width / side)
    }

    /// Height and width of an image's latents.
    fn latent_size(&self, request: &Request) -> [usize; 2] {
        let side = self.config.vae.config.downsampling();
        [request.height / side, request.width / side]
    }

    fn encode_options(&self, request: &Request) -> EncodeOptions {
        let all = EncodeOptions::of(&self.config.defaults, request.conditioning, request.seed);
        EncodeOptions {
            // X2I's layouts are of single turns; cutting a conversation would cut its newest words.
            padding: all.padding.filter(|_| request.prompt.earlier.is_empty()),
            ..all
        }
    }

    /// The first step's latents: noise, or an image mixed with noise.
    async fn begin(&self, request: &Request, on_progress: &mut impl OnProgress) -> Result<Begin> {
        let [height, width] = self.latent_size(request);
        let shape = [self.config.vae.config.latent_channels, height, width];
        let sigmas = FlowMatchEuler::new(self.config.scheduler.clone())
            .schedule(request.steps, self.image_tokens(request))
            .sigmas;
        let Some(init) = &request.init else {
            let latents = latents::noise(request.seed, shape, &self.device);
            return Ok(Begin { latents, sigmas });
        };
        let sigmas = sigmas[init.first_step(request.steps)..].to_vec();
        let image = image::resize::resize_lanczos(&init.image, request.width, request.height)?;
        let config = &self.config.vae.config;
        let encoder = self.parts.vae_encoder(config, &self.device, on_progress);
        let encoder = encoder.await?;
        let mut done = 0;
        report(on_progress, Phase::Encode, done, encoder.parts()).await?;
        let mut on_part = async |_: &str, _: &Bands| {
            done += 1;
            report(on_progress, Phase::Encode, done, encoder.parts()).await
        };
        let image = image.to_tensor(&self.device);
        let distribution = encoder.encode(image, &mut on_part).await?;
        // One generator gives the sample first, then the noise, as in diffusers.
        let mut generator = TorchRng::new(request.seed);
        let mut noise = || latents::draw(&mut generator, shape, &self.device);
        let clean = encoder.scale(distribution.sample(noise()));
        let latents = FlowMatchEuler::add_noise(clean, noise(), sigmas[0]);
        Ok(Begin { latents, sigmas })
    }

    /// The control image and its nets, where the request has one.
    async fn control(
        &self,
        request: &Request,
        on_progress: &mut impl OnProgress,
    ) -> Result<Option<Steering<'_>>> {
        let Some(control) = &request.control else {
            return Ok(None);
        };
        let (width, height) = (request.width, request.height);
        let picture = image::resize::resize_lanczos(&control.image, width, height)?;
        let hint = control.hint.of(&picture)?;
        let nets = self.parts.control(on_progress).await?;
        Ok(nets.map(|nets| Steering {
            nets,
            hint: hint.to_tensor(&self.device),
            scale: control.scale,
        }))
    }

    /// Noisy latents to clean ones.
    async fn denoise(
        &self,
        request: &Request,
        Begin { latents, sigmas }: Begin,
        Conditioning { txt, vec }: Conditioning,
        on_progress: &mut impl OnProgress,
    ) -> Result<Denoised> {
        let vae = match request.preview {
            Preview::Off => None,
            Preview::On => Some(self.parts.vae(on_progress).await?),
        };
        let text_tokens = txt.dims()[1];
        let flux = self.flux(request, vae.is_some(), text_tokens, on_progress);
        let flux = flux.await?;
        let control = self.control(request, on_progress).await?;
        let [height, width] = self.latent_size(request);
        let rope = flux.rope(&latents::ids(text_tokens, height, width));
        let conditions = flux.embed(txt, vec, &[request.guidance]);
        let mut img = latents::pack(latents);
        let mut cache = request.cache.threshold().map(FirstBlockCache::new);
        let mut at = Place::before(sigmas.len() - 1, flux.blocks());
        at.progress().tell(on_progress).await?;
        for levels in sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                conditions: &conditions,
                sigma: &levels[..1],
                rope: &rope,
                attentions: Attentions::Dropped,
            };
            let mut on_block = async |output: BlockOutput<'_>| {
                at.blocks += output.blocks();
                at.progress().tell(on_progress).await
            };
            let steer = |index| control.as_ref()?.after(index, &levels[..1]);
            let velocity = flux.forward_cached(input, &steer, cache.as_mut(), &mut on_block);
            let velocity = velocity.await?;
            let next = FlowMatchEuler::step(img.clone(), velocity.clone(), levels[0], levels[1]);
            // Once a step, so that progress is true and memory bounded.
            computed(&next).await?;
            let preview = match &vae {
                None => None,
                Some(vae) => {
                    // The velocity points at the clean image: one step to level 0 shows it.
                    let clean = FlowMatchEuler::step(img, velocity, levels[0], 0.0);
                    let clean = latents::unpack(clean, height, width);
                    Some(self.preview(vae, clean, &at, on_progress).await?)
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
        let latents = latents::unpack(img, height, width);
        Ok(Denoised::of(latents, cache.as_ref(), &flux))
    }

    /// Bytes that a request's cache keeps.
    fn cached(&self, request: &Request) -> u64 {
        let hidden = self.config.flux.config.hidden_size();
        match request.cache {
            Cache::Off => 0,
            Cache::FirstBlock(_) => FirstBlockCache::byte_len(hidden, self.image_tokens(request)),
        }
    }

    /// The transformer, within the memory that is left beside the prompt, the control, the cache and,
    /// where a preview is asked for, the VAE.
    async fn flux(
        &self,
        request: &Request,
        beside_vae: bool,
        text_tokens: usize,
        on_progress: &mut impl OnProgress,
    ) -> Result<Held<'_, Flux>> {
        let tokens = text_tokens + self.image_tokens(request);
        let nets = request.control.as_ref();
        let nets = nets.and_then(|_| self.parts.control_beside()).unwrap_or(0);
        let limit = self.limit.beside(beside_vae, tokens).less(nets);
        let limit = limit.less(self.cached(request));
        self.parts.flux(&limit, on_progress).await
    }

    /// The image of `latents`, shrunk first.
    async fn preview(
        &self,
        vae: &Vae,
        latents: Tensor<4>,
        at: &Place,
        on_progress: &mut impl OnProgress,
    ) -> Result<Image> {
        let side = PREVIEW_SIDE / self.config.vae.config.downsampling();
        let small = latents::shrink(latents, side.max(1));
        let mut on_part = async |_: &str, _: &Bands| at.progress().tell(on_progress).await;
        decode(vae, small, &mut on_part).await
    }
}

/// The control of an image on the device.
struct Steering<'a> {
    nets: Held<'a, LightControl>,
    hint: Tensor<4>, // [1, 3, height, width]
    scale: f32,
}

impl Steering<'_> {
    /// The addition after a double block, `[1, image tokens, hidden]`.
    fn after(&self, index: usize, sigma: &[f32]) -> Option<Tensor<3>> {
        let tokens = self.nets.forward(index, &self.hint, sigma)?;
        Some(tokens * self.scale)
    }
}

/// The start of an image.
struct Begin {
    /// `[1, channels, height/8, width/8]`, at the first of the levels.
    latents: Tensor<4>,
    /// From there to 0.
    sigmas: Vec<f32>,
}

/// What the transformer gives.
struct Denoised {
    /// `[1, channels, height/8, width/8]`.
    latents: Tensor<4>,
    /// The steps that the cache skipped.
    skipped_steps: usize,
    /// The numbers of the devices that have blocks, and the first.
    devices: Vec<usize>,
}

impl Denoised {
    fn of(latents: Tensor<4>, cache: Option<&FirstBlockCache>, flux: &Flux) -> Self {
        Self {
            latents,
            skipped_steps: cache.map_or(0, FirstBlockCache::skipped_steps),
            devices: flux.devices_used(),
        }
    }
}

/// Latents of one image to the image.
async fn decode(vae: &Vae, latents: Tensor<4>, on_part: &mut impl OnPart) -> Result<Image> {
    let decoded = vae.decode(vae.unscale(latents), on_part).await?;
    let image = image::to_rgb8(decoded).await?.pop();
    image.ok_or_else(|| Error::device("readback", "the picture came back empty"))
}

/// The progress of denoising.
struct Place {
    blocks: usize,
    total: usize,
    steps: Steps,
}

impl Place {
    /// Before the first of `steps` steps, each of `blocks` blocks.
    fn before(steps: usize, blocks: usize) -> Self {
        Self {
            blocks: 0,
            total: steps * blocks,
            steps: Steps {
                done: 0,
                total: steps,
            },
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            steps: Some(self.steps),
            ..Progress::count(Phase::Denoise, self.blocks, self.total)
        }
    }
}
