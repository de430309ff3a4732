//! The parts of a prompt: read from the flags, the record of a picture, or a line of a batch.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use x2i_core::png::PartRecord;
use x2i_core::video::sampling::Sampling;
use x2i_core::{ModelConfig, Part};

use crate::flags::{GenerateArgs, Given};
use crate::job::Replay;
use x2i_engine::media::{self, Input, Kind};

/// The largest prompt that is read from a file, in bytes: beyond it lies a wrong file.
const MAX_PROMPT_FILE: u64 = 16 << 20;

/// A prompt's parts, and what the metadata records of each.
#[derive(Debug, Default)]
pub struct Parts {
    /// As the model takes them.
    pub parts: Vec<Part>,
    /// As the metadata has them.
    pub records: Vec<PartRecord>,
}

impl Parts {
    /// What the flags give, beside what they leave of a replay's record: kinds that are given
    /// replace the recorded ones. What is shown comes before recorded words, words come last.
    ///
    /// # Errors
    /// For a file that can't be read, and when there are no parts.
    pub fn of_flags(
        args: &GenerateArgs,
        config: &ModelConfig,
        replay: Option<&Replay>,
    ) -> Result<Self> {
        let given = &args.parts.given;
        let mut parts = Self::default();
        if given.iter().all(|part| kind_of(part).is_some()) {
            parts.push_given(args, config)?;
            parts.push_recorded(args, config, replay)?;
        } else {
            parts.push_recorded(args, config, replay)?;
            parts.push_given(args, config)?;
        }
        if parts.parts.is_empty() {
            bail!("prompt: is missing; say what to paint, as in: x2i generate \"a red apple\"");
        }
        Ok(parts)
    }

    /// What a line of a batch asks for.
    ///
    /// # Errors
    /// As [`of_flags`](Self::of_flags), and for a line that has both a prompt and parts, or none.
    pub fn of_line(line: LineParts, args: &GenerateArgs, config: &ModelConfig) -> Result<Self> {
        let sampling = sampling(args, config, None);
        let mut parts = Self::default();
        for part in line.in_order()? {
            match part {
                LinePart::Text(text) => parts.push_text(text),
                LinePart::Image(path) => parts.push_file(Kind::Image, &path, sampling)?,
                LinePart::Video(path) => parts.push_file(Kind::Video, &path, sampling)?,
                LinePart::Audio(path) => parts.push_file(Kind::Audio, &path, sampling)?,
            }
        }
        Ok(parts)
    }

    fn push_given(&mut self, args: &GenerateArgs, config: &ModelConfig) -> Result<()> {
        for part in &args.parts.given {
            match part {
                Given::Prompt(prompt) => self.push_text(prompt_text(prompt)?),
                Given::PromptFile(file) => self.push_text(read_prompt_file(file)?),
                Given::Text(text) => self.push_text(text.clone()),
                Given::File(kind, path) => {
                    self.push_file(*kind, path, sampling(args, config, None))?;
                }
            }
        }
        Ok(())
    }

    /// The recorded parts of kinds that no flag gives.
    fn push_recorded(
        &mut self,
        args: &GenerateArgs,
        config: &ModelConfig,
        replay: Option<&Replay>,
    ) -> Result<()> {
        let Some(replay) = replay else { return Ok(()) };
        let given: Vec<Option<Kind>> = args.parts.given.iter().map(kind_of).collect();
        for record in &replay.metadata.prompt {
            let (kind, file, sha256, fps) = match record {
                PartRecord::Text(text) => {
                    if !given.contains(&None) {
                        self.push_text(text.clone());
                    }
                    continue;
                }
                PartRecord::Image { file, sha256 } => (Kind::Image, file, sha256, None),
                PartRecord::Video { file, sha256, fps } => (Kind::Video, file, sha256, Some(*fps)),
                PartRecord::Audio { file, sha256 } => (Kind::Audio, file, sha256, None),
            };
            if !given.contains(&Some(kind)) {
                let sampling = sampling(args, config, fps);
                let input = find_input(replay, kind, file, sha256, sampling)?;
                self.push(kind, file.clone(), input, sampling);
            }
        }
        Ok(())
    }

    fn push_text(&mut self, text: String) {
        self.records.push(PartRecord::Text(text.clone()));
        self.parts.push(Part::Text(text));
    }

    fn push_file(&mut self, kind: Kind, path: &Path, sampling: Sampling) -> Result<()> {
        let input = media::read(kind, path, sampling).context(kind.flag())?;
        self.push(kind, path.display().to_string(), input, sampling);
        Ok(())
    }

    fn push(&mut self, kind: Kind, file: String, input: Input<Part>, sampling: Sampling) {
        self.parts.push(input.value);
        self.records
            .push(record(kind, file, input.sha256, sampling));
    }
}

/// None for words.
fn kind_of(part: &Given) -> Option<Kind> {
    match part {
        Given::Prompt(_) | Given::PromptFile(_) | Given::Text(_) => None,
        Given::File(kind, _) => Some(*kind),
    }
}

/// The flag's rate, else the recorded one, else the model's.
fn sampling(args: &GenerateArgs, config: &ModelConfig, recorded: Option<f64>) -> Sampling {
    let sampling = config.encoder.config.video_sampling();
    match args.video_fps.or(recorded) {
        Some(fps) => sampling.at(fps),
        None => sampling,
    }
}

/// An input file of a replay: where it was, or beside the PNG; it must be the same one.
fn find_input(
    replay: &Replay,
    kind: Kind,
    file: &str,
    sha256: &str,
    sampling: Sampling,
) -> Result<Input<Part>> {
    let here = PathBuf::from(file);
    let path = if here.exists() {
        here
    } else {
        replay.folder.join(file)
    };
    let input = media::read(kind, &path, sampling)
        .with_context(|| format!("--from: {} was made from a {kind}", replay.name))?;
    if input.sha256 != sha256 {
        bail!(
            "--from: {file} is not the {kind} that {} was made from (its SHA-256 differs); give it with {}",
            replay.name,
            kind.flag()
        );
    }
    Ok(input)
}

/// A file for a prompt, and its record; `sampling` chooses the frames of a video.
///
/// # Errors
/// As [`media::read`].
pub fn read_shown(kind: Kind, path: &Path, sampling: Sampling) -> Result<(PartRecord, Part)> {
    let input = media::read(kind, path, sampling)?;
    let record = record(kind, path.display().to_string(), input.sha256, sampling);
    Ok((record, input.value))
}

/// What a record says was shown or said, from where it was.
///
/// # Errors
/// When the file can't be read or is another one.
pub fn read_again(record: &PartRecord, sampling: Sampling) -> Result<Part> {
    let (kind, file, sha256, sampling) = match record {
        PartRecord::Text(text) => return Ok(Part::Text(text.clone())),
        PartRecord::Image { file, sha256 } => (Kind::Image, file, sha256, sampling),
        PartRecord::Video { file, sha256, fps } => (Kind::Video, file, sha256, sampling.at(*fps)),
        PartRecord::Audio { file, sha256 } => (Kind::Audio, file, sha256, sampling),
    };
    let input = media::read(kind, Path::new(file), sampling)?;
    if input.sha256 != *sha256 {
        bail!("{file}: is another {kind} than the one that was shown");
    }
    Ok(input.value)
}

fn record(kind: Kind, file: String, sha256: String, sampling: Sampling) -> PartRecord {
    match kind {
        Kind::Image => PartRecord::Image { file, sha256 },
        Kind::Video => PartRecord::Video {
            file,
            sha256,
            fps: sampling.fps(),
        },
        Kind::Audio => PartRecord::Audio { file, sha256 },
    }
}

fn prompt_text(prompt: &str) -> Result<String> {
    if prompt == "-" {
        return read_limited("standard input", std::io::stdin().lock());
    }
    if let Some(file) = prompt.strip_prefix('@') {
        return read_prompt_file(Path::new(file));
    }
    if prompt.ends_with(".txt") && Path::new(prompt).is_file() {
        return read_prompt_file(Path::new(prompt));
    }
    Ok(prompt.to_owned())
}

fn read_prompt_file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| x2i_engine::models::io_error(&name, error))
        .context("prompt")?;
    read_limited(&name, file)
}

/// UTF-8 text without the byte order mark and line end that editors add.
fn read_limited(name: &str, source: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(MAX_PROMPT_FILE + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("prompt: {name}"))?;
    if bytes.len() as u64 > MAX_PROMPT_FILE {
        bail!(
            "prompt: {name} is larger than {} MiB; is it the right file?",
            MAX_PROMPT_FILE >> 20
        );
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("prompt: {name} is not UTF-8 text");
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a line of a batch shows and says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LineParts {
    prompt: Option<String>,
    images: Vec<PathBuf>,
    videos: Vec<PathBuf>,
    audios: Vec<PathBuf>,
    parts: Option<Vec<LinePart>>,
}

/// One of a line's `parts`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LinePart {
    Text(String),
    Image(PathBuf),
    Video(PathBuf),
    Audio(PathBuf),
}

impl LineParts {
    /// `parts` as they stand, or all files and then the prompt, as X2I's scripts put them.
    fn in_order(self) -> Result<Vec<LinePart>> {
        let files = [
            self.images.into_iter().map(LinePart::Image).collect(),
            self.videos.into_iter().map(LinePart::Video).collect(),
            self.audios
                .into_iter()
                .map(LinePart::Audio)
                .collect::<Vec<_>>(),
        ];
        let files = files.concat();
        match (self.parts, self.prompt) {
            (Some(parts), None) if files.is_empty() => Ok(parts),
            (Some(_), _) => {
                bail!("parts: stands for prompt, images, videos and audios; give one or the others")
            }
            (None, Some(prompt)) => Ok([files, vec![LinePart::Text(prompt)]].concat()),
            (None, None) => bail!("prompt: is missing; give it, or parts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_files_lose_only_what_editors_add() {
        let read = |bytes: &[u8]| read_limited("x", bytes).map_err(|error| error.to_string());
        assert_eq!(
            read("\u{feff} 红苹果 \r\n\n".as_bytes()),
            Ok(" 红苹果 ".into())
        );
        assert_eq!(read(b"\xff"), Err("prompt: x is not UTF-8 text".into()));
        assert!(read_limited("x", std::io::repeat(b'a')).is_err());
    }

    #[test]
    fn a_lines_parts_are_a_list_or_files_and_then_the_prompt() {
        let read = |json: &str| {
            let line: LineParts = serde_json::from_str(json).unwrap();
            line.in_order().map_err(|error| error.to_string())
        };
        let text = |text: &str| LinePart::Text(text.into());
        assert_eq!(
            read(r#"{"prompt": "x", "audios": ["a.wav"], "images": ["b.png", "c.png"]}"#).unwrap(),
            [
                LinePart::Image("b.png".into()),
                LinePart::Image("c.png".into()),
                LinePart::Audio("a.wav".into()),
                text("x")
            ]
        );
        assert_eq!(
            read(r#"{"parts": [{"text": "x"}, {"video": "a.mp4"}, {"text": "y"}]}"#).unwrap(),
            [text("x"), LinePart::Video("a.mp4".into()), text("y")]
        );
        for both in [
            r#"{"parts": [], "prompt": "x"}"#,
            r#"{"parts": [], "images": ["a.png"]}"#,
        ] {
            assert!(read(both).unwrap_err().contains("parts"));
        }
        assert!(
            read(r#"{"images": ["a.png"]}"#)
                .unwrap_err()
                .contains("prompt")
        );
    }
}
