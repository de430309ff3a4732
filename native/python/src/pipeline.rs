//! A model on a device, which paints and encodes without the interpreter's lock.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::prelude::*;
use x2i::flags::ByteSize;
use x2i_core::image::Hint;
use x2i_core::{Error, InputBits, Result};
use x2i_engine::device::{DeviceList, Precision, acquire_all, ids, names};
use x2i_engine::{
    AdapterSpec, Engine, EngineOptions, LoraSpec, MemoryPolicy, Model, NamedFile, OpenDevice,
    allocator, models, trained_hint,
};

use crate::array::Array;
use crate::deep::guarded;
use crate::errors::{failed, refused};
use crate::fork;
use crate::job::{Asked, Job, Numbers, Turns};
use crate::painted::Painted;
use crate::part::Part;
use crate::progress::Listener;

/// How often a call that waits for another thread's asks for signals.
const WAIT: Duration = Duration::from_millis(20);

/// A model on a device. One call computes at a time; the others wait.
#[pyclass(frozen, module = "x2i._x2i")]
pub(crate) struct Pipeline {
    model: Model,
    hint: Hint,
    device: (String, String),
    warnings: Vec<String>,
    engine: Mutex<Option<Engine>>,
    /// The thread that computes.
    busy: Mutex<Option<ThreadId>>,
}

/// How a model is loaded, as `x2i._pipeline` gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Loading {
    model: Option<String>,
    device: String,
    precision: Option<String>,
    memory: String,
    max_device_memory: Vec<String>,
    exact: bool,
    loras: Vec<(PathBuf, f64)>,
    control_weights: Option<PathBuf>,
}

/// The numbers of an encoded prompt.
type Encoded = (Array, Array, Option<String>);

#[pymethods]
impl Pipeline {
    /// Loads a model.
    #[staticmethod]
    fn open(py: Python<'_>, loading: Loading, callback: Option<Py<PyAny>>) -> PyResult<Self> {
        fork::check(py)?;
        allocator::keep_freed_memory();
        let (devices, precision) = loading.devices(py)?;
        let options = loading.options(py)?;
        let adapters = loading.adapters()?;
        let hint = loading.control_weights.as_deref().and_then(trained_hint);
        let name = loading.model.as_deref();
        let mut listener = Listener::new(callback);
        let opened = py.detach(|| {
            guarded(|| {
                let files = models::ModelFiles::find(name).map_err(of_model)?;
                let model = Model::from_files(files)
                    .map_err(of_model)?
                    .with_adapters(&adapters)?;
                let devices = acquire_all(&devices, precision)?;
                let warnings = warnings(&model, &devices);
                let device = (ids(&devices), names(&devices));
                let mut hear = |progress| listener.hear(progress);
                let engine = Engine::open_on(model.clone(), devices, &options, &mut hear)?;
                Ok((model, warnings, device, engine))
            })
        });
        let (model, warnings, device, engine) = listener.outcome(py, opened)?;
        Ok(Self {
            model,
            hint: hint.unwrap_or_default(),
            device,
            warnings,
            engine: Mutex::new(Some(engine)),
            busy: Mutex::new(None),
        })
    }

    /// Reads the files of a call and checks all of it.
    #[pyo3(signature = (parts, turns, init, control, numbers))]
    fn job(
        &self,
        py: Python<'_>,
        parts: Vec<PyRef<'_, Part>>,
        turns: Turns<'_>,
        init: Option<PyRef<'_, Part>>,
        control: Option<PyRef<'_, Part>>,
        numbers: Numbers,
    ) -> PyResult<Job> {
        let asked = Asked {
            parts,
            turns,
            init,
            control,
            numbers,
        };
        asked.job(py, &self.model, self.hint)
    }

    /// Paints a job with a seed.
    fn paint(
        &self,
        py: Python<'_>,
        job: &Job,
        seed: u64,
        callback: Option<Py<PyAny>>,
    ) -> PyResult<Painted> {
        let job = job.0.clone().with_seed(seed);
        self.compute(py, callback, |engine, listener| {
            engine.paint(&job, &mut |progress| listener.hear(progress))
        })
        .map(Painted)
    }

    /// Encodes a job's prompt.
    fn encode(&self, py: Python<'_>, job: &Job, callback: Option<Py<PyAny>>) -> PyResult<Encoded> {
        let encoded = self.compute(py, callback, |engine, listener| {
            engine.encode(&job.0, &mut |progress| listener.hear(progress))
        })?;
        Ok((encoded.txt.into(), encoded.vec.into(), encoded.answer))
    }

    /// Gives the memory back; waits for a call that computes.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut listener = Listener::new(None);
        let closed = py.detach(|| {
            let mut engine = self.lock(&mut listener).ok()?;
            drop(engine.take());
            drop(engine);
            give_back();
            Some(())
        });
        match closed {
            Some(()) => Ok(()),
            None => listener.outcome(py, Ok(Ok(()))),
        }
    }

    /// True after `close`.
    #[getter]
    fn closed(&self) -> bool {
        match self.engine.try_lock() {
            Ok(engine) => engine.is_none(),
            Err(_) => false, // it computes
        }
    }

    /// The model's name.
    #[getter]
    fn name(&self) -> &str {
        &self.model.config().name
    }

    /// Where the model's files are.
    #[getter]
    fn place(&self) -> String {
        self.model.files().place()
    }

    /// The device's name for `device`, and what it is.
    #[getter]
    fn device(&self) -> (&str, &str) {
        (&self.device.0, &self.device.1)
    }

    /// What a user should know of this model on this device, one sentence each.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Whether it reads pictures and videos, and whether it hears sounds.
    #[getter]
    fn senses(&self) -> (bool, bool) {
        let config = self.model.config();
        let hears = config.encoder.config.check_hears().is_ok();
        (config.check_sees().is_ok(), hears)
    }

    /// Width, height, steps, guidance, and whether the answer is the conditioning, where a call says nothing.
    #[getter]
    fn defaults(&self) -> (usize, usize, usize, f32, bool) {
        let defaults = &self.model.config().defaults;
        let answers = defaults.conditioning == x2i_core::Conditioning::Answer;
        let (width, height) = (defaults.width, defaults.height);
        (width, height, defaults.steps, defaults.guidance, answers)
    }
}

impl Pipeline {
    /// Does work with the engine, while Python hears of it.
    fn compute<T: Send>(
        &self,
        py: Python<'_>,
        callback: Option<Py<PyAny>>,
        work: impl FnOnce(&mut Engine, &mut Listener) -> Result<T> + Send,
    ) -> PyResult<T> {
        fork::check(py)?;
        if *held(&self.busy) == Some(thread::current().id()) {
            return Err(failed(
                py,
                "a callback can't use the pipeline that it hears; use another one",
            ));
        }
        let mut listener = Listener::new(callback);
        let outcome = py.detach(|| {
            let mut engine = match self.lock(&mut listener) {
                Ok(engine) => engine,
                Err(error) => return Ok(Err(error)),
            };
            let Some(engine) = engine.as_mut() else {
                return Ok(Err(Error::config(
                    "pipeline",
                    "is closed; open another one",
                )));
            };
            *held(&self.busy) = Some(thread::current().id());
            let outcome = guarded(|| work(engine, &mut listener));
            *held(&self.busy) = None;
            outcome
        });
        listener.outcome(py, outcome)
    }

    /// The engine, when no other thread has it.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when a signal's handler raised while this waited.
    fn lock(&self, listener: &mut Listener) -> Result<MutexGuard<'_, Option<Engine>>> {
        loop {
            match self.engine.try_lock() {
                Ok(engine) => return Ok(engine),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            if listener.signals().is_break() {
                return Err(Error::Cancelled);
            }
            thread::sleep(WAIT);
        }
    }
}

impl Loading {
    fn devices(&self, py: Python<'_>) -> PyResult<(DeviceList, Precision)> {
        let devices = self.device.parse();
        let devices = devices.map_err(|reason: String| refused(py, "device", &reason))?;
        let precision = self.precision.as_deref().unwrap_or("auto").parse();
        let precision = precision.map_err(|reason: String| refused(py, "precision", &reason))?;
        Ok((devices, precision))
    }

    fn options(&self, py: Python<'_>) -> PyResult<EngineOptions> {
        let limits = self.max_device_memory.iter().map(|size| {
            let bytes = size.parse().map(|ByteSize(bytes)| bytes);
            bytes.map_err(|reason: String| refused(py, "max_device_memory", &reason))
        });
        Ok(EngineOptions {
            memory: match self.memory.as_str() {
                "auto" => MemoryPolicy::Auto,
                "low" => MemoryPolicy::Low,
                "high" => MemoryPolicy::High,
                other => {
                    let reason = format!("`{other}` is none of auto, low and high");
                    return Err(refused(py, "memory", &reason));
                }
            },
            max_device_memory: limits.collect::<PyResult<_>>()?,
            input_bits: match self.exact {
                true => InputBits::Sixteen,
                false => InputBits::AsWeights,
            },
            ..EngineOptions::default()
        })
    }

    fn adapters(&self) -> PyResult<AdapterSpec> {
        let loras = self.loras.iter().map(|(file, scale)| LoraSpec {
            file: NamedFile::new(file),
            config: None,
            scale: *scale as f32,
        });
        Ok(AdapterSpec {
            loras: loras.collect(),
            control_weights: self.control_weights.as_ref().map(NamedFile::new),
        })
    }
}

fn of_model(error: Error) -> Error {
    error.at(x2i_core::Field::Model)
}

/// What the program warns of.
fn warnings(model: &Model, devices: &[OpenDevice]) -> Vec<String> {
    let mut warnings: Vec<String> = model.files().warning().into_iter().collect();
    warnings.extend(model.notices().iter().cloned());
    warnings.extend(model.config().warnings.clone());
    warnings.extend(model.warnings());
    warnings.extend(devices.iter().filter_map(|device| device.warning.clone()));
    warnings
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives freed memory to the system: `keep_freed_memory` keeps some for the next tensors.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointers and works under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The devices of this machine: their names for `device`, and what they are.
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> Vec<(String, String)> {
    let entries = py.detach(x2i_engine::device::list);
    entries
        .into_iter()
        .map(|entry| (entry.id, entry.name))
        .collect()
}
