//! From flags, a picture's metadata or a batch file to the pictures that are to be made.
//!
//! All requests are complete and checked before a weight is read.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use x2i_core::png::{self, Metadata, PartRecord};
use x2i_core::{Conditioning, Error, ModelConfig, Part, Prompt, Request};

use crate::cli::{GenerateArgs, Size};
use crate::output::{self, Output};
use crate::picture;

/// The largest prompt that is read from a file, in bytes: beyond it lies a wrong file.
const MAX_PROMPT_FILE: u64 = 16 << 20;

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
            .map_err(|error| crate::source::io_error(&name, error))
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
    }
    Ok(jobs)
}

fn plan_flags(
    args: &GenerateArgs,
    config: &ModelConfig,
    replay: Option<&Replay>,
) -> Result<Vec<Job>> {
    let (parts, prompt) = read_prompt(args, replay)?;
    let mut request = Request::new(prompt, config);
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
    let outputs = Output::plan(args.output(), &seeds)?;
    let job = |(seed, output)| Job {
        request: Request {
            seed,
            ..request.clone()
        },
        parts: parts.clone(),
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

/// The pictures first, then the words, as X2I's scripts put them.
fn read_prompt(args: &GenerateArgs, replay: Option<&Replay>) -> Result<(Vec<PartRecord>, Prompt)> {
    let mut records = Vec::new();
    let mut parts = Vec::new();
    let recorded = |wanted: fn(&PartRecord) -> bool| {
        let parts = replay.map_or(&[][..], |replay| &replay.metadata.prompt);
        parts.iter().filter(move |part| wanted(part))
    };
    if args.images.is_empty() {
        for part in recorded(|part| matches!(part, PartRecord::Image { .. })) {
            if let (PartRecord::Image { file, sha256 }, Some(replay)) = (part, replay) {
                parts.push(Part::Image(find_input(replay, file, sha256)?));
                records.push(part.clone());
            }
        }
    }
    for path in &args.images {
        let (record, part) = read_image(path).context("--image")?;
        records.push(record);
        parts.push(part);
    }
    let mut texts = Vec::new();
    match prompt_text(args)? {
        Some(text) => texts.push(text),
        None => texts.extend(
            recorded(|part| matches!(part, PartRecord::Text(_))).filter_map(|part| match part {
                PartRecord::Text(text) => Some(text.clone()),
                PartRecord::Image { .. } => None,
            }),
        ),
    }
    if texts.is_empty() && parts.is_empty() {
        bail!("prompt: is missing; say what to paint, as in: x2i generate \"a red apple\"");
    }
    for text in texts {
        records.push(PartRecord::Text(text.clone()));
        parts.push(Part::Text(text));
    }
    Ok((records, Prompt::new(parts)))
}

/// A picture for a prompt, and its record.
pub(crate) fn read_image(path: &Path) -> Result<(PartRecord, Part)> {
    let input = picture::read(path)?;
    let record = PartRecord::Image {
        file: path.display().to_string(),
        sha256: input.sha256,
    };
    Ok((record, Part::Image(input.image)))
}

/// What a record says was shown, from where it was.
pub(crate) fn read_again(record: &PartRecord) -> Result<Part> {
    match record {
        PartRecord::Text(text) => Ok(Part::Text(text.clone())),
        PartRecord::Image { file, sha256 } => {
            let input = picture::read(Path::new(file))?;
            if input.sha256 != *sha256 {
                bail!("{file}: is another picture than the one that was shown");
            }
            Ok(Part::Image(input.image))
        }
    }
}

/// An input picture of a replay: where it was, or beside the PNG; it must be the same one.
fn find_input(replay: &Replay, file: &str, sha256: &str) -> Result<x2i_core::Image> {
    let here = PathBuf::from(file);
    let path = if here.exists() {
        here
    } else {
        replay.folder.join(file)
    };
    let input = picture::read(&path)
        .with_context(|| format!("--from: {} was made from a picture", replay.name))?;
    if input.sha256 != sha256 {
        bail!(
            "--from: {file} is not the picture that {} was made from (its SHA-256 differs); give it with --image",
            replay.name
        );
    }
    Ok(input.image)
}

fn prompt_text(args: &GenerateArgs) -> Result<Option<String>> {
    if let Some(file) = &args.prompt_file {
        return read_prompt_file(file).map(Some);
    }
    let Some(prompt) = &args.prompt else {
        return Ok(None);
    };
    if prompt == "-" {
        return read_limited("standard input", std::io::stdin().lock()).map(Some);
    }
    if let Some(file) = prompt.strip_prefix('@') {
        return read_prompt_file(Path::new(file)).map(Some);
    }
    if prompt.ends_with(".txt") && Path::new(prompt).is_file() {
        return read_prompt_file(Path::new(prompt)).map(Some);
    }
    Ok(Some(prompt.clone()))
}

fn read_prompt_file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| crate::source::io_error(&name, error))
        .context("prompt")?;
    read_limited(&name, file)
}

/// UTF-8 text without the byte order mark and line end that editors add.
fn read_limited(name: &str, source: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(MAX_PROMPT_FILE + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("prompt: {name}"))?;
    if bytes.len() as u64 > MAX_PROMPT_FILE {
        bail!(
            "prompt: {name} is larger than {} MiB; is it the right file?",
            MAX_PROMPT_FILE >> 20
        );
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("prompt: {name} is not UTF-8 text");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// One line of `--batch`.
#[derive(Debug, Deserialize)]
struct BatchLine {
    prompt: String,
    seed: Option<u64>,
    out: Option<String>,
    answer: Option<bool>,
    #[serde(default)]
    images: Vec<PathBuf>,
    steps: Option<usize>,
    guidance: Option<f32>,
    size: Option<String>,
}

fn plan_batch(args: &GenerateArgs, config: &ModelConfig, batch: &Path) -> Result<Vec<Job>> {
    let name = batch.display();
    let text = std::fs::read_to_string(batch)
        .map_err(|error| crate::source::io_error(&name.to_string(), error));
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
    let (mut parts, mut input) = (Vec::new(), Vec::new());
    for path in &line.images {
        let (record, part) = read_image(path)?;
        parts.push(record);
        input.push(part);
    }
    parts.push(PartRecord::Text(line.prompt.clone()));
    input.push(Part::Text(line.prompt));
    let mut request = Request {
        seed,
        ..Request::new(Prompt::new(input), config)
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
            .map_err(|reason| Error::request("size", reason))
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
        parts,
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
    fn prompt_files_lose_only_what_editors_add() {
        let read = |bytes: &[u8]| read_limited("x", bytes).map_err(|error| error.to_string());
        assert_eq!(
            read("\u{feff} 红苹果 \r\n\n".as_bytes()),
            Ok(" 红苹果 ".into())
        );
        assert_eq!(read(b"\xff"), Err("prompt: x is not UTF-8 text".into()));
        assert!(read_limited("x", std::io::repeat(b'a')).is_err());
    }

    #[test]
    fn random_seeds_differ() {
        assert_ne!(
            [random_seed(), random_seed()],
            [random_seed(), random_seed()]
        );
    }
}
