//! Well-formed models, of which each case changes one file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::run::{Limits, Run};

/// What happens to a file of a model.
pub enum Change {
    Write(Vec<u8>),
    Remove,
    Folder,
    Fifo,
    LinkToItself,
}

/// A well-formed model.
pub struct Base {
    /// The files of the folder: linked, or written.
    pub files: Vec<(String, Source)>,
    /// The image that it paints.
    image: OnceLock<Vec<u8>>,
}

pub enum Source {
    /// Of the repository.
    Link(PathBuf),
    /// Made here.
    Bytes(Vec<u8>),
}

impl Base {
    pub fn new(folders: &[(&str, &str)], written: Vec<(String, Source)>) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = written;
        for (inside, folder) in folders {
            let folder = root
                .join(folder)
                .canonicalize()
                .expect("the folder is there");
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .expect("a name")
                    .to_owned();
                let wanted = [".json", ".safetensors", ".bin", ".txt", ".gguf"];
                if wanted.iter().any(|ending| name.ends_with(ending))
                    && name != "golden.safetensors"
                {
                    files.push((format!("{inside}{name}"), Source::Link(path)));
                }
            }
        }
        Self {
            files,
            image: OnceLock::new(),
        }
    }

    /// Writes the model with a changed file.
    pub fn write(&self, folder: &Path, changed: &str, change: &Change) {
        for (name, source) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            if name == changed {
                continue;
            }
            match source {
                Source::Link(original) => symlink(original, &path).expect("a link"),
                Source::Bytes(bytes) => fs::write(&path, bytes).expect("a file"),
            }
        }
        let path = folder.join(changed);
        match change {
            Change::Write(bytes) => fs::write(&path, bytes).expect("a file"),
            Change::Remove => {}
            Change::Folder => fs::create_dir(&path).expect("a folder"),
            Change::Fifo => {
                let made = Command::new("mkfifo").arg(&path).status();
                assert!(made.is_ok_and(|made| made.success()), "a FIFO");
            }
            Change::LinkToItself => symlink(&path, &path).expect("a link"),
        }
    }

    /// The paths of its files in the folder.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    pub fn bytes(&self, file: &str) -> Vec<u8> {
        let found = self.files.iter().find(|(name, _)| name == file);
        match &found.unwrap_or_else(|| panic!("{file} is in the base")).1 {
            Source::Link(path) => fs::read(path).expect("a file"),
            Source::Bytes(bytes) => bytes.clone(),
        }
    }

    pub fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&self.bytes(file)).expect("JSON")
    }

    /// Whether `png` shows what the unchanged model paints.
    pub fn is_image(&self, png: &Path) -> bool {
        let pixels = |path: &Path| image::open(path).expect("a PNG").to_rgb8().into_raw();
        let expected = self.image.get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let (model, output) = (folder.path().join("model"), folder.path().join("out.png"));
            self.write(&model, "none", &Change::Remove);
            let run = paint(&model, &output);
            assert!(run.succeeded(), "the base paints: {}", run.stderr);
            pixels(&output)
        });
        pixels(png) == *expected
    }
}

/// Paints one prompt with a model.
pub fn paint(model: &Path, output: &Path) -> Run {
    let [model, output] = [model, output].map(|path| path.display().to_string());
    Run::of(
        &[
            "generate",
            "a red apple",
            "--model",
            &model,
            "--device",
            "cpu",
            "--steps",
            "1",
            "--size",
            "64x64",
            "--seed",
            "7",
            "-q",
            "-o",
            &output,
        ],
        Limits::default(),
    )
}
