//! Lists the files of the embedded model, so that the crate builds with and without them.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Read at run time: with `env!`, a shared target folder would use the files of another checkout.
    let folder = variable("CARGO_MANIFEST_DIR")?.join("../../core/models/emoji");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    if env::var_os("CARGO_FEATURE_EMBEDDED_MODEL").is_some() {
        files = model_files(&folder)?;
        if files.is_empty() {
            println!(
                "cargo::warning=core/models/emoji has no model.json: x2i is built without its embedded model, \
                 and `x2i generate` will ask for --model"
            );
        }
    }
    let mut list = String::from("&[\n");
    for (name, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let path = path.canonicalize()?;
        list.push_str(&format!(
            "    ({name:?}, include_bytes!({:?})),\n",
            path.display().to_string()
        ));
    }
    list.push_str("]\n");
    fs::write(variable("OUT_DIR")?.join("embedded_files.rs"), list)
}

/// A path from an environment variable that cargo sets.
fn variable(name: &str) -> io::Result<PathBuf> {
    let value = env::var_os(name).ok_or_else(|| io::Error::other(format!("{name} is not set")))?;
    Ok(value.into())
}

/// `model.json` and the files next to it; empty when there is no `model.json`.
fn model_files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    if !folder.join("model.json").is_file() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        if name == "model.json" || name == "tokenizer.json" || name.ends_with(".gguf") {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}
