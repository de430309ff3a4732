//! `x2i models`: lists the models in Hugging Face's cache with their sizes, and deletes them.

use std::io::Write;

use anyhow::{Context, Result, bail};
use serde_json::json;
use x2i_engine::host::human_bytes;
use x2i_engine::models::hub::{Cache, CachedModel, list, remove};

use crate::flags::{ModelsArgs, ModelsCommand, RmArgs};
use crate::terminal::table::{columns, row};
use crate::terminal::{printable, printable_json};

/// The digits of a commit that are shown.
const COMMIT: usize = 12;

/// Runs `x2i models`.
///
/// # Errors
/// When the cache can't be read, or when it has no such model.
pub fn run(args: &ModelsArgs) -> Result<()> {
    let cache = Cache::of_user().context("HF_HOME is not set, and there is no home folder")?;
    match &args.command {
        None => tell(&cache, args.json),
        Some(ModelsCommand::Rm(rm)) => delete(&cache, rm),
    }
}

fn tell(cache: &Cache, is_json: bool) -> Result<()> {
    let models = list(cache)?;
    let bytes: u64 = models
        .iter()
        .map(|model| model.bytes + model.incomplete)
        .sum();
    let mut out = std::io::stdout();
    if is_json {
        let facts = json!({"cache": cache.root(), "bytes": bytes, "models": models});
        writeln!(out, "{}", printable_json(&format!("{facts:#}")))?;
        return Ok(());
    }
    let root = printable(&cache.root().display().to_string());
    match models.len() {
        0 => writeln!(out, "{root}: no models")?,
        count => {
            let noun = if count == 1 { "model" } else { "models" };
            writeln!(out, "{root}: {count} {noun}, {}", human_bytes(bytes))?;
            let rows: Vec<Vec<String>> = models.iter().flat_map(rows).collect();
            out.write_all(columns(&rows).as_bytes())?;
        }
    }
    Ok(())
}

/// A row a revision, and one for what is not complete.
fn rows(model: &CachedModel) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for revision in &model.revisions {
        let commit: String = revision.commit.chars().take(COMMIT).collect();
        rows.push(row([
            &model.name,
            &revision.refs.join(", "),
            &commit,
            &format!("{} files", revision.files),
            &human_bytes(revision.bytes),
        ]));
    }
    if model.incomplete > 0 || rows.is_empty() {
        let incomplete = human_bytes(model.incomplete);
        rows.push(row([&model.name, "", "", "incomplete", &incomplete]));
    }
    rows
}

fn delete(cache: &Cache, args: &RmArgs) -> Result<()> {
    for model in &args.models {
        if let Some(pattern) = model.pattern() {
            bail!(
                "{model}:{pattern}: single files are not deleted; name the model, or a revision of it"
            );
        }
        let freed = remove(cache, model)?;
        writeln!(
            std::io::stdout(),
            "{model}: deleted, {} freed",
            human_bytes(freed)
        )?;
    }
    Ok(())
}
