//! Makes jobs from flags, a batch file or an image's metadata; all are checked before weights are read.

mod batch;
mod line;
mod outputs;
mod prompt;
pub mod spec;

use anyhow::{Context, Result, bail};
use x2i_engine::{Job, JobSpec, Model, Output, Record};

use crate::flags::GenerateArgs;

/// The jobs of `x2i generate`.
///
/// # Errors
/// For a flag, a file or a line that can't be used; the message names it. [`x2i_core::Error::Cancelled`]
/// when `cancelled`, which is asked while files are read, says so.
pub fn plan(
    args: &GenerateArgs,
    model: &Model,
    record: Option<&Record>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Job>> {
    let jobs = match &args.batch {
        Some(batch) => {
            let base = spec::of_batch(args)?;
            batch::read(batch, args.output(), &base, model, cancelled).context("--batch")?
        }
        None => with_seeds(args, model, record, cancelled)?,
    };
    if args.json && jobs.iter().any(|job| *job.output() == Output::Stdout) {
        bail!("-o: the image and --json can't both go to standard output");
    }
    let mut outputs = jobs.iter().map(Job::output);
    outputs.try_for_each(Output::check).context("-o")?;
    Ok(jobs)
}

/// One job for each seed of `--num-images`.
fn with_seeds(
    args: &GenerateArgs,
    model: &Model,
    record: Option<&Record>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Job>> {
    let recorded = record.map_or_else(JobSpec::default, Record::job);
    let job = spec::of_flags(args, recorded)?.job_unless(model, cancelled)?;
    let first = job.request().seed;
    let count = u64::from(args.num_images.unwrap_or(1));
    let seeds: Vec<u64> = (0..count).map(|n| first.wrapping_add(n)).collect();
    let outputs = outputs::plan(args.output(), &seeds).context("-o")?;
    let job = |(seed, output)| job.clone().with_seed(seed).with_output(output);
    Ok(seeds.into_iter().zip(outputs).map(job).collect())
}
