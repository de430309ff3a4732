//! The jobs of a `--batch` file.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use x2i_engine::files::io_error;
use x2i_engine::job::random_seed;
use x2i_engine::output::create_folder;
use x2i_engine::{Job, JobSpec, Model, Output};

use super::line::Line;

/// The checked jobs of a batch file, one per line. Images go into `folder`; `base` has the settings
/// of the flags.
///
/// # Errors
/// For a line that can't be used; the message names it.
pub fn read(
    batch: &Path,
    folder: &Path,
    base: &JobSpec,
    model: &Model,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Job>> {
    let name = batch.display().to_string();
    let text = std::fs::read_to_string(batch).map_err(|error| io_error(&name, error))?;
    let first_seed = base.settings.seed.unwrap_or_else(random_seed);
    let mut jobs = Vec::new();
    let mut outputs = BTreeSet::new();
    let lines = text.lines().enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{name} line {}", index + 1);
        let mut base = base.clone();
        base.settings.seed = Some(first_seed.wrapping_add(index as u64));
        let (spec, file) = line_of(line, index, &base).with_context(place)?;
        let job = spec.job_unless(model, cancelled).with_context(place)?;
        let job = job.with_output(Output::File(folder.join(file)));
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

/// What a line asks for, and the name of its output.
fn line_of(line: &str, index: usize, base: &JobSpec) -> Result<(JobSpec, PathBuf)> {
    let line: Line = serde_json::from_str(line)?;
    let file = match &line.out {
        Some(out) => inside(out)?,
        None => format!("{:04}.png", index + 1).into(),
    };
    Ok((line.spec(base)?, file))
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
