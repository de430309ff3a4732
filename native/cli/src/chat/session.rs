//! The session file: a conversation on disk, which can be continued later. One chat at a time has it.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x2i_core::png::PartRecord;
use x2i_core::{Part, Turn};
use x2i_engine::files::{LockFile, folder_of, hex, io_error, open_regular};
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
    /// Keeps other chats from the file.
    lock: Option<LockFile>,
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
    /// When another chat has the file; when it is not a session file, is of another model, or names an
    /// input file that is missing or changed.
    pub fn open(path: Option<&Path>, model: &str, reading: &Reading) -> Result<Self> {
        let mut session = Self {
            path: path.map(Path::to_owned),
            lock: None,
            file: File {
                format: FORMAT,
                model: model.to_owned(),
                turns: vec![],
            },
            turns: vec![],
            saved: true,
        };
        let Some(path) = path else {
            return Ok(session);
        };
        check(path)?;
        session.lock = Some(lock(path)?);
        if !path.exists() {
            return Ok(session);
        }
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
    /// As [`push`](Self::push), when no file was named, when another chat has the file, and when it is
    /// there but is not a session file.
    pub fn save_as(&mut self, path: Option<PathBuf>) -> Result<&Path> {
        match path {
            Some(path) if !self.is_at(&path) => self.move_to(path)?,
            _ => self.write()?,
        }
        match &self.path {
            Some(path) => Ok(path),
            None => bail!("/save: needs a file, as in: /save robots.json"),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        let same = |own: &PathBuf| lock_path(own) == lock_path(path);
        self.path.as_ref().is_some_and(same)
    }

    fn move_to(&mut self, path: PathBuf) -> Result<()> {
        check(&path)?;
        let lock = lock(&path)?;
        if path.exists() {
            let reason = "it is not replaced; choose another name";
            parse(&path).context(reason)?;
        }
        let before = self.path.replace(path);
        if let Err(error) = self.write() {
            self.path = before;
            return Err(error);
        }
        self.lock = Some(lock);
        Ok(())
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
    // Hashed before it is decoded: the session file may come from others.
    let path = Path::new(file);
    if media::hash(kind, path)? != *sha256 {
        bail!("{file}: is not the file of this conversation (its SHA-256 differs)");
    }
    let reading = Reading {
        sampling,
        ..*reading
    };
    Ok(media::read(kind, path, reading)?.value)
}

/// Checks that a session file can be written: it is a regular file, or there is none.
fn check(path: &Path) -> Result<()> {
    if path.exists() {
        open_regular(path)?;
    }
    Ok(Output::check_all([&Output::File(path.to_owned())])?)
}

/// Takes the lock of a session file.
fn lock(path: &Path) -> Result<LockFile> {
    let name = path.display();
    let lock = LockFile::try_take(&lock_path(path));
    let lock = lock.map_err(|error| io_error(&name.to_string(), error))?;
    lock.with_context(|| {
        format!("{name}: another chat has this session; end that one, or choose another file")
    })
}

/// The lock of a session file, which is replaced by every turn and so can't be locked itself. All
/// paths of one file have the same lock.
fn lock_path(path: &Path) -> PathBuf {
    let folder = folder_of(path);
    let full = path.canonicalize().unwrap_or_else(|_| {
        let folder = folder.canonicalize();
        let folder = folder.unwrap_or_else(|_| folder_of(path).to_owned());
        folder.join(path.file_name().unwrap_or_default())
    });
    let name = full.file_name().unwrap_or_default();
    let hash = hex(&Sha256::digest(name.as_encoded_bytes()));
    folder_of(&full).join(format!(".x2i-{}.lock", &hash[..16]))
}

fn read(path: &Path, model: &str) -> Result<File> {
    let name = path.display();
    let file = parse(path)?;
    if file.model != model {
        bail!(
            "{name}: is a conversation with the model `{}`, this is `{model}`; choose with --model",
            file.model
        );
    }
    Ok(file)
}

/// Reads a session file of any model.
fn parse(path: &Path) -> Result<File> {
    let (name, file, bytes) = open_regular(path)?;
    if bytes > MAX_BYTES {
        bail!("{name}: has {bytes} bytes; a session file has at most {MAX_BYTES}");
    }
    let mut json = vec![];
    let read = file.take(MAX_BYTES).read_to_end(&mut json);
    read.map_err(|error| io_error(&name, error))?;
    let file: File = serde_json::from_slice(&json)
        .with_context(|| format!("{name}: is not a session file of x2i chat"))?;
    if file.format != FORMAT {
        bail!(
            "{name}: has format {}, this x2i reads format {FORMAT}",
            file.format
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
        let conversation = session.conversation().to_vec();
        drop(session);
        let again = open(Some(&path)).unwrap();
        assert_eq!(again.turns(), [record("one"), record("two")]);
        assert_eq!(again.conversation(), conversation);
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
    fn a_session_file_has_one_chat_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.v1", "a.v2"].map(|name| folder.path().join(name));
        let mut first = open(Some(&a)).unwrap();
        say(&mut first, "one");
        let mut other = open(Some(&b)).unwrap();
        for path in [a.clone(), folder.path().join(".").join("a.v1")] {
            let refused = open(Some(&path)).err().unwrap().to_string();
            assert!(
                refused.contains("another chat has this session"),
                "{refused}"
            );
            let refused = other.save_as(Some(path)).unwrap_err().to_string();
            assert!(refused.contains("another chat"), "{refused}");
        }
        first.save_as(Some(folder.path().join("./a.v1"))).unwrap();
        first.save_as(Some(folder.path().join("c"))).unwrap();
        other.save_as(Some(a)).unwrap();
        drop((first, other));
        let names = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "a.v1 and c, and no lock");
    }

    #[test]
    fn a_file_that_is_no_session_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = open(None).unwrap();
        say(&mut session, "one");
        for (name, text) in [("bashrc", "alias a=b"), ("model.json", "{}"), ("empty", "")] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let refused = format!("{:#}", session.save_as(Some(path.clone())).unwrap_err());
            assert!(
                refused.contains(name) && refused.contains("not replaced"),
                "{refused}"
            );
            assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        }
        let path = folder.path().join("old.json");
        std::fs::write(&path, r#"{"format":1,"model":"other","turns":[]}"#).unwrap();
        session.save_as(Some(path.clone())).unwrap();
        drop(session);
        assert_eq!(open(Some(&path)).unwrap().turns().len(), 1);
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
