//! A picture of a conditioning, for samples: as `generate` paints it.

use burn::tensor::Tensor;
use x2i_core::align_net::Conditioning;
use x2i_core::flux::{Attentions, BlockOutput, Flux, FluxInput, latents};
use x2i_core::image::to_rgb8;
use x2i_core::light_control::LightControl;
use x2i_core::sampler::FlowMatchEuler;
use x2i_core::vae::{Bands, Vae};
use x2i_core::{Error, Image, Result};

use crate::parts::Parts;
use crate::run::{Settings, Shown};

/// How a sample is painted.
#[derive(Debug, Clone, Copy)]
struct Sampling {
    /// Width and height of the picture in pixels.
    size: [usize; 2],
    steps: usize,
    guidance: f32,
    seed: u64,
}

/// Nets with the picture that they see, `[1, 3, height, width]` in -1..1.
pub(crate) type Steering<'a> = (&'a LightControl, Tensor<4>);

/// Rows and columns of packed latents for a picture of this width and height.
pub(crate) fn token_grid(parts: &Parts<'_>, [width, height]: [usize; 2]) -> [usize; 2] {
    let side = parts.config().vae.config.downsampling() * latents::PACK;
    [height / side, width / side]
}

/// Paints the run's sample prompts; `vae` is loaded for the first.
pub(crate) fn show(
    parts: &Parts<'_>,
    settings: &Settings,
    vae: &mut Option<Vae>,
    flux: &Flux,
    conditioning: impl Fn(&str) -> Result<Conditioning>,
) -> Result<Vec<Shown>> {
    let conditioning = |_: usize, prompt: &str| conditioning(prompt);
    show_steered(parts, settings, vae, flux, conditioning, |_| None)
}

/// The same with pictures that are steered: `conditioning` and `steering` are asked by the prompt's number.
pub(crate) fn show_steered<'c>(
    parts: &Parts<'_>,
    settings: &Settings,
    vae: &mut Option<Vae>,
    flux: &Flux,
    conditioning: impl Fn(usize, &str) -> Result<Conditioning>,
    steering: impl Fn(usize) -> Option<Steering<'c>>,
) -> Result<Vec<Shown>> {
    if vae.is_none() && !settings.sample_prompts.is_empty() {
        *vae = Some(parts.decoder()?);
    }
    let Some(vae) = vae else {
        return Ok(vec![]);
    };
    let defaults = &parts.config().defaults;
    let prompts = settings.sample_prompts.iter().enumerate();
    let shown = prompts.map(|(number, prompt)| {
        let sampling = Sampling {
            size: settings.size(defaults),
            steps: settings.sample_steps.unwrap_or(defaults.steps),
            guidance: defaults.guidance,
            seed: settings.sample_seed + number as u64,
        };
        let conditioning = conditioning(number, prompt)?;
        let steering = steering(number);
        let image = paint(parts, (flux, vae), conditioning, steering, sampling)?;
        Ok(Shown {
            prompt: prompt.clone(),
            image,
        })
    });
    shown.collect()
}

/// Paints the first picture of the conditioning.
fn paint(
    parts: &Parts<'_>,
    (flux, vae): (&Flux, &Vae),
    conditioning: Conditioning,
    steering: Option<Steering<'_>>,
    sampling: Sampling,
) -> Result<Image> {
    let [rows, columns] = token_grid(parts, sampling.size);
    let [height, width] = [rows, columns].map(|side| side * latents::PACK);
    let config = &parts.config().vae.config;
    let shape = [config.latent_channels, height, width];
    let sampler = FlowMatchEuler::new(parts.config().scheduler.clone());
    let sigmas = sampler.schedule(sampling.steps, rows * columns).sigmas;
    let ids = [
        latents::text_ids(conditioning.txt.dims()[1]),
        latents::image_ids(rows, columns),
    ];
    let rope = flux.rope(&ids.concat());
    let conditions = flux.embed(conditioning.txt, conditioning.vec, &[sampling.guidance]);
    let mut img: Tensor<3> = latents::pack(latents::noise(sampling.seed, shape, &parts.device));
    pollster::block_on(async {
        for levels in sigmas.windows(2) {
            let input = FluxInput {
                img: img.clone(),
                conditions: &conditions,
                sigma: &levels[..1],
                rope: &rope,
                attentions: Attentions::Dropped,
            };
            let mut on_block = async |_: BlockOutput<'_>| Ok(());
            let steer = |index| {
                let (nets, hint) = steering.as_ref()?;
                nets.forward(index, hint, &levels[..1])
            };
            let velocity = flux.forward_cached(input, &steer, None, &mut on_block);
            let velocity = velocity.await?;
            img = FlowMatchEuler::step(img, velocity, levels[0], levels[1]);
        }
        let latents = latents::unpack(img, height, width);
        let mut on_part = async |_: &str, _: &Bands| Ok(());
        let decoded = vae.decode(vae.unscale(latents), &mut on_part).await?;
        let image = to_rgb8(decoded).await?.pop();
        image.ok_or_else(|| Error::device("readback", "the picture came back empty"))
    })
}
