//! One malformed input, and what the program must do with it.

use std::path::Path;

use crate::base::{Base, Change, paint};
use crate::run::{Limits, Run};

/// A malformed input.
pub struct Case {
    /// The kind, a row of the table.
    pub kind: &'static str,
    /// What was done to it.
    pub what: String,
    pub input: Input,
    pub expect: Expect,
}

pub enum Input {
    /// A model folder in which one file is changed.
    Model {
        base: &'static Base,
        /// The changed file, a path in the folder.
        file: String,
        change: Change,
        /// A refusal holds one of these: the key or tensor. Empty: the file is enough.
        names: Vec<String>,
    },
    /// A file for `flag` of the embedded model.
    Media {
        flag: &'static str,
        name: String,
        bytes: Vec<u8>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// An image, or a refusal.
    Either,
    /// A refusal: an image would be a wrong one.
    Refused,
}

/// How a case ended.
pub enum Outcome {
    Refused,
    /// An image; for a model whether it is the one of the unchanged model.
    Painted {
        same: Option<bool>,
    },
    /// What must not happen, in a sentence.
    Fault(String),
}

impl Case {
    pub fn run(&self) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let outcome = match &self.input {
            Input::Model {
                base,
                file,
                change,
                names,
            } => model(folder.path(), base, file, change, names),
            Input::Media { flag, name, bytes } => media(folder.path(), flag, name, bytes),
        };
        match outcome {
            Ok(Outcome::Painted { .. }) if self.expect == Expect::Refused => {
                Outcome::Fault("paints, and should be refused".into())
            }
            Ok(outcome) => outcome,
            Err(fault) => Outcome::Fault(fault),
        }
    }
}

fn model(
    folder: &Path,
    base: &Base,
    file: &str,
    change: &Change,
    names: &[String],
) -> Result<Outcome, String> {
    let model = folder.join("model");
    base.write(&model, file, change);
    let limits = Limits::default();
    let painted = paint(&model, &folder.join("out.png"));
    painted.is_clean()?;
    let accepted = painted.succeeded();
    if !accepted {
        // A wrong number of a config shows in a tensor of another file.
        let file_name = |file: &str| file.rsplit('/').next().unwrap_or(file).to_owned();
        let mut files: Vec<String> = match names.is_empty() {
            true => vec![],
            false => base.file_names().map(file_name).collect(),
        };
        files.extend([file_name(file), "file not found".into()]);
        painted.names_one(&files)?;
        if !names.is_empty() {
            painted.names_one(names)?;
        }
        if folder.join("out.png").exists() {
            return Err("is refused, and leaves an image".into());
        }
    }
    let shown = model.display().to_string();
    let doctor = Run::of(&["doctor", "--model", &shown], limits);
    doctor.is_clean()?;
    if doctor.succeeded() && !accepted {
        return Err(format!(
            "doctor accepts it, generate does not: {}",
            painted.stderr.trim()
        ));
    }
    let converted = folder.join("converted").display().to_string();
    let convert = Run::of(&["convert", &shown, &converted], limits);
    convert.is_clean()?;
    if convert.succeeded() && !accepted {
        return Err(format!(
            "convert accepts it, generate does not: {}",
            painted.stderr.trim()
        ));
    }
    Ok(match accepted {
        true => Outcome::Painted {
            same: Some(base.is_image(&folder.join("out.png"))),
        },
        false => Outcome::Refused,
    })
}

fn media(folder: &Path, flag: &str, name: &str, bytes: &[u8]) -> Result<Outcome, String> {
    let file = folder.join(name);
    std::fs::write(&file, bytes).expect("the input is written");
    let (file, output) = (file.display().to_string(), folder.join("out.png"));
    let output = output.display().to_string();
    let run = Run::of(
        &[
            "generate", flag, &file, "--device", "cpu", "--steps", "1", "--seed", "7", "-q", "-o",
            &output,
        ],
        Limits::default(),
    );
    run.is_clean()?;
    match run.succeeded() {
        true => Ok(Outcome::Painted { same: None }),
        false => run.names_one(&[name.to_owned()]).map(|()| Outcome::Refused),
    }
}
