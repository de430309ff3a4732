//! Where a converted model goes: a new folder, or into an old one, of which only its own files are
//! replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use x2i_engine::files::{Stage, folder_of, is_converted, recover, stranger, sweep};

use crate::flags::ConvertArgs;
use crate::terminal::Display;

/// The files of every converted model.
const FILES: [&str; 6] = [
    "align_net.gguf",
    "encoder.gguf",
    "flux.gguf",
    "model.json",
    "tokenizer.json",
    "vae.gguf",
];

/// Checks that the destination is free or a model folder that may be replaced, and outside of the
/// source. Ends a conversion that was killed, and removes what killed ones have left. Returns an empty
/// folder for the model.
///
/// # Errors
/// When it is neither, naming it; before anything is written.
pub(super) fn stage(args: &ConvertArgs) -> Result<Stage> {
    let (source, destination) = (&args.source, &args.destination);
    let parent = folder_of(destination);
    let shown = destination.display();
    let full_parent = parent
        .canonicalize()
        .with_context(|| format!("{}: folder not found", parent.display()))?;
    let full = destination.canonicalize().unwrap_or_else(|_| {
        let name = destination.file_name().unwrap_or_default();
        full_parent.join(name)
    });
    let full_source = source
        .canonicalize()
        .with_context(|| source.display().to_string())?;
    if full.starts_with(&full_source) || full_source.starts_with(&full) {
        bail!(
            "{shown}: must be outside of the source {}",
            source.display()
        );
    }
    sweep(&full_parent);
    let stage = match destination.symlink_metadata() {
        Err(_) => Stage::beside(destination),
        Ok(_) => {
            check_old(destination, args)?;
            Stage::inside(destination)
        }
    };
    stage.with_context(|| format!("{shown}: can't be written"))
}

/// Checks a destination that exists.
fn check_old(destination: &Path, args: &ConvertArgs) -> Result<()> {
    let shown = destination.display();
    if destination.is_dir() {
        sweep(destination);
        let recovered =
            recover(destination).with_context(|| format!("{shown}: can't be written"))?;
        let warning = "a conversion was killed while it replaced the model; it is now complete";
        let display = Display::choose(args.quiet, false);
        display.warn(recovered.then(|| format!("{shown}: {warning}")));
    }
    if !args.force {
        bail!("{shown}: exists; replace it with --force");
    }
    let entries = fs::read_dir(destination);
    let is_empty = entries
        .with_context(|| format!("{shown}: is not a folder"))?
        .next()
        .is_none();
    if !is_empty && !is_converted(destination) {
        bail!(
            "{shown}: is not a model folder (it has no model.json of x2i), so --force does not replace it"
        );
    }
    let new = BTreeSet::from(FILES.map(str::to_owned));
    if let Some(name) = stranger(destination, &new).filter(|_| !is_empty) {
        let path = destination.join(name);
        bail!(
            "{}: is not a file of the old model, so --force does not replace it; move it",
            path.display()
        );
    }
    Ok(())
}

/// Puts the finished folder in place.
///
/// # Errors
/// When the destination can't be written, or another conversion has made it meanwhile.
pub(super) fn put_in_place(stage: Stage, destination: &Path) -> Result<()> {
    let shown = destination.display();
    stage.place().with_context(|| match destination.exists() {
        true => format!("{shown}: is not replaced"),
        false => format!("{shown}: can't be written"),
    })
}
