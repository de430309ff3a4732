//! From flags, a picture's metadata or a batch file to the pictures that are to be made.
//!
//! All requests are complete and checked before a weight is read.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use x2i_core::png::{self, Metadata, PartRecord};
use x2i_core::{Conditioning, ModelConfig, Prompt, Request};

use crate::flags::{GenerateArgs, Size};
use x2i_engine::output::{self, Output};
use crate::parts::{LineParts, Parts};

/// One picture to make.
#[derive(Debug)]
pub struct Job {
    /// What the pipeline is asked.
    pub request: Request,
    /// The prompt's parts as the metadata records them.
    pub parts: Vec<PartRecord>,
    /// Where the picture goes.
    pub output: Output,
}

/// A picture that is to be repeated.
#[derive(Debug)]
pub struct Replay {
    /// The PNG, as it was given.
    pub name: String,
    /// Its folder, where input files may lie too.
    pub folder: PathBuf,
    /// What it says.
    pub metadata: Metadata,
}

impl Replay {
    /// Reads the metadata of a PNG that x2i made.
    ///
    /// # Errors
    /// When there is no such file, it is no whole PNG, or has no metadata.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = std::fs::File::open(path)
            .map_err(|error| x2i_engine::models::io_error(&name, error))
            .context("--from")?;
        let facts = png::decode(&name, std::io::BufReader::new(file)).context("--from")?;
        let Some(metadata) = facts.metadata else {
            bail!(
                "--from: {name} has no x2i metadata; only pictures that x2i made can be repeated"
            );
        };
        Ok(Self {
            name,
            folder: output::folder_of(path).to_owned(),
            metadata,
        })
    }
}

/// The jobs of a command line.
///
/// # Errors
/// Whatever a flag, file or line can't mean; names it.
pub fn plan(
    args: &GenerateArgs,
    config: &ModelConfig,
    replay: Option<&Replay>,
) -> Result<Vec<Job>> {
    let jobs = match &args.batch {
        Some(batch) => plan_batch(args, config, batch)?,
        None => plan_flags(args, config, replay)?,
    };
    for job in &jobs {
        job.request.validate()?;
        job.request.prompt.check(&config.encoder.config)?;
    }
    Ok(jobs)
}

fn plan_flags(
    args: &GenerateArgs,
    config: &ModelConfig,
    replay: Option<&Replay>,
) -> Result<Vec<Job>> {
    let Parts { parts, records } = Parts::of_flags(args, config, replay)?;
    let mut request = Request::new(Prompt::new(parts), config);
    let mut seed = args.seed;
    if let Some(Replay { metadata, .. }) = replay {
        request.width = metadata.width;
        request.height = metadata.height;
        request.steps = metadata.steps;
        request.guidance = metadata.guidance;
        request.conditioning = metadata.conditioning;
        seed = seed.or(Some(metadata.seed));
    }
    apply(
        &mut request,
        args.size,
        args.steps,
        args.guidance,
        args.conditioning(),
    );
    let seed = seed.unwrap_or_else(random_seed);
    let seeds: Vec<u64> = (0..u64::from(args.num_images.unwrap_or(1)))
        .map(|n| seed.wrapping_add(n))
        .collect();
    let outputs = Output::plan(args.output(), &seeds).context("-o")?;
    let job = |(seed, output)| Job {
        request: Request {
            seed,
            ..request.clone()
        },
        parts: records.clone(),
        output,
    };
    Ok(seeds.into_iter().zip(outputs).map(job).collect())
}

pub(crate) fn apply(
    request: &mut Request,
    size: Option<Size>,
    steps: Option<usize>,
    guidance: Option<f32>,
    conditioning: Option<Conditioning>,
) {
    if let Some(Size { width, height }) = size {
        (request.width, request.height) = (width, height);
    }
    request.steps = steps.unwrap_or(request.steps);
    request.guidance = guidance.unwrap_or(request.guidance);
    request.conditioning = conditioning.unwrap_or(request.conditioning);
}

/// One line of `--batch`.
#[derive(Debug, Deserialize)]
struct BatchLine {
    #[serde(flatten)]
    parts: LineParts,
    seed: Option<u64>,
    out: Option<String>,
    answer: Option<bool>,
    steps: Option<usize>,
    guidance: Option<f32>,
    size: Option<String>,
}

fn plan_batch(args: &GenerateArgs, config: &ModelConfig, batch: &Path) -> Result<Vec<Job>> {
    let name = batch.display();
    let text = std::fs::read_to_string(batch)
        .map_err(|error| x2i_engine::models::io_error(&name.to_string(), error));
    let text = text.context("--batch")?;
    let first_seed = args.seed.unwrap_or_else(random_seed);
    let mut jobs = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let place = || format!("--batch: {name} line {}", index + 1);
        let line: BatchLine = serde_json::from_str(line).with_context(place)?;
        let seed = line
            .seed
            .unwrap_or_else(|| first_seed.wrapping_add(index as u64));
        let job = batch_job(args, config, line, index, seed).with_context(place)?;
        job.request.validate().with_context(place)?;
        if !names.insert(job.output.shown()) {
            bail!(
                "{}: {} is written by an earlier line too",
                place(),
                job.output.shown()
            );
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        bail!("--batch: {name} has no lines");
    }
    output::create_folder(args.output()).context("-o")?;
    Ok(jobs)
}

fn batch_job(
    args: &GenerateArgs,
    config: &ModelConfig,
    line: BatchLine,
    index: usize,
    seed: u64,
) -> Result<Job> {
    let Parts { parts, records } = Parts::of_line(line.parts, args, config)?;
    let mut request = Request {
        seed,
        ..Request::new(Prompt::new(parts), config)
    };
    apply(
        &mut request,
        args.size,
        args.steps,
        args.guidance,
        args.conditioning(),
    );
    let size = line.size.map(|size| {
        size.parse::<Size>()
            .map_err(|reason| anyhow!("size: {reason}"))
    });
    let conditioning = line.answer.map(|answer| match answer {
        true => Conditioning::Answer,
        false => Conditioning::Prompt,
    });
    apply(
        &mut request,
        size.transpose()?,
        line.steps,
        line.guidance,
        conditioning,
    );
    let out = line.out.unwrap_or_else(|| format!("{:04}.png", index + 1));
    // A batch file may come from elsewhere: it must not reach out of the folder.
    let inside = Path::new(&out)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if out.is_empty() || !inside {
        bail!("out: `{out}` must be a file name inside the folder -o");
    }
    let output = Output::File(args.output().join(out));
    Ok(Job {
        request,
        parts: records,
        output,
    })
}

/// A seed that is easily typed again, from the system's randomness.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys its hash maps from the system's randomness.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
        & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_seeds_differ() {
        assert_ne!(
            [random_seed(), random_seed()],
            [random_seed(), random_seed()]
        );
    }
}
