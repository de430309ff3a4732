//! A session: a model on a device, for JavaScript.

use std::cell::RefCell;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};
use js_sys::{Function, Object};
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;
use x2i_core::config::ModelConfig;
use x2i_core::model::{ModelSource, read_config};
use x2i_core::png::{self, DeviceRecord, Metadata, ModelRecord};
use x2i_core::weights::WeightFile;
use x2i_core::{LoadOptions, Painting, Pipeline, Progress};

use crate::adapters;
use crate::device::{self, OpenDevice};
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::js;
use crate::memory::Allowed;
use crate::model::{CachePolicy, Location, Quota, WebModel};
use crate::request::{self, Asked};

/// A device, and the model on it.
#[wasm_bindgen]
pub struct Session {
    device: OpenDevice,
    loaded: RefCell<Option<Rc<Loaded>>>,
    wish: RefCell<Option<Rc<Wish>>>,
}

/// A model, and the records of its adapters for the metadata.
struct Loaded {
    pipeline: Pipeline,
    adapters: adapters::Records,
    /// To look for damage when a picture fails.
    source: WebModel,
}

/// What a model is loaded from, to load it again after damage.
struct Wish {
    location: Location,
    policy: CachePolicy,
    options: JsValue,
}

#[wasm_bindgen]
impl Session {
    /// Opens a device: `auto`, `cpu` or `webgpu`.
    ///
    /// # Errors
    /// `request`, `device-unavailable` or `device-limit`.
    pub async fn open(device: String) -> Result<Session> {
        let device = device::open(device.parse()?).await?;
        Ok(Self {
            device,
            loaded: RefCell::default(),
            wish: RefCell::default(),
        })
    }

    /// Facts about the device.
    ///
    /// # Errors
    /// Only if the result can't be converted.
    pub fn device(&self) -> Result<JsValue> {
        crate::to_js(&self.device.info)
    }

    /// Downloads missing files and loads a model, which replaces an earlier one.
    ///
    /// # Errors
    /// Those of the network, the files and the device, and `aborted` by `signal`.
    pub async fn load(
        &self,
        model: JsValue,
        options: JsValue,
        signal: Option<AbortSignal>,
        on_event: Function,
    ) -> Result<JsValue> {
        let wish = Rc::new(Wish {
            location: Location::from_js(&model)?,
            policy: policy(&options),
            options,
        });
        let events = Events::new(on_event);
        self.wish.replace(Some(wish.clone()));
        self.loaded.take(); // two models rarely fit into memory
        // On the heap, since the future is large: it has the loading of every kind of model.
        let work = Box::pin(self.load_wish(&wish, signal.clone(), &events));
        let loaded = self.guard(work, signal.as_ref()).await?;
        let info = model_info(loaded.pipeline.config());
        *self.loaded.borrow_mut() = Some(Rc::new(loaded));
        Ok(info.into())
    }

    /// The indices of the frames that the LLM reads of a video: at the model's rate, or at `wanted` frames
    /// per second.
    ///
    /// # Errors
    /// `modality` for a model that reads no videos, `video` for a video without frames or duration,
    /// `request` for a wrong rate; `config` before a model is loaded.
    #[wasm_bindgen(js_name = chooseFrames)]
    pub fn choose_frames(&self, frames: usize, fps: f64, wanted: Option<f64>) -> Result<Vec<u32>> {
        let loaded = self.loaded()?;
        let config = loaded.pipeline.config();
        config.check_sees()?;
        let chosen = request::sampling(config, wanted)?.choose(frames, fps)?;
        Ok(chosen.into_iter().map(|frame| frame as u32).collect())
    }

    /// Generates one image.
    ///
    /// # Errors
    /// `request`, `modality`, `image`, `video`, `audio`, `aborted` or `device-lost`; `config` before a
    /// model is loaded.
    pub async fn generate(
        &self,
        request: JsValue,
        signal: Option<AbortSignal>,
        on_event: Function,
    ) -> Result<JsValue> {
        let events = Events::new(on_event);
        let work = Box::pin(async {
            let loaded = self.loaded()?;
            match paint(&loaded, &request, &events).await {
                // Weights that went bad in the cache after they were checked: the picture is painted anew.
                Err(failure) if failure.may_be_damage() && loaded.source.heal(&events).await => {
                    drop(loaded);
                    self.loaded.take();
                    let wish = self.wish.borrow().clone();
                    let wish = wish.ok_or(failure)?;
                    let again = Box::pin(self.load_wish(&wish, signal.clone(), &events)).await?;
                    let again = Rc::new(again);
                    *self.loaded.borrow_mut() = Some(again.clone());
                    let painted = paint(&again, &request, &events).await?;
                    Ok((again, painted))
                }
                painted => Ok((loaded.clone(), painted?)),
            }
        });
        let (loaded, (asked, painting)) = self.guard(work, signal.as_ref()).await?;
        self.finish(&loaded, asked, &painting)
    }

    fn loaded(&self) -> Result<Rc<Loaded>> {
        let loaded = self.loaded.borrow().clone();
        loaded.ok_or_else(|| Failure::new("config", "no model is loaded"))
    }

    /// Loads the model; once more when its files were damaged in the cache.
    async fn load_wish(
        &self,
        wish: &Wish,
        signal: Option<AbortSignal>,
        events: &Events,
    ) -> Result<Loaded> {
        let (mut beside, adapters) = adapters::open(&wish.options).await?;
        let allowed = Allowed::read(&wish.options, &self.device)?;
        allowed.limit(&mut beside);
        let prepare =
            || WebModel::prepare(wish.location.clone(), wish.policy, signal.clone(), events);
        let mut source = prepare().await?;
        // After a failure, the caller asks for this: the reason may be the cache's bytes.
        if js::get(&wish.options, "verify").is_truthy() && source.heal(events).await {
            drop(source);
            source = prepare().await?;
        }
        let mut loaded = Box::pin(self.load_model(&source, &beside, events)).await;
        if let Err(failure) = &loaded
            && failure.may_be_damage()
            && source.heal(events).await
        {
            drop(source);
            source = prepare().await?;
            loaded = Box::pin(self.load_model(&source, &beside, events)).await;
        }
        let pipeline = loaded.map_err(|failure| source.explain(failure))?;
        source.release();
        let name = &pipeline.config().name;
        if !pipeline.is_resident()
            && let Some(warning) = allowed.warning(name, source.place())
        {
            events.warning(&warning);
        }
        adapters::warn(&beside, pipeline.config(), events);
        Ok(Loaded {
            pipeline,
            adapters,
            source,
        })
    }

    async fn load_model(
        &self,
        source: &WebModel,
        options: &LoadOptions,
        events: &Events,
    ) -> Result<Pipeline> {
        let config = read_config(source).await?;
        if let Some(limit) = self.device.max_binding {
            check_binding(source, &config, limit).await?;
        }
        let mut listener = async |progress: Progress| {
            events.progress(&progress).await;
            ControlFlow::Continue(())
        };
        let device = &self.device.device;
        Ok(Pipeline::load_with(options, source, device, &mut listener).await?)
    }

    /// Ends `work` when the caller aborts or the device fails; `work` itself would notice neither.
    async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T>>,
        signal: Option<&AbortSignal>,
    ) -> Result<T> {
        let stopped = async {
            let aborted = pin!(js::aborted(signal));
            match select(aborted, pin!(self.device.health.failed())).await {
                Either::Left(_) => Failure::aborted(),
                Either::Right((failure, _)) => failure,
            }
        };
        // `stopped` is polled first: a lost device also fails the work, with a less clear message.
        match select(pin!(stopped), pin!(work)).await {
            Either::Left((failure, _)) => Err(failure),
            Either::Right((outcome, _)) => outcome,
        }
    }

    fn finish(&self, loaded: &Loaded, asked: Asked, painting: &Painting) -> Result<JsValue> {
        let info = &self.device.info;
        let config = loaded.pipeline.config();
        let files = config.files.iter();
        let metadata = Metadata::new(
            ModelRecord {
                name: config.name.clone(),
                // The native program finds models by name; it can't use a page's URL.
                place: config.name.clone(),
                files: files
                    .map(|(file, record)| (file.clone(), record.sha256.clone()))
                    .collect(),
            },
            asked.parts,
            &asked.request,
            DeviceRecord {
                // The form of the native program's `--device`.
                id: if info.kind == "cpu" { "cpu" } else { "wgpu" }.into(),
                name: info.name.clone(),
                exact: false,
                precision: None,
            },
            painting.answer.as_ref().map(|answer| answer.text.clone()),
        );
        let metadata = Metadata {
            loras: loaded.adapters.loras.clone(),
            init: asked.init,
            control: asked.control,
            background: asked.background,
            ..metadata
        };
        let png = png::encode(&painting.image, &metadata)?;
        let object = request::painting(
            &painting.image,
            &png,
            crate::metadata_to_js(metadata)?,
            painting.answer.as_ref(),
        );
        Ok(object.into())
    }
}

/// Whether files are cached, and what may be removed for them.
fn policy(options: &JsValue) -> CachePolicy {
    match js::get(options, "cache").as_string().as_deref() {
        Some("none") => CachePolicy::Bypass,
        _ if js::get(options, "evict").is_truthy() => CachePolicy::Keep(Quota::Evict),
        _ => CachePolicy::Keep(Quota::Warn),
    }
}

/// Paints one request.
async fn paint(loaded: &Loaded, request: &JsValue, events: &Events) -> Result<(Asked, Painting)> {
    let (pipeline, adapters) = (&loaded.pipeline, &loaded.adapters);
    let asked = request::read(request, pipeline.config(), adapters.control.as_ref())?;
    let mut listener = async |progress: Progress| {
        events.progress(&progress).await;
        ControlFlow::Continue(()) // an abort drops the whole future
    };
    let painting = pipeline.generate(&asked.request, &mut listener).await?;
    Ok((asked, painting))
}

/// `ModelInfo` of the package.
fn model_info(config: &ModelConfig) -> Object {
    let defaults = &config.defaults;
    let object = Object::new();
    js::set(&object, "name", config.name.as_str());
    if let Some(license) = &config.license {
        js::set(&object, "license", license.as_str());
    }
    let (sees, encoder) = (config.reads("image"), &config.encoder.config);
    let modalities = [
        ("text", config.reads("text")),
        ("image", sees),
        ("video", sees), // frames are images
        ("audio", encoder.hears() && config.reads("audio")),
    ];
    let read = modalities.into_iter().filter(|(_, reads)| *reads);
    let modalities: js_sys::Array = read.map(|(kind, _)| JsValue::from(kind)).collect();
    js::set(&object, "modalities", &modalities);
    let numbers = Object::new();
    js::set(&numbers, "width", defaults.width as f64);
    js::set(&numbers, "height", defaults.height as f64);
    js::set(&numbers, "steps", defaults.steps as f64);
    js::set(&numbers, "guidance", f64::from(defaults.guidance));
    let conditioning = match defaults.conditioning {
        x2i_core::Conditioning::Prompt => "prompt",
        x2i_core::Conditioning::Answer => "answer",
    };
    js::set(&numbers, "conditioning", conditioning);
    js::set(&object, "defaults", &numbers);
    object
}

/// Checks that the adapter can bind every tensor: otherwise loading would fail late, without a name.
async fn check_binding(source: &dyn ModelSource, config: &ModelConfig, limit: u64) -> Result<()> {
    let files = [
        &config.encoder.weights,
        &config.align_net.weights,
        &config.flux.weights,
        &config.vae.weights,
    ];
    for path in files.into_iter().flatten() {
        let file = WeightFile::open(source.open(path).await?).await?;
        for (name, tensor) in file.tensors() {
            let bytes = match (tensor.stored.is_block(), tensor.shape.len()) {
                (true, _) => tensor.byte_len(),
                (false, 2) => continue, // core splits dense matrices
                (false, _) => tensor.elements().saturating_mul(size_of::<f32>() as u64),
            };
            if bytes > limit {
                return Err(Failure::new(
                    "device-limit",
                    format!(
                        "{path}: tensor `{name}` needs {bytes} bytes, the adapter's \
                         maxStorageBufferBindingSize is {limit}; use a quantized model or device `cpu`"
                    ),
                ));
            }
        }
    }
    Ok(())
}
