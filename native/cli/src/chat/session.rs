//! The session file: a conversation on disk, which can be continued later.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use x2i_core::png::PartRecord;
use x2i_core::{Part, Turn};
use x2i_engine::files::io_error;
use x2i_engine::media::{self, Reading};
use x2i_engine::{Kind, Output};

/// The version of the file format.
const FORMAT: u32 = 1;
/// The largest file that is read, in bytes: a larger one is surely another file.
const MAX_BYTES: u64 = 64 << 20;

/// One turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// The parts of the prompt.
    pub parts: Vec<PartRecord>,
    /// The LLM's answer.
    pub answer: String,
    /// The path of the image.
    pub picture: String,
    /// The seed of its noise.
    pub seed: u64,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    model: String,
    turns: Vec<TurnRecord>,
}

/// A conversation, and the path of its file.
pub struct Session {
    path: Option<PathBuf>,
    file: File,
    /// The turns as the LLM reads them.
    turns: Vec<Turn>,
    saved: bool,
}

impl Session {
    /// Reads the conversation from a file, or begins one if there is no file. `reading` has the model's
    /// sampling of videos.
    ///
    /// # Errors
    /// When the file is not a session file, is of another model, or names an input file that is missing
    /// or changed.
    pub fn open(path: Option<&Path>, model: &str, reading: &Reading) -> Result<Self> {
        let mut session = Self {
            path: path.map(Path::to_owned),
            file: File {
                format: FORMAT,
                model: model.to_owned(),
                turns: vec![],
            },
            turns: vec![],
            saved: true,
        };
        let Some(path) = path.filter(|path| path.exists()) else {
            if let Some(path) = path {
                Output::File(path.to_owned()).check()?;
            }
            return Ok(session);
        };
        session.file = read(path, model)?;
        for record in &session.file.turns {
            let parts = record.parts.iter().map(|part| read_again(part, reading));
            session.turns.push(Turn {
                parts: parts.collect::<Result<_>>()?,
                answer: record.answer.clone(),
            });
        }
        Ok(session)
    }

    /// All turns, oldest first.
    pub fn turns(&self) -> &[TurnRecord] {
        &self.file.turns
    }

    /// All turns as the LLM reads them, oldest first.
    pub fn conversation(&self) -> &[Turn] {
        &self.turns
    }

    /// The file's name without its extension, else `chat`.
    pub fn stem(&self) -> String {
        let stem = self.path.as_deref().and_then(Path::file_stem);
        stem.map_or("chat".into(), |stem| stem.to_string_lossy().into_owned())
    }

    /// True when there are turns and no file holds them.
    pub fn is_unsaved(&self) -> bool {
        !self.saved && !self.file.turns.is_empty()
    }

    /// Adds a turn, and writes the file if there is one.
    ///
    /// # Errors
    /// [`x2i_core::Error::Io`] naming the file.
    pub fn push(&mut self, record: TurnRecord, parts: Vec<Part>) -> Result<()> {
        self.turns.push(Turn {
            parts,
            answer: record.answer.clone(),
        });
        self.file.turns.push(record);
        self.write()
    }

    /// Removes and returns the last turn, and writes the file if there is one. `None` without turns.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn undo(&mut self) -> Result<Option<TurnRecord>> {
        self.turns.pop();
        let undone = self.file.turns.pop();
        if undone.is_some() {
            self.write()?;
        }
        Ok(undone)
    }

    /// Writes the conversation: to `path`, if given, from now on.
    ///
    /// # Errors
    /// As [`push`](Self::push), and when no file was named.
    pub fn save_as(&mut self, path: Option<PathBuf>) -> Result<&Path> {
        if let Some(path) = path {
            let before = self.path.replace(path);
            if let Err(error) = self.write() {
                self.path = before;
                return Err(error);
            }
        } else {
            self.write()?;
        }
        match &self.path {
            Some(path) => Ok(path),
            None => bail!("/save: needs a file, as in: /save robots.json"),
        }
    }

    fn write(&mut self) -> Result<()> {
        self.saved = false;
        if let Some(path) = &self.path {
            let json = serde_json::to_string_pretty(&self.file)? + "\n";
            Output::File(path.clone()).write(json.as_bytes())?;
            self.saved = true;
        }
        Ok(())
    }
}

/// Reads the part of a record again.
fn read_again(record: &PartRecord, reading: &Reading) -> Result<Part> {
    let sampling = reading.sampling;
    let (kind, file, sha256, sampling) = match record {
        PartRecord::Text(text) => return Ok(Part::Text(text.clone())),
        PartRecord::Image { file, sha256 } => (Kind::Image, file, sha256, sampling),
        PartRecord::Video { file, sha256, fps } => (Kind::Video, file, sha256, sampling.at(*fps)),
        PartRecord::Audio { file, sha256 } => (Kind::Audio, file, sha256, sampling),
    };
    let reading = Reading {
        sampling,
        ..*reading
    };
    let input = media::read(kind, Path::new(file), reading)?;
    if input.sha256 != *sha256 {
        bail!("{file}: is {kind}, but not the one of this conversation (its SHA-256 differs)");
    }
    Ok(input.value)
}

fn read(path: &Path, model: &str) -> Result<File> {
    let name = path.display().to_string();
    let bytes = path
        .metadata()
        .map_err(|error| io_error(&name, error))?
        .len();
    if bytes > MAX_BYTES {
        bail!("{name}: has {bytes} bytes; a session file has at most {MAX_BYTES}");
    }
    let json = std::fs::read(path).map_err(|error| io_error(&name, error))?;
    let file: File = serde_json::from_slice(&json)
        .with_context(|| format!("{name}: is not a session file of x2i chat"))?;
    if file.format != FORMAT {
        bail!(
            "{name}: has format {}, this x2i reads format {FORMAT}",
            file.format
        );
    }
    if file.model != model {
        bail!(
            "{name}: is a conversation with the model `{}`, this is `{model}`; choose with --model",
            file.model
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use x2i_core::video::sampling::Sampling;

    use super::*;

    fn open(path: Option<&Path>) -> Result<Session> {
        Session::open(path, "emoji", &Sampling::Even { fps: 1.0 }.into())
    }

    fn record(words: &str) -> TurnRecord {
        TurnRecord {
            parts: vec![PartRecord::Text(words.into())],
            answer: format!("{words}!"),
            picture: "a.png".into(),
            seed: 7,
        }
    }

    fn say(session: &mut Session, words: &str) {
        let parts = vec![Part::Text(words.into())];
        session.push(record(words), parts).unwrap();
    }

    #[test]
    fn a_conversation_goes_on_where_its_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let mut session = open(Some(&path)).unwrap();
        for words in ["one", "two", "three"] {
            say(&mut session, words);
        }
        assert_eq!(session.undo().unwrap(), Some(record("three")));
        let again = open(Some(&path)).unwrap();
        assert_eq!(again.turns(), [record("one"), record("two")]);
        assert_eq!(again.conversation(), session.conversation());
        assert_eq!(again.conversation()[1].answer, "two!");
        assert_eq!(again.stem(), "talk");
    }

    #[test]
    fn nothing_is_saved_until_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = open(None).unwrap();
        assert!(!session.is_unsaved());
        say(&mut session, "one");
        assert!(session.is_unsaved());
        assert!(session.save_as(None).is_err());
        let nowhere = folder.path().join("none/a.json");
        assert!(session.save_as(Some(nowhere)).is_err());
        session.save_as(Some(folder.path().join("a.json"))).unwrap();
        assert!(!session.is_unsaved());
    }

    #[test]
    fn another_models_file_or_none_at_all_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            format!("{:#}", open(Some(&path)).err().unwrap())
        };
        assert!(refused("{}").contains("is not a session file"));
        assert!(refused(r#"{"format":9,"model":"emoji","turns":[]}"#).contains("format 9"));
        assert!(refused(r#"{"format":1,"model":"other","turns":[]}"#).contains("`other`"));
    }
}
