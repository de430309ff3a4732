//! A data set: its sources, the samples that can be used, and reading one.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Map, Value};
use x2i_core::{Error, Result};

use super::entry::{Entry, Form, Place};
use super::file::DataFile;
use super::patterns::expand;
use super::problem::{Note, Problem};
use super::sample::{Picture, Sample, Task, unread};
use super::{folder, jsonl, shard, text};

/// The largest picture file, in bytes.
const MOST_PICTURE: u64 = 256 << 20;
/// Captions of more words are told of: encoders read 512 tokens.
const LONG_CAPTION: usize = 512;

/// Where samples come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// WebDataset shards: paths and URLs joined by `::`, with braces, `*` and `?`.
    Shards(String),
    /// A folder of pictures with caption files; `caption` serves for pictures without one.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The caption of pictures without a file.
        caption: Option<String>,
    },
    /// A file with one JSON object a line.
    Jsonl(PathBuf),
}

/// The names of the fields that are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// Of the caption; without one `caption_en`, and in JSONL and folders also `caption` and `text`.
    pub caption: Option<String>,
    /// Of the instruction; without one `style_zh` and `instruction`.
    pub instruction: Option<String>,
}

/// One source of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSpec {
    /// Where samples come from.
    pub source: DataSource,
    /// How often each of them is taken in an epoch.
    pub repeats: usize,
    /// The names of fields.
    pub keys: Keys,
}

impl DataSpec {
    /// A source that is taken once an epoch, with the usual fields.
    pub fn new(source: DataSource) -> Self {
        Self {
            source,
            repeats: 1,
            keys: Keys::default(),
        }
    }
}

/// Hears of every file that is gone through, and how many samples were found in all; may end it.
pub type OnFile<'a> = dyn FnMut(&str, usize) -> ControlFlow<()> + 'a;

/// A data set whose samples are known.
pub struct Dataset {
    task: Task,
    files: Vec<DataFile>,
    sources: Vec<Source>,
    entries: Vec<Entry>,
    /// How many of them are pairs with an instruction.
    pairs: usize,
    notes: Vec<Note>,
}

/// What of a source is needed to read a sample.
struct Source {
    form: Form,
    caption: Vec<String>,
    instruction: Vec<String>,
    repeats: usize,
}

/// The caption and the fields of a sample.
#[derive(Debug, Default)]
struct Texts {
    caption: Option<String>,
    instruction: Option<String>,
    fields: Map<String, Value>,
}

impl Dataset {
    /// Goes through all files once; what can't be used is in [`notes`](Self::notes).
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Io`] or [`Error::Config`] for what can't be opened;
    /// [`Error::Config`] when no sample is left; [`Error::Cancelled`].
    pub fn open(specs: &[DataSpec], task: Task, on_file: &mut OnFile<'_>) -> Result<Self> {
        let mut set = Self {
            task,
            files: vec![],
            sources: vec![],
            entries: vec![],
            pairs: 0,
            notes: vec![],
        };
        for spec in specs {
            let number = set.sources.len() as u32;
            set.sources.push(Source::of(spec));
            match &spec.source {
                DataSource::Shards(patterns) => {
                    for name in expand(patterns)? {
                        set.add_shard(DataFile::open(&name)?, number, on_file)?;
                    }
                }
                DataSource::Folder { path, caption } => {
                    let entries = folder::read(path, caption.as_deref(), number)?;
                    set.check(&path.display().to_string(), entries)?;
                }
                DataSource::Jsonl(path) => {
                    let file = DataFile::open_path(path)?;
                    let (entries, notes) = jsonl::read(&file, set.files.len() as u32, number)?;
                    let name = file.name().to_owned();
                    set.files.push(file);
                    set.notes.extend(notes);
                    set.check(&name, entries)?;
                }
            }
        }
        match set.entries.is_empty() {
            true => Err(set.no_sample()),
            false => Ok(set),
        }
    }

    /// The same where everything that is wrong with it is an error.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Format`] with the first note that is no warning.
    pub fn open_strict(specs: &[DataSpec], task: Task, on_file: &mut OnFile<'_>) -> Result<Self> {
        let set = Self::open(specs, task, on_file)?;
        let mut notes = set.notes.iter().filter(|note| !note.problem.is_warning());
        match notes.next() {
            Some(note) => Err(set.refused(note)),
            None => Ok(set),
        }
    }

    fn add_shard(&mut self, file: DataFile, source: u32, on_file: &mut OnFile<'_>) -> Result<()> {
        let number = self.files.len() as u32;
        let name = file.name().to_owned();
        let mut found = Found {
            name: &name,
            entries: vec![],
            pairs: 0,
            notes: vec![],
        };
        self.files.push(file);
        let file = &self.files[number as usize];
        let (task, files, sources) = (self.task, &self.files, &self.sources);
        let notes = shard::read(file, number, source, &mut |entry| {
            found.check(task, files, sources, entry)
        })?;
        let Found {
            entries,
            pairs,
            notes: others,
            ..
        } = found;
        self.pairs += pairs;
        self.entries.extend(entries);
        self.notes.extend(notes.into_iter().chain(others));
        match on_file(&name, self.entries.len()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }

    /// Keeps the samples that the task can use, and notes the others.
    fn check(&mut self, name: &str, entries: Vec<Entry>) -> Result<()> {
        let mut found = Found {
            name,
            entries: vec![],
            pairs: 0,
            notes: vec![],
        };
        for entry in entries {
            found.check(self.task, &self.files, &self.sources, entry)?;
        }
        self.pairs += found.pairs;
        self.entries.extend(found.entries);
        self.notes.extend(found.notes);
        Ok(())
    }

    fn no_sample(&self) -> Error {
        let reason = match self.notes.iter().find(|note| !note.problem.is_warning()) {
            Some(note) => format!("no sample can be used; the first problem: {note}"),
            None => "there is no sample".to_owned(),
        };
        Error::config("data set", reason)
    }

    fn refused(&self, note: &Note) -> Error {
        let text = note.to_string();
        let reason = text.strip_prefix(&note.file).unwrap_or(&text);
        let reason = reason.trim_start_matches([',', ':', ' ']).to_owned();
        Error::format(&note.file, reason)
    }

    /// What was found wrong, one line each.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The samples that can be used, in file order.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// False: a data set has a sample.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The samples that are a source, a target and an instruction.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// The name of a sample.
    ///
    /// # Panics
    /// For an index that it does not have.
    pub fn key(&self, index: usize) -> &str {
        &self.entries[index].key
    }

    /// How often a sample is taken in an epoch.
    ///
    /// # Panics
    /// For an index that it does not have.
    pub fn repeats(&self, index: usize) -> usize {
        self.sources[self.entries[index].source as usize].repeats
    }

    /// Reads a sample; its pictures are read, too, unless the task is distillation, and not decoded.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] when its files changed since the data set was opened.
    ///
    /// # Panics
    /// For an index that it does not have.
    pub fn sample(&self, index: usize) -> Result<Sample> {
        let entry = &self.entries[index];
        let texts = usable(self.task, &self.files, &self.sources, entry)?;
        let texts = texts.map_err(|problem| unread(&entry.key, &problem))?;
        let source = &self.sources[entry.source as usize];
        let pair = is_pair(self.task, source, &texts, entry);
        let hint = entry.hint.as_ref().filter(|_| self.task == Task::Control);
        let (picture, edited) = match self.task {
            Task::Distill => (None, None),
            Task::Control | Task::Paint => (
                self.picture(entry, chosen(self.task, entry, pair))?,
                self.picture(entry, entry.edited.as_ref().filter(|_| pair))?,
            ),
        };
        Ok(Sample {
            key: entry.key.clone(),
            caption: texts.caption,
            instruction: texts.instruction.filter(|_| pair),
            picture,
            edited,
            hint: self.picture(entry, hint)?,
            fields: texts.fields,
        })
    }

    fn picture(&self, entry: &Entry, place: Option<&Place>) -> Result<Option<Picture>> {
        let Some(place) = place else {
            return Ok(None);
        };
        let bytes = read(&self.files, place, MOST_PICTURE)?.map_err(|bytes| {
            let reason = format!("the picture of sample `{}` has {bytes} bytes", entry.key);
            Error::format("data set", reason)
        })?;
        let name = match place {
            Place::Path(path) => path.display().to_string(),
            _ => entry.key.clone(),
        };
        Ok(Some(Picture {
            name,
            bytes: bytes.into(),
        }))
    }
}

/// The samples of a file that can be used, and what was noticed of the others.
struct Found<'a> {
    name: &'a str,
    entries: Vec<Entry>,
    pairs: usize,
    notes: Vec<Note>,
}

impl Found<'_> {
    fn check(
        &mut self,
        task: Task,
        files: &[DataFile],
        sources: &[Source],
        mut entry: Entry,
    ) -> Result<()> {
        let mut note = |problem| {
            self.notes.push(Note {
                file: self.name.to_owned(),
                key: Some(entry.key.clone()),
                byte: None,
                problem,
            });
        };
        match usable(task, files, sources, &entry)? {
            Ok(texts) => {
                let words = texts.caption.as_deref().unwrap_or_default();
                let words = words.split_whitespace().count();
                if words > LONG_CAPTION {
                    note(Problem::LongCaption(words));
                }
                // A network is not asked for a text again.
                for place in [&mut entry.json, &mut entry.txt].into_iter().flatten() {
                    if let Place::Range { file, at, size } = *place
                        && files[file as usize].is_remote()
                    {
                        *place = Place::Memory(files[file as usize].read(at, size)?.into());
                    }
                }
                let pair = texts.instruction.is_some() && entry.edited.is_some();
                self.pairs += usize::from(pair);
                self.entries.push(entry);
            }
            Err(problem) => note(problem),
        }
        Ok(())
    }
}

impl Source {
    fn of(spec: &DataSpec) -> Self {
        let form = match spec.source {
            DataSource::Shards(_) => Form::Shards,
            DataSource::Folder { .. } => Form::Folder,
            DataSource::Jsonl(_) => Form::Jsonl,
        };
        let usual: &[&str] = match form {
            Form::Shards => &["caption_en"],
            Form::Folder | Form::Jsonl => &["caption_en", "caption", "text"],
        };
        let named = |key: &Option<String>, usual: &[&str]| match key {
            Some(key) => vec![key.clone()],
            None => usual.iter().map(|&key| key.to_owned()).collect(),
        };
        Self {
            form,
            caption: named(&spec.keys.caption, usual),
            instruction: named(&spec.keys.instruction, &["style_zh", "instruction"]),
            repeats: spec.repeats,
        }
    }
}

/// Whether a sample is a source and a target. In shards a `png` without an instruction may be anything; a JSONL file names
/// both, which is enough for LightControl.
fn is_pair(task: Task, source: &Source, texts: &Texts, entry: &Entry) -> bool {
    let named = task == Task::Control && source.form == Form::Jsonl;
    entry.edited.is_some() && (named || texts.instruction.is_some())
}

/// The picture that a task takes; `pair` where it is the source of one. Painting takes any.
fn chosen(task: Task, entry: &Entry, pair: bool) -> Option<&Place> {
    let any = || entry.edited.as_ref().or(entry.other.as_ref());
    match task {
        Task::Paint if !pair => entry.picture.as_ref().or_else(any),
        Task::Distill | Task::Control | Task::Paint => entry.picture.as_ref(),
    }
}

/// What a sample says, or why the task can't use it.
fn usable(
    task: Task,
    files: &[DataFile],
    sources: &[Source],
    entry: &Entry,
) -> Result<Result<Texts, Problem>> {
    if entry.leads_out {
        return Ok(Err(Problem::BadName));
    }
    let source = &sources[entry.source as usize];
    let texts = match texts(files, source, entry)? {
        Ok(texts) => texts,
        // LightControl's pictures need no text.
        Err(Problem::MissingJson) if task == Task::Control && source.form == Form::Folder => {
            Texts::default()
        }
        Err(problem) => return Ok(Err(problem)),
    };
    let pair = is_pair(task, source, &texts, entry);
    let is_told = match task {
        Task::Distill => texts.caption.is_some(),
        Task::Paint => pair || texts.caption.is_some(),
        Task::Control => true,
    };
    if !is_told {
        return Ok(Err(Problem::NoCaption));
    }
    let there = |place: &Place| match place {
        Place::Path(path) => path.is_file(),
        Place::Range { .. } | Place::Memory(_) => true,
    };
    let picture = chosen(task, entry, pair).is_some_and(there);
    let hint = task != Task::Control || entry.hint.as_ref().is_none_or(there);
    let edited = hint && (!pair || entry.edited.as_ref().is_some_and(there));
    if task != Task::Distill && !(picture && edited) {
        return Ok(Err(Problem::MissingImage));
    }
    Ok(Ok(texts))
}

/// What a sample's JSON says, or without one its caption file.
fn texts(files: &[DataFile], source: &Source, entry: &Entry) -> Result<Result<Texts, Problem>> {
    let (place, is_json) = match (&entry.json, &entry.txt) {
        (Some(json), _) => (json, true),
        (None, Some(txt)) => (txt, false),
        (None, None) => return Ok(Err(Problem::MissingJson)),
    };
    let bytes = match read(files, place, text::MOST_BYTES)? {
        Ok(bytes) => bytes,
        Err(bytes) => return Ok(Err(Problem::TooLarge(bytes))),
    };
    let parsed = match is_json {
        true => text::fields(&bytes).map(|fields| Texts {
            caption: text::field(&fields, &source.caption).map(str::to_owned),
            instruction: text::field(&fields, &source.instruction).map(str::to_owned),
            fields,
        }),
        false => text::caption(&bytes).map(|caption| Texts {
            caption: Some(caption).filter(|caption| !caption.is_empty()),
            ..Texts::default()
        }),
    };
    Ok(parsed)
}

/// The bytes of a place, or how many they are where that is more than `most`.
fn read(files: &[DataFile], place: &Place, most: u64) -> Result<Result<Vec<u8>, u64>> {
    match place {
        Place::Range { size, .. } if *size > most => Ok(Err(*size)),
        Place::Range { file, at, size } => files[*file as usize].read(*at, *size).map(Ok),
        Place::Path(path) => {
            let file = DataFile::open_path(path)?;
            match file.len() {
                len if len > most => Ok(Err(len)),
                len => file.read(0, len).map(Ok),
            }
        }
        Place::Memory(bytes) => Ok(Ok(bytes.to_vec())),
    }
}
