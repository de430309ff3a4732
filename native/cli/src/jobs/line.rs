//! One line of `--batch`: its JSON, and the job specification that it makes.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use x2i_core::{Cache, Conditioning, Part, Turn};
use x2i_engine::job::random_seed;
use x2i_engine::{JobSpec, Kind, NamedFile, PartSpec, Settings};

use super::nearest::nearest;
use crate::flags::Size;
use crate::flags::paths::expand;

/// All keys of a line.
const KEYS: [&str; 15] = [
    "prompt", "images", "videos", "audios", "parts", "earlier", "seed", "out", "answer", "steps",
    "guidance", "cache", "size", "width", "height",
];

/// One line of `--batch`.
#[derive(Debug, Default)]
pub struct Line {
    parts: LineParts,
    earlier: Vec<LineTurn>,
    seed: Option<LineSeed>,
    /// The name of the image file inside the folder `-o`.
    pub out: Option<String>,
    answer: Option<bool>,
    steps: Option<usize>,
    guidance: Option<f32>,
    cache: Option<Value>,
    size: Option<LineSize>,
    width: Option<usize>,
    height: Option<usize>,
}

/// An earlier turn of a conversation: what was said, and what the LLM answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTurn {
    prompt: String,
    answer: String,
}

impl LineTurn {
    fn turn(self) -> Turn {
        Turn {
            parts: vec![Part::Text(self.prompt)],
            answer: self.answer,
        }
    }
}

/// `"512x512"`, `[512, 512]` or `512`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LineSize {
    Text(String),
    Sides(usize, usize),
    Square(usize),
}

impl LineSize {
    fn sides(self) -> Result<(usize, usize), String> {
        match self {
            Self::Text(text) => text.parse().map(Size::sides),
            Self::Sides(width, height) => Ok((width, height)),
            Self::Square(side) => Ok((side, side)),
        }
    }
}

/// A number, or -1 for a random one.
#[derive(Debug)]
enum LineSeed {
    Number(u64),
    Random(i64),
}

impl LineSeed {
    fn of(value: &Value) -> Result<Self> {
        let number = value.as_u64().map(Self::Number);
        let seed = number.or_else(|| value.as_i64().map(Self::Random));
        seed.with_context(|| {
            format!(
                "seed: {value} must be a whole number from 0 to {}",
                u64::MAX
            )
        })
    }

    fn number(self) -> Result<u64> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Random(-1) => Ok(random_seed()),
            Self::Random(other) => {
                bail!("seed: {other} must be at least 0, or -1 for a random one")
            }
        }
    }
}

impl Line {
    /// A line that is a prompt alone.
    pub fn of_prompt(prompt: String) -> Self {
        Self {
            parts: LineParts {
                prompt: Some(prompt),
                ..LineParts::default()
            },
            ..Self::default()
        }
    }

    /// The seed that the line gives, else `given`; `None` is a random one.
    pub fn seed(&self, given: Option<u64>) -> Option<u64> {
        match self.seed {
            Some(LineSeed::Number(number)) => Some(number),
            Some(LineSeed::Random(_)) => None,
            None => given,
        }
    }

    /// Reads a line that is a JSON object.
    ///
    /// # Errors
    /// For a key that is not known, and a value of another type; the
    /// message names the key.
    pub fn read(mut keys: Map<String, Value>) -> Result<Self> {
        if let Some(key) = keys.keys().find(|key| !KEYS.contains(&key.as_str())) {
            match nearest(key, &KEYS) {
                Some(known) => bail!("`{key}` is not a key of a line; did you mean `{known}`?"),
                None => bail!(
                    "`{key}` is not a key of a line; there are {}",
                    KEYS.join(", ")
                ),
            }
        }
        Ok(Self {
            parts: LineParts {
                prompt: take(&mut keys, "prompt")?,
                images: take(&mut keys, "images")?.unwrap_or_default(),
                videos: take(&mut keys, "videos")?.unwrap_or_default(),
                audios: take(&mut keys, "audios")?.unwrap_or_default(),
                parts: take(&mut keys, "parts")?,
            },
            earlier: take(&mut keys, "earlier")?.unwrap_or_default(),
            seed: take(&mut keys, "seed")?
                .as_ref()
                .map(LineSeed::of)
                .transpose()?,
            out: take(&mut keys, "out")?,
            answer: take(&mut keys, "answer")?,
            steps: take(&mut keys, "steps")?,
            guidance: take(&mut keys, "guidance")?,
            cache: take(&mut keys, "cache")?,
            size: take(&mut keys, "size")?,
            width: take(&mut keys, "width")?,
            height: take(&mut keys, "height")?,
        })
    }

    /// The specification of the line's job; `base` has the values that the line does not give.
    ///
    /// # Errors
    /// For a wrong size, for a size beside a width or height, and for a line that has both a prompt and
    /// parts, or neither.
    pub fn spec(self, base: &JobSpec) -> Result<JobSpec> {
        if self.size.is_some() && (self.width.is_some() || self.height.is_some()) {
            bail!("size: can't be combined with width or height");
        }
        let size = self.size.map(|size| {
            let size = size.sides().map_err(anyhow::Error::msg);
            size.context("size")
        });
        let settings = Settings {
            size: size.transpose()?,
            width: self.width,
            height: self.height,
            steps: self.steps,
            guidance: self.guidance,
            cache: self.cache.map(|value| cache(&value)).transpose()?,
            seed: self.seed.map(LineSeed::number).transpose()?,
            conditioning: self.answer.map(conditioning),
            ..Settings::default()
        };
        let parts = self.parts.in_order()?.into_iter();
        let earlier: Vec<_> = self.earlier.into_iter().map(LineTurn::turn).collect();
        Ok(JobSpec {
            parts: parts.map(LinePart::spec).collect::<Result<_>>()?,
            earlier: [base.earlier.clone(), earlier].concat(),
            settings: settings.or(base.settings.clone()),
            ..base.clone()
        })
    }
}

/// The value of a key; `None` where it is missing or null.
fn take<T: DeserializeOwned>(
    keys: &mut Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>> {
    let value = keys.remove(key).unwrap_or_default();
    serde_json::from_value(value).context(key)
}

/// `0.1`, `"off"` or `"0.1"`.
fn cache(value: &Value) -> Result<Cache> {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map_err(anyhow::Error::msg).context("cache")
}

fn conditioning(answer: bool) -> Conditioning {
    match answer {
        true => Conditioning::Answer,
        false => Conditioning::Prompt,
    }
}

/// The prompt of a line.
#[derive(Debug, Default)]
struct LineParts {
    prompt: Option<String>,
    images: Vec<PathBuf>,
    videos: Vec<PathBuf>,
    audios: Vec<PathBuf>,
    parts: Option<Vec<LinePart>>,
}

/// One element of `parts`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LinePart {
    Text(String),
    Image(PathBuf),
    Video(PathBuf),
    Audio(PathBuf),
}

impl LineParts {
    /// `parts` in their order, or all files and then the prompt, as in X2I's scripts.
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
                bail!("parts: can't be combined with prompt, images, videos or audios")
            }
            (None, Some(prompt)) => Ok([files, vec![LinePart::Text(prompt)]].concat()),
            (None, None) => bail!("prompt: is missing; give prompt or parts"),
        }
    }
}

impl LinePart {
    fn spec(self) -> Result<PartSpec> {
        let (kind, path) = match self {
            Self::Text(text) => return Ok(PartSpec::Text(text)),
            Self::Image(path) => (Kind::Image, path),
            Self::Video(path) => (Kind::Video, path),
            Self::Audio(path) => (Kind::Audio, path),
        };
        let file = NamedFile::given(expand(&path));
        Ok(PartSpec::File {
            kind,
            file: file.context(kind.field().name())?,
            fps: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Result<Line> {
        Line::read(serde_json::from_str(json)?)
    }

    #[test]
    fn a_lines_parts_are_a_list_or_files_and_then_the_prompt() {
        let read = |json: &str| {
            let line = line(json).unwrap();
            line.parts.in_order().map_err(|error| error.to_string())
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

    #[test]
    fn an_unknown_key_and_a_wrong_value_are_named() {
        let refused = |json: &str| format!("{:#}", line(json).unwrap_err());
        let cases = [
            (
                r#"{"prompt": "x", "step": 9}"#,
                "`step` is not a key of a line; did you mean `steps`?",
            ),
            (
                r#"{"prompt": "x", "Seed": 9}"#,
                "`Seed` is not a key of a line; did you mean `seed`?",
            ),
            (
                r#"{"prompt": "x", "steps": "9"}"#,
                "steps: invalid type: string",
            ),
            (r#"{"prompt": ["x"]}"#, "prompt: invalid type"),
        ];
        for (json, expected) in cases {
            let message = refused(json);
            assert!(message.starts_with(expected), "{message}");
        }
        let message = refused(r#"{"prompt": "x", "lora": "a"}"#);
        assert!(message.contains("`lora`") && KEYS.iter().all(|key| message.contains(key)));
        let unseeded = line(r#"{"prompt": "x", "seed": null}"#).unwrap();
        assert_eq!(unseeded.seed(Some(3)), Some(3));
    }

    #[test]
    fn a_line_may_go_on_with_a_conversation() {
        let spec = |json: &str| line(json).and_then(|line| line.spec(&JobSpec::default()));
        let json =
            r#"{"prompt": "make it blue", "earlier": [{"prompt": "a cat", "answer": "cat"}]}"#;
        let turn = Turn {
            parts: vec![Part::Text("a cat".into())],
            answer: "cat".into(),
        };
        assert_eq!(spec(json).unwrap().earlier, [turn]);
        for wrong in [
            r#"[{"prompt": "a cat"}]"#,
            r#"[{"prompt": "a", "answer": "b", "x": 1}]"#,
            "7",
        ] {
            let json = format!(r#"{{"prompt": "x", "earlier": {wrong}}}"#);
            let error = format!("{:#}", spec(&json).unwrap_err());
            assert!(error.starts_with("earlier: "), "{error}");
        }
    }

    #[test]
    fn a_width_or_height_alone_changes_the_size_of_the_flags() {
        let base = JobSpec {
            settings: Settings {
                size: Some((96, 80)),
                ..Settings::default()
            },
            ..JobSpec::default()
        };
        let sides = |json: &str| {
            let settings = line(json).unwrap().spec(&base).unwrap().settings;
            (settings.size, settings.width, settings.height)
        };
        let flags = Some((96, 80));
        let both = sides(r#"{"prompt": "x", "width": 64, "height": 32}"#);
        assert_eq!(both, (flags, Some(64), Some(32)));
        let one = sides(r#"{"prompt": "x", "height": 32, "width": null}"#);
        assert_eq!(one, (flags, None, Some(32)));
        // A line's size replaces the flags' sides.
        assert_eq!(
            sides(r#"{"prompt": "x", "size": 64}"#),
            (Some((64, 64)), None, None)
        );
    }

    #[test]
    fn a_cache_is_off_or_a_threshold() {
        let cache = |value: &str| {
            let line = line(&format!(r#"{{"prompt": "x", "cache": {value}}}"#))?;
            let base = JobSpec {
                settings: Settings {
                    cache: Some(Cache::FirstBlock(0.2)),
                    ..Settings::default()
                },
                ..JobSpec::default()
            };
            Ok(line.spec(&base)?.settings.cache)
        };
        for (value, expected) in [
            ("0.1", Cache::FirstBlock(0.1)),
            ("1", Cache::FirstBlock(1.0)),
            ("\"0.1\"", Cache::FirstBlock(0.1)),
            ("\"off\"", Cache::Off),
            ("null", Cache::FirstBlock(0.2)),
        ] {
            let found: Result<_> = cache(value);
            assert_eq!(found.unwrap(), Some(expected), "{value}");
        }
        for value in ["true", "[0.1]", "\"on\""] {
            let error = format!("{:#}", cache(value).unwrap_err());
            assert!(error.starts_with("cache: `"), "{error}");
        }
    }

    #[test]
    fn sizes_and_seeds_have_several_forms() {
        let spec = |json: &str| {
            let spec = line(json).unwrap().spec(&JobSpec::default())?;
            anyhow::Ok((spec.settings.size, spec.settings.seed))
        };
        for size in ["[64, 32]", "\"64x32\""] {
            let json = format!(r#"{{"prompt": "x", "size": {size}, "seed": 7}}"#);
            assert_eq!(spec(&json).unwrap(), (Some((64, 32)), Some(7)));
        }
        let square = spec(r#"{"prompt": "x", "size": 64, "seed": -1}"#).unwrap();
        assert_eq!(square.0, Some((64, 64)));
        assert!(square.1.is_some());
        assert!(spec(r#"{"prompt": "x", "seed": -2}"#).is_err());
        for seed in ["\"7\"", "7.5", "[7]"] {
            let error = line(&format!(r#"{{"prompt": "x", "seed": {seed}}}"#)).unwrap_err();
            let expected = format!("seed: {seed} must be a whole number from 0 to {}", u64::MAX);
            assert_eq!(error.to_string(), expected);
        }
        let both = spec(r#"{"prompt": "x", "size": 64, "width": 32}"#).unwrap_err();
        assert!(both.to_string().starts_with("size: can't"), "{both}");
        assert!(spec(r#"{"prompt": "x", "size": "axb"}"#).is_err());
    }
}
