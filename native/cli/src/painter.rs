//! Opens the model, the device and the engine for every command that generates images, and shows
//! progress on the terminal.

use anyhow::{Context, Result};
use x2i_core::{InputBits, Request};
use x2i_engine::device::{self, DeviceChoice, DeviceList};
use x2i_engine::format::QUALITY;
use x2i_engine::job::check_memory;
use x2i_engine::models::ModelFiles;
use x2i_engine::{AdapterSpec, Engine, EngineOptions, Job, Model, OpenDevice, Painted, Record};

use crate::flags::{AdapterArgs, EngineArgs};
use crate::jobs::spec;
use crate::terminal::{Display, Interrupt, Reporter, Seconds};

/// The model of the flags, which is downloaded if it is not here, else the recorded one, with its adapters.
///
/// # Errors
/// When there is no such model, when a file of it or of an adapter is broken, or when it is not the
/// recorded model.
pub fn model(
    engine: &EngineArgs,
    args: &AdapterArgs,
    record: Option<&Record>,
    (display, interrupt): &(Display, Interrupt),
) -> Result<Model> {
    #[cfg(feature = "hub")]
    crate::pull::ensure(engine, *display, interrupt)?;
    #[cfg(not(feature = "hub"))]
    let _ = (display, interrupt);
    let recorded = match (&engine.model, record) {
        (None, Some(record)) => Some(record.model()?),
        _ => None,
    };
    let files = ModelFiles::find(engine.model.as_deref().or(recorded.as_deref()));
    let files = match record.filter(|_| engine.model.is_none()) {
        Some(record) => files.map_err(|error| record.model_error(error))?,
        None => files?,
    };
    let opened = Model::from_files(files);
    #[cfg(feature = "hub")]
    let opened = crate::pull::told(opened, engine);
    let model = opened?;
    if let Some(record) = record {
        record.check_model(model.config())?;
    }
    let recorded = record.map_or_else(AdapterSpec::default, Record::adapters);
    Ok(model.with_adapters(&spec::adapters(args, recorded))?)
}

/// The devices of the flags, else the recorded ones if this machine has them.
///
/// # Errors
/// When there is no such device or it can't be opened.
pub fn devices(args: &EngineArgs, record: Option<&Record>) -> Result<Vec<OpenDevice>> {
    let precision = args.loading.precision.unwrap_or_default();
    let (None, Some(record)) = (&args.device, record) else {
        let chosen = args.device.clone().unwrap_or_default();
        return Ok(device::acquire_all(&chosen, precision)?);
    };
    let recorded: DeviceList = record.metadata().device.id.parse().unwrap_or_default();
    let precision = args.loading.precision.unwrap_or_else(|| record.precision());
    let opened = device::acquire_all(&recorded, precision);
    Ok(match opened {
        Ok(devices) => devices,
        Err(_) => vec![device::acquire(DeviceChoice::Auto)?],
    })
}

/// The devices for these requests; warns of what their user should know.
///
/// # Errors
/// As [`devices`], and for a request that does not fit into memory.
pub fn ready(
    args: &EngineArgs,
    model: &Model,
    record: Option<&Record>,
    requests: &[&Request],
    display: Display,
) -> Result<Vec<OpenDevice>> {
    let devices = devices(args, record)?;
    for request in requests {
        check_memory(request, model.config(), &devices[0].entry)?;
    }
    display.warn(model.files().warning());
    display.warn(model.notices().iter().cloned());
    display.warn(model.config().warnings.clone());
    display.warn(model.warnings());
    if let Some(record) = record {
        display.warn(record.device_warnings(&devices));
    }
    display.warn(devices.iter().filter_map(|device| device.warning.clone()));
    Ok(devices)
}

/// The engine's options of the flags and of the record.
pub fn options(args: &EngineArgs, record: Option<&Record>) -> EngineOptions {
    let options = args.loading.options(&args.max_device_memory);
    match record.is_some_and(|record| record.metadata().device.exact) {
        true => EngineOptions {
            input_bits: InputBits::Sixteen,
            ..options
        },
        false => options,
    }
}

/// An engine that shows its progress on the terminal.
pub struct Painter {
    /// The engine.
    pub engine: Engine,
    /// Shows progress.
    pub reporter: Reporter,
    /// The kind of output.
    pub display: Display,
    /// The quality of JPEGs, from 1 to 100.
    pub quality: u8,
}

impl Painter {
    /// Loads a model for these requests; the first of them runs next.
    ///
    /// # Errors
    /// As [`Engine::open`]; before loading, for a request that does not fit into memory.
    pub fn open(
        args: &EngineArgs,
        model: Model,
        record: Option<&Record>,
        requests: &[&Request],
        (display, interrupt): (Display, Interrupt),
    ) -> Result<Self> {
        let devices = ready(args, &model, record, requests, display)?;
        let reporter = Reporter::new(display, interrupt);
        let options = options(args, record);
        Self::on(devices, model, &options, reporter, (1, requests.len()))
    }

    /// Loads a model onto devices for an image, its number and the number of all.
    ///
    /// # Errors
    /// As [`Engine::open_on`].
    pub fn on(
        devices: Vec<OpenDevice>,
        model: Model,
        options: &EngineOptions,
        mut reporter: Reporter,
        (number, count): (usize, usize),
    ) -> Result<Self> {
        reporter.begin_picture(number, count);
        let engine = Engine::open_on(model, devices, options, &mut |progress| {
            reporter.hear(progress)
        });
        Ok(Self {
            engine: engine.inspect_err(|_| reporter.clear())?,
            display: reporter.display(),
            reporter,
            quality: QUALITY,
        })
    }

    /// Runs a job, the `number`-th of `count`, and writes the image to its output.
    ///
    /// # Errors
    /// As [`Engine::paint`], and when the image can't be written.
    pub fn paint(&mut self, job: &Job, number: usize, count: usize) -> Result<(Painted, Seconds)> {
        let Self {
            engine,
            reporter,
            quality,
            ..
        } = self;
        reporter.begin_picture(number, count);
        let painted = engine.paint(job, &mut |progress| reporter.hear(progress));
        let seconds = reporter.end_picture();
        let painted = painted?;
        let file = painted.file(job.output().format()?, *quality)?;
        job.output().write(&file).context("-o")?;
        Ok((painted, seconds))
    }
}
