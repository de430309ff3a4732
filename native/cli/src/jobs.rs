//! Makes jobs from flags, a batch file or an image's metadata; all are checked before weights are read.

mod batch;
mod entries;
mod line;
mod outputs;
mod prompt;
pub mod spec;
mod text;

use anyhow::{Context, Result, bail};
use x2i_engine::output::create_folder;
use x2i_engine::{Format, Job, JobSpec, Model, Output, Record};

use crate::flags::GenerateArgs;

/// The jobs of `x2i generate`.
///
/// # Errors
/// For a flag, a file or a line that can't be used; the message names it.
pub fn plan(args: &GenerateArgs, model: &Model, record: Option<&Record>) -> Result<Vec<Job>> {
    let jobs = match &args.batch {
        Some(batch) => {
            let base = spec::of_batch(args)?;
            batch::read(batch, args.output(), &base, model).context("--batch")?
        }
        None => with_seeds(args, model, record)?,
    };
    if args.json && jobs.iter().any(|job| *job.output() == Output::Stdout) {
        bail!("-o: the image and --json can't both go to standard output");
    }
    if args.output().as_os_str().as_encoded_bytes().ends_with(b"/") {
        create_folder(args.output()).context("-o")?;
    }
    for job in &jobs {
        let format = job.output().format().context("-o")?;
        if args.quality.is_some() && format != Format::Jpeg {
            let (output, name) = (job.output().shown(), format.name());
            bail!("--quality: is for JPEG, and {output} is {name}, which is written without loss");
        }
    }
    let mut outputs = jobs.iter().map(Job::output);
    outputs.try_for_each(Output::check).context("-o")?;
    Ok(jobs)
}

/// One job for each seed of `--num-images`.
fn with_seeds(args: &GenerateArgs, model: &Model, record: Option<&Record>) -> Result<Vec<Job>> {
    let recorded = record.map_or_else(JobSpec::default, Record::job);
    let job = spec::of_flags(args, recorded)?.job(model)?;
    let first = job.request().seed;
    let count = u64::from(args.num_images.unwrap_or(1));
    let seeds: Vec<u64> = (0..count).map(|n| first.wrapping_add(n)).collect();
    let outputs = outputs::plan(args.output(), &seeds).context("-o")?;
    let job = |(seed, output)| job.clone().with_seed(seed).with_output(output);
    Ok(seeds.into_iter().zip(outputs).map(job).collect())
}
