//! The engine: a model on a device or several, which generates images with their metadata.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use x2i_core::png::{self, DeviceRecord, Metadata, ModelRecord};
use x2i_core::{
    Answer, Error, Image, ModelConfig, Painting, Pipeline, Progress, PromptTokens, Result,
};

use crate::device::{OpenDevice, Precision, guard, ids, names};
use crate::format::Format;
use crate::job::{Job, check_memory};
use crate::models::{Hashes, Model, ModelHashes, Verify};
use crate::models::{check, check_uncut, ignore_checked};
use crate::options::EngineOptions;

/// A callback for progress. `Break` cancels within one block of the model.
///
/// One callback serves loading and generating; [`Progress`] names the phase.
pub trait OnProgress: FnMut(Progress) -> ControlFlow<()> {}

impl<F: FnMut(Progress) -> ControlFlow<()>> OnProgress for F {}

/// A callback that ignores progress and never cancels.
pub fn ignore_progress(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A model on a device or several, ready to generate images.
pub struct Engine {
    model: Model,
    /// The first one has all but some of the transformer's blocks.
    devices: Vec<OpenDevice>,
    options: EngineOptions,
    hashes: ModelHashes,
    pipeline: Pipeline,
}

/// A generated image.
#[derive(Debug, Clone)]
pub struct Painted {
    /// The image: 8-bit RGB.
    pub image: Image,
    /// The metadata, with the LLM's answer if there is one.
    pub metadata: Metadata,
    /// The LLM's answer, where its states painted the image, and how sure it was.
    pub answer: Option<Answer>,
    /// How much of the prompt the LLM has read.
    pub prompt_tokens: PromptTokens,
    /// The steps that ran their first block alone ([`x2i_core::Cache`]).
    pub skipped_steps: usize,
}

impl Painted {
    /// The image as a PNG file with its metadata.
    ///
    /// # Errors
    /// [`Error::Image`] when the image can't be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        png::encode(&self.image, &self.metadata)
    }

    /// The image as a file of a format with its metadata; `quality` is JPEG's, from 1 to 100.
    ///
    /// # Errors
    /// As [`png`](Self::png).
    pub fn file(&self, format: Format, quality: u8) -> Result<Vec<u8>> {
        format.encode(&self.image, &self.metadata, quality)
    }
}

/// Numbers on the host, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The numbers; their count is the product of `shape`.
    pub values: Vec<f32>,
}

impl Array {
    async fn of<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data_async().await?.try_to_vec();
        let values = values.map_err(|error| Error::device("readback", format!("{error:?}")))?;
        Ok(Self { shape, values })
    }
}

/// A prompt's conditioning: what FLUX expects from T5 and CLIP.
#[derive(Debug, Clone)]
pub struct Conditioned {
    /// Replaces T5's hidden states: `[1, tokens, text width]`.
    pub txt: Array,
    /// Replaces CLIP's pooled state: `[1, pooled width]`.
    pub vec: Array,
    /// The LLM's answer, if it is the conditioning.
    pub answer: Option<String>,
}

impl Engine {
    /// Loads a model onto a device.
    ///
    /// # Errors
    /// As [`Pipeline::load_with`]; [`Error::Device`] when the device fails; [`Error::Cancelled`]
    /// when `on_progress` breaks.
    pub fn open(
        model: Model,
        device: OpenDevice,
        options: &EngineOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Self> {
        Self::open_on(model, vec![device], options, on_progress)
    }

    /// Loads a model onto several devices: transformer blocks that do not fit on the first one go to the
    /// others in their order.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Request`] for [`x2i_core::Field::MaxDeviceMemory`] when there are other
    /// numbers of limits than devices.
    ///
    /// # Panics
    /// Without a device.
    pub fn open_on(
        model: Model,
        devices: Vec<OpenDevice>,
        options: &EngineOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Self> {
        assert!(!devices.is_empty(), "an engine has a device");
        let hashes = ModelHashes::begin(model.files(), model.config(), options.verify)?;
        let load = model.adapters().added_to(options.load_options(&devices)?);
        let pipeline = guard(&devices, || {
            let mut hear = hear(&devices, on_progress);
            let (files, device) = (model.files(), &devices[0].device);
            pollster::block_on(Pipeline::load_with(&load, files, device, &mut hear))
        });
        check_uncut()?; // first: zeros in place of weights may be another error's cause
        let pipeline = pipeline?;
        Ok(Self {
            model,
            devices,
            options: options.clone(),
            hashes,
            pipeline,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model's config.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// The device; of several, the first.
    pub fn device(&self) -> &OpenDevice {
        &self.devices[0]
    }

    /// All its devices, the first one first.
    pub fn devices(&self) -> &[OpenDevice] {
        &self.devices
    }

    /// Generates one image. The caller writes it to the job's output.
    ///
    /// # Errors
    /// As [`Pipeline::generate`]; [`Error::Request`] for an image that memory can't hold;
    /// [`Error::Format`] for a file that is not the one that `model.json` records; [`Error::Device`]
    /// when the device fails; [`Error::Cancelled`] when `on_progress` breaks.
    pub fn paint(&mut self, job: &Job, on_progress: &mut impl OnProgress) -> Result<Painted> {
        check_memory(job.request(), self.config(), &self.device().entry)?;
        self.hashes.verified()?;
        let painting = guard(&self.devices, || {
            let mut hear = hear(&self.devices, on_progress);
            pollster::block_on(self.pipeline.generate(job.request(), &mut hear))
        });
        check_uncut()?;
        let painting = painting.map_err(|error| job.told(self.explain(error)))?;
        Ok(Painted {
            metadata: self.metadata(job, &painting)?,
            answer: painting.answer,
            image: painting.image,
            prompt_tokens: painting.prompt_tokens,
            skipped_steps: painting.skipped_steps,
        })
    }

    /// Names the tensor behind an image of NaN, if a weight is the cause. Reads all weights.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::NotANumber => {
                let problems = check(self.model.files(), Verify::Always, &ignore_checked);
                problems.into_iter().next().unwrap_or(Error::NotANumber)
            }
            error => error,
        }
    }

    /// Encodes a job's prompt and stops before the transformer: for samplers outside of x2i.
    ///
    /// # Errors
    /// As [`paint`](Self::paint).
    pub fn encode(&mut self, job: &Job, on_progress: &mut impl OnProgress) -> Result<Conditioned> {
        self.hashes.verified()?;
        let conditioned = guard(&self.devices, || {
            let mut hear = hear(&self.devices, on_progress);
            pollster::block_on(async {
                let encoded = self.pipeline.encode(job.request(), &mut hear).await?;
                Ok(Conditioned {
                    txt: Array::of(encoded.conditioning.txt).await?,
                    vec: Array::of(encoded.conditioning.vec).await?,
                    answer: encoded.answer.map(|answer| answer.text),
                })
            })
        });
        check_uncut()?;
        conditioned.map_err(|error| job.told(error))
    }

    /// The SHA-256 of the model's files. Waits if they are still being computed.
    ///
    /// # Errors
    /// [`Error::Io`] when one could not be read.
    pub fn hashes(&mut self) -> Result<&Hashes> {
        self.hashes.get()
    }

    /// The metadata of an image.
    fn metadata(&mut self, job: &Job, painting: &Painting) -> Result<Metadata> {
        let model = ModelRecord {
            name: self.config().name.clone(),
            place: self.model.place(),
            files: self.hashes.get()?.clone(),
        };
        let painters = painting.devices.iter().map(|&device| &self.devices[device]);
        let device = DeviceRecord {
            id: ids(painters.clone()),
            name: names(painters),
            exact: self.options.is_exact(),
            precision: match self.device().precision {
                half @ (Precision::F16 | Precision::Bf16) => Some(half.to_string()),
                Precision::Auto | Precision::F32 => None,
            },
        };
        let parts = job.records.parts.clone();
        let answer = painting.answer.as_ref();
        let answer = answer.map(|answer| answer.text.clone());
        Ok(Metadata {
            loras: self.model.adapters().lora_records(),
            init: job.records.init.clone(),
            control: job.records.control.clone(),
            background: job.records.background,
            ..Metadata::new(model, parts, job.request(), device, answer)
        })
    }
}

/// The caller's callback as one for the pipeline; a failed device stops the work too.
fn hear(
    devices: &[OpenDevice],
    on_progress: &mut impl OnProgress,
) -> impl AsyncFnMut(Progress) -> ControlFlow<()> {
    async |progress| match devices
        .iter()
        .any(|device| device.health.failure().is_some())
    {
        true => ControlFlow::Break(()),
        false => on_progress(progress),
    }
}
