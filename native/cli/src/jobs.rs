//! Makes jobs from flags, a batch file or an image's metadata; all are checked before weights are read.

mod batch;
mod entries;
mod keys;
mod line;
mod nearest;
mod outputs;
mod plan;
mod prompt;
pub mod spec;
mod text;

use anyhow::{Context, Result, bail};
use x2i_engine::output::create_folder;
use x2i_engine::{EngineOptions, Format, JobSpec, Model, Output, Record};

pub use self::plan::Plan;
use crate::flags::GenerateArgs;

/// The jobs of `x2i generate`; `options` are those of its engine.
///
/// # Errors
/// For a flag, a file or a line that can't be used; the message names it. [`x2i_core::Error::Cancelled`]
/// when `cancelled`, which is asked while files are read, says so.
pub fn plan(
    args: &GenerateArgs,
    model: &Model,
    record: Option<&Record>,
    options: &EngineOptions,
    cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let plan = match &args.batch {
        Some(batch) => {
            let base = spec::of_batch(args)?;
            batch::read(batch, args.output(), &base, model).context("--batch")?
        }
        None => with_seeds(args, model, record, cancelled)?,
    };
    if args.json && plan.outputs().any(|output| *output == Output::Stdout) {
        bail!("-o: the image and --json can't both go to standard output");
    }
    if args.output().as_os_str().as_encoded_bytes().ends_with(b"/") {
        create_folder(args.output()).context("-o")?;
    }
    for output in plan.outputs() {
        let format = output.format().context("-o")?;
        if args.quality.is_some() && format != Format::Jpeg {
            let (output, name) = (output.shown(), format.name());
            bail!("--quality: is for JPEG, and {output} is {name}, which is written without loss");
        }
    }
    Output::check_all(plan.outputs()).context("-o")?;
    match args.resume {
        true => plan.without_finished(model, options).context("--resume"),
        false => Ok(plan),
    }
}

/// One request with each seed of `--num-images`. Its files are read once.
fn with_seeds(
    args: &GenerateArgs,
    model: &Model,
    record: Option<&Record>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Plan> {
    let recorded = record.map_or_else(JobSpec::default, Record::job);
    let spec = spec::of_flags(args, recorded)?;
    let job = spec.job_unless(model, cancelled)?;
    if let Some(record) = record {
        record.check_work(job.request())?;
    }
    let first = job.request().seed;
    let count = u64::from(args.num_images.unwrap_or(1));
    let seeds: Vec<u64> = (0..count).map(|n| first.wrapping_add(n)).collect();
    let outputs = outputs::plan(args.output(), &seeds).context("-o")?;
    Ok(Plan::of_seeds(job, seeds.into_iter().zip(outputs)))
}
