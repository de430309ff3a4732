//! The body of `txt2img` and `img2img`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::prompt::loras;
use super::tasks::Tasks;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extras::{Extras, NameOrLora, OneOrMany};
use crate::http::jobs::{file, images};
use crate::http::reference;
use crate::job::{InitOrder, Order, PartOrder};

/// Names of the sampler that there is.
const SAMPLERS: [&str; 4] = ["", "euler", "k_euler", "automatic"];
/// Names of the schedule that there is.
const SCHEDULES: [&str; 3] = ["", "simple", "automatic"];
/// A1111's strength of img2img.
const STRENGTH: f64 = 0.75;

/// The strength for A1111's 0.
const LEAST: f64 = 1e-6;

/// Settings of an image. Those of the web UI that are not listed are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = A1111Settings)]
pub struct Settings {
    /// What to paint; `<lora:NAME:SCALE>` adds a LoRA.
    #[schema(required = true, min_length = 1, pattern = r"\S")]
    #[serde(default)]
    pub prompt: String,
    /// Not read: X2I has no classifier-free guidance.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub negative_prompt: String,
    /// The seed of the first image; a random one below 0.
    pub seed: Option<i64>,
    /// Steps; the model's number without it.
    #[schema(minimum = 1, maximum = 1000)]
    pub steps: Option<usize>,
    /// Width in pixels, a multiple of 16.
    #[schema(minimum = 16, maximum = 8192, multiple_of = 16)]
    pub width: Option<usize>,
    /// Height in pixels, a multiple of 16.
    #[schema(minimum = 16, maximum = 8192, multiple_of = 16)]
    pub height: Option<usize>,
    /// Images of a batch.
    #[schema(minimum = 1, maximum = 64)]
    pub batch_size: Option<usize>,
    /// Batches; there are `batch_size` times as many images.
    #[schema(minimum = 1, maximum = 64)]
    pub n_iter: Option<usize>,
    /// Guidance of a guidance-distilled transformer, by Forge's name. `cfg_scale` is not read.
    #[schema(minimum = 0)]
    pub distilled_cfg_scale: Option<f32>,
    /// Euler, whatever it says.
    pub sampler_name: Option<String>,
    /// The older name of `sampler_name`.
    pub sampler_index: Option<String>,
    /// The model's, whatever it says.
    pub scheduler: Option<String>,
    /// How far to leave the initial image; at 0 it is painted over in one step.
    #[schema(minimum = 0, maximum = 1)]
    pub denoising_strength: Option<f64>,
    /// The image to begin with, for `img2img` alone: base64 or a data URL.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    pub init_images: Vec<String>,
    /// Refused: there is no inpainting.
    #[schema(ignore)]
    pub mask: Option<String>,
    /// Its `sd_model_checkpoint` is the model of this image.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    pub override_settings: Map<String, Value>,
    /// Whether the answer has the images.
    pub send_images: Option<bool>,
    /// A name of the client's own, for `progress` and `interrupt`.
    pub force_task_id: Option<String>,
    /// Not done: there are no upscalers.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub enable_hr: bool,
    /// Not done.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub restore_faces: bool,
    /// Not done.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub tiling: bool,
    /// Not read: there are none.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    pub styles: Vec<String>,
    /// Not run: there are none.
    pub script_name: Option<String>,
    /// Not run: there are none.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    pub alwayson_scripts: Map<String, Value>,
    /// X2I's own fields.
    pub x2i: Option<Extras>,
}

impl Settings {
    /// The order, with its inputs kept.
    ///
    /// # Errors
    /// For what can't be done, by its name.
    pub(super) async fn order(
        &mut self,
        app: &Arc<App>,
        tasks: &Tasks,
        has_init: bool,
    ) -> Result<Order, ApiError> {
        if self.mask.as_deref().is_some_and(|mask| !mask.is_empty()) {
            return Err(ApiError::param("mask", "mask: there is no inpainting"));
        }
        if self
            .denoising_strength
            .is_some_and(|strength| !(0.0..=1.0).contains(&strength))
        {
            return Err(ApiError::param(
                "denoising_strength",
                "denoising_strength: must be between 0 and 1",
            ));
        }
        let (prompt, named) = loras(&self.prompt);
        let many = self
            .batch_size
            .unwrap_or(1)
            .checked_mul(self.n_iter.unwrap_or(1));
        let mut order = Order {
            model: self.model(app, tasks).await?,
            images: images(Some(many.unwrap_or(usize::MAX)))?,
            file: file(None, None)?,
            previews: true,
            ..Order::default()
        };
        let mut extras = self.x2i.take().unwrap_or_default();
        let mut all = extras.loras.take().map(OneOrMany::all).unwrap_or_default();
        all.extend(named.into_iter().map(NameOrLora::Lora));
        extras.loras = Some(OneOrMany::Many(all));
        extras.apply(app, &[], &mut order).await?;
        let numbers = &mut order.numbers;
        (numbers.width, numbers.height) = (self.width, self.height);
        numbers.steps = self.steps.or(numbers.steps);
        numbers.guidance = self.distilled_cfg_scale.or(numbers.guidance);
        let seed = self.seed.and_then(|seed| u64::try_from(seed).ok());
        numbers.seed = seed.or(numbers.seed);
        order.init = self.init(app, has_init).await?.or(order.init);
        order.parts.push(PartOrder::Text(prompt));
        Ok(order)
    }

    async fn init(&self, app: &Arc<App>, has_init: bool) -> Result<Option<InitOrder>, ApiError> {
        match (has_init, &self.init_images[..]) {
            (false, _) => Ok(None),
            (true, [image]) => {
                let mut image = reference::input(app, image, "init_images", &[]).await?;
                image.name = "init_image".into();
                let strength = self.denoising_strength.unwrap_or(STRENGTH);
                // The engine's is above 0: the last step is made in any case.
                let strength = Some(if strength == 0.0 { LEAST } else { strength });
                Ok(Some(InitOrder { image, strength }))
            }
            (true, images) => Err(ApiError::param(
                "init_images",
                format!("init_images: has {} images and must have one", images.len()),
            )),
        }
    }

    async fn model(&self, app: &App, tasks: &Tasks) -> Result<Option<String>, ApiError> {
        let own = self.override_settings.get("sd_model_checkpoint");
        match own.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            Some(name) => Ok(Some(name.to_owned())),
            None => {
                let chosen = tasks.model();
                let names = app.model_names().await?;
                Ok(chosen.filter(|name| names.contains(name)))
            }
        }
    }

    /// What would have changed the image and was not done, one sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let sampler = self.sampler_name.as_ref().or(self.sampler_index.as_ref());
        let sampler = sampler.map(|name| name.to_lowercase()).unwrap_or_default();
        let scheduler = self.scheduler.as_deref().unwrap_or_default().to_lowercase();
        let said = [
            (
                !self.negative_prompt.trim().is_empty(),
                "negative_prompt: is not read, since X2I has no classifier-free guidance",
            ),
            (
                !SAMPLERS.contains(&&*sampler),
                "sampler_name: Euler is the only sampler",
            ),
            (
                !SCHEDULES.contains(&&*scheduler),
                "scheduler: the model's schedule is the only one",
            ),
            (
                self.enable_hr,
                "enable_hr: there is no second pass; ask for the size itself",
            ),
            (self.restore_faces, "restore_faces: is not done"),
            (self.tiling, "tiling: is not done"),
            (!self.styles.is_empty(), "styles: there are none"),
            (
                self.script_name
                    .as_deref()
                    .is_some_and(|name| !name.is_empty()),
                "script_name: there are no scripts",
            ),
            (
                !self.alwayson_scripts.is_empty(),
                "alwayson_scripts: there are no scripts",
            ),
        ];
        let said = said.into_iter().filter(|(is_so, _)| *is_so);
        said.map(|(_, warning)| warning.to_owned()).collect()
    }
}
