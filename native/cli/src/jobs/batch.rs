//! The jobs of a `--batch` file.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use x2i_engine::files::io_error;
use x2i_engine::job::random_seed;
use x2i_engine::output::create_folder;
use x2i_engine::{Format, Job, JobSpec, Model, Output};

use super::entries::{Entry, entries};
use super::line::Line;
use super::text;

/// The checked jobs of a batch file, one per entry. Images go into `folder`; `base` has the settings
/// of the flags.
///
/// # Errors
/// For a line that can't be used; the message names it.
pub fn read(batch: &Path, folder: &Path, base: &JobSpec, model: &Model) -> Result<Vec<Job>> {
    let name = batch.display().to_string();
    let bytes = std::fs::read(batch).map_err(|error| io_error(&name, error))?;
    let text = text::decode(bytes).with_context(|| format!("{name}: is not UTF-8 text"))?;
    let first_seed = base.settings.seed.unwrap_or_else(random_seed);
    let mut jobs = Vec::new();
    let mut outputs = BTreeSet::new();
    for Entry { place, index, line } in entries(&text).with_context(|| name.clone())? {
        let place = || format!("{name} {place}");
        let mut base = base.clone();
        base.settings.seed = Some(first_seed.wrapping_add(index as u64));
        let job = line.and_then(|line| job(line, index, folder, &base, model));
        let job = job.with_context(place)?;
        if !outputs.insert(job.output().shown()) {
            let output = job.output().shown();
            bail!(
                "{}: {output} is also the output of an earlier line",
                place()
            );
        }
        jobs.push(job);
    }
    if jobs.is_empty() {
        bail!("{name} has no lines");
    }
    create_folder(folder).context("-o")?;
    Ok(jobs)
}

fn job(line: Line, index: usize, folder: &Path, base: &JobSpec, model: &Model) -> Result<Job> {
    let file = match &line.out {
        Some(out) => inside(out)?,
        None => format!("{:04}.png", index + 1).into(),
    };
    Format::of(&file).context("out")?;
    let job = line.spec(base)?.job(model)?;
    Ok(job.with_output(Output::File(folder.join(file))))
}

/// The path of `out`. A batch file may come from others, so it must not write outside of the folder.
fn inside(out: &str) -> Result<PathBuf> {
    let path = PathBuf::from(out);
    let mut parts = path.components();
    if out.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        bail!("out: `{out}` must be a file name inside the folder -o");
    }
    Ok(path)
}
