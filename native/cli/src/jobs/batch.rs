//! The jobs of a `--batch` file.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use x2i_engine::job::random_seed;
use x2i_engine::output::{check_extension, create_folder};
use x2i_engine::{JobSpec, Model, Output, Record};

use super::entries::{Entry, entries};
use super::line::Line;
use super::plan::{CheckedLine, Plan};
use super::text;

/// The largest batch file, in bytes; `data:` URLs count.
const MAX_BATCH_FILE: u64 = 64 << 20;

/// The checked entries of a batch file. Images go into `folder`; `base` has the settings of the flags.
///
/// # Errors
/// For a line that can't be used; the message names it.
pub fn read(batch: &Path, folder: &Path, base: &JobSpec, model: &Model) -> Result<Plan> {
    let name = batch.display().to_string();
    let text = text::read(batch, MAX_BATCH_FILE)?;
    let given_seed = base.settings.seed;
    let first_seed = given_seed.unwrap_or_else(random_seed);
    let mut plan = Plan::default();
    let mut outputs = BTreeSet::new();
    for Entry { place, index, line } in entries(&text).with_context(|| name.clone())? {
        let place = format!("{name} {place}");
        let line = line.with_context(|| place.clone())?;
        let output = output(&line, index, folder).with_context(|| place.clone())?;
        if !outputs.insert(output.clone()) {
            let output = output.display();
            bail!("{place}: {output} is also the output of an earlier line");
        }
        let mut base = base.clone();
        base.settings.seed = Some(first_seed.wrapping_add(index as u64));
        let seed = line.seed(given_seed.and(base.settings.seed));
        let outline = line.spec(&base).and_then(|spec| Ok(spec.outline(model)?));
        let line = CheckedLine {
            outline: outline.with_context(|| place.clone())?,
            place,
            seed,
        };
        plan.push(line, Output::File(output));
    }
    if plan.is_empty() {
        bail!("{name} has no lines");
    }
    create_folder(folder).context("-o")?;
    Ok(plan)
}

/// The file of a line's image. A batch file may come from others, so it must not replace what x2i did
/// not make.
fn output(line: &Line, index: usize, folder: &Path) -> Result<PathBuf> {
    let file = match &line.out {
        Some(out) => inside(out)?,
        None => format!("{:04}.png", index + 1).into(),
    };
    check_extension(&file).context("out")?;
    let path = folder.join(file);
    if path.symlink_metadata().is_ok() && Record::read(&path).is_err() {
        let shown = path.display();
        bail!("out: {shown} is there and not an image of x2i; move it, or name another file");
    }
    Ok(path)
}

/// The path of `out`. A batch file may come from others, so it must not write outside of the folder.
fn inside(out: &str) -> Result<PathBuf> {
    let path = PathBuf::from(out);
    let mut parts = path.components();
    if out.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
        bail!("out: `{out}` must be a file name inside the folder -o");
    }
    let path = path.components().collect(); // `a//b.png` is `a/b.png`
    Ok(path)
}
