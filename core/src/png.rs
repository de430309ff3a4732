//! PNG files with the record of their making: JSON in an iTXt chunk named `x2i`.
//!
//! The record is written before the pixels, so that readers need not decode them. It is read from
//! any place in the file, since other programs move text chunks. It holds no time and no host name:
//! the same request gives the same bytes.

use std::collections::BTreeMap;
use std::io::{BufRead, Seek};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::{Background, Hint, Image};
use crate::request::{Conditioning, Request};

/// The keyword of the chunk.
pub const KEYWORD: &str = "x2i";
/// The version of the JSON that we write.
const FORMAT: u32 = 1;
/// The longest record in bytes, in a file and unpacked: a prompt of 16 MiB with escapes has room. A
/// stranger's chunk may claim a thousand times its own length.
pub const MAX_RECORD: usize = 48 << 20;

/// All that is needed to make the image again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of this form.
    pub format: u32,
    /// Versions of the programs that made it.
    pub versions: Versions,
    /// The model.
    pub model: ModelRecord,
    /// The prompt's parts, in order.
    pub prompt: Vec<PartRecord>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f32,
    /// The threshold of first-block caching, where it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<f64>,
    /// Seed of the noise.
    pub seed: u64,
    /// Hidden states of the prompt, or of the answer.
    pub conditioning: Conditioning,
    /// The sampler.
    pub sampler: String,
    /// The device: by its id, and what it is.
    pub device: DeviceRecord,
    /// The LLM's answer, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The LoRAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraRecord>,
    /// The initial image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRecord>,
    /// The control image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlRecord>,
    /// What lay under the transparent pixels of these pictures.
    #[serde(default, skip_serializing_if = "Background::is_default")]
    pub background: Background,
}

/// A file of a request that itself stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedFile {
    /// Its path as it was given.
    pub file: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// The initial image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitRecord {
    /// An image.
    pub picture: UsedFile,
    /// The strength of the change, above 0 and at most 1.
    pub strength: f64,
}

/// The control image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// An image.
    pub picture: UsedFile,
    /// LightControl's weights.
    pub weights: UsedFile,
    /// Its scale.
    pub scale: f32,
    /// What of the picture steers.
    #[serde(default, skip_serializing_if = "Hint::is_source")]
    pub hint: Hint,
}

/// A LoRA of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraRecord {
    /// Its weights.
    pub weights: UsedFile,
    /// PEFT's config, where one stands beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<UsedFile>,
    /// Its scale.
    pub scale: f32,
}

/// Versions of the programs that made an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program's.
    pub x2i: String,
    /// burn's.
    pub burn: String,
}

/// The model that made an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// Where the model was: a name or a folder, as the user gave it.
    pub place: String,
    /// The SHA-256 of every file.
    pub files: BTreeMap<String, String>,
}

/// One part of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartRecord {
    /// Text.
    Text(String),
    /// An image, which itself stays where it is.
    Image {
        /// Its path as it was given.
        file: String,
        /// The file's SHA-256.
        sha256: String,
    },
    /// A video, which itself stays where it is.
    Video {
        /// Its path as it was given.
        file: String,
        /// The file's SHA-256, or of a folder's names and hashes.
        sha256: String,
        /// Frames a second that were looked at.
        fps: f64,
    },
    /// A sound, which itself stays where it is.
    Audio {
        /// Its path as it was given.
        file: String,
        /// The file's SHA-256.
        sha256: String,
    },
}

/// The device that made an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// The device by the id that the user gives: `cpu`, `wgpu:0`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether quantized layers had inputs of 16 bits ([`crate::InputBits`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// `f16` where matrices were multiplied in it, on a GPU's matrix units; nothing for f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
}

impl Metadata {
    /// The record of an image that `request` made.
    pub fn new(
        model: ModelRecord,
        prompt: Vec<PartRecord>,
        request: &Request,
        device: DeviceRecord,
        answer: Option<String>,
    ) -> Self {
        Self {
            format: FORMAT,
            versions: Versions::current(),
            model,
            prompt,
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: request.guidance,
            cache: request.cache.threshold(),
            seed: request.seed,
            conditioning: request.conditioning,
            sampler: "flow_match_euler".into(),
            device,
            answer,
            loras: vec![],
            init: None,
            control: None,
            background: Background::default(),
        }
    }
}

impl Versions {
    /// Those of this build.
    pub fn current() -> Self {
        // Pinned in the workspace's manifest; burn has no constant for it.
        Self {
            x2i: env!("CARGO_PKG_VERSION").into(),
            burn: "0.22.1".into(),
        }
    }
}

/// A PNG of the image with its metadata.
///
/// # Errors
/// [`Error::Image`] when the encoder refuses.
pub fn encode(image: &Image, metadata: &Metadata) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::image("png", reason);
    let side = |side: usize| {
        u32::try_from(side).map_err(|_| refused(format!("a side of {side} is too long")))
    };
    let json = metadata.to_json().map_err(refused)?;
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, side(image.width())?, side(image.height())?);
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    let png_error = |error: ::png::EncodingError| refused(error.to_string());
    encoder
        .add_itxt_chunk(KEYWORD.into(), json)
        .map_err(png_error)?;
    let mut writer = encoder.write_header().map_err(png_error)?;
    writer.write_image_data(image.pixels()).map_err(png_error)?;
    writer.finish().map_err(png_error)?;
    Ok(bytes)
}

/// A PNG's size and colour, and its record where it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct PngFacts {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits of a channel and the kind of colour: `8-bit rgb`.
    pub color: String,
    /// Our record.
    pub metadata: Option<Metadata>,
}

/// Reads a whole PNG: its facts and our metadata. A truncated file is an error even where the
/// metadata came through.
///
/// # Errors
/// [`Error::Image`] naming `name`: not a PNG, broken, or with metadata of another version.
pub fn decode(name: &str, file: impl BufRead + Seek) -> Result<PngFacts> {
    let broken =
        |error: ::png::DecodingError| Error::image(name, format!("is not a whole PNG: {error}"));
    let mut reader = ::png::Decoder::new(file).read_info().map_err(broken)?;
    reader.finish().map_err(broken)?;
    let info = reader.info();
    let text = info.utf8_text.iter().find(|chunk| chunk.keyword == KEYWORD);
    let metadata = text.map(|chunk| Metadata::from_json(name, &unpacked(name, chunk)?));
    Ok(PngFacts {
        width: info.width,
        height: info.height,
        color: format!("{}-bit {:?}", info.bit_depth as u8, info.color_type).to_lowercase(),
        metadata: metadata.transpose()?,
    })
}

/// The text of a chunk, packed or not.
fn unpacked(name: &str, chunk: &::png::text_metadata::ITXtChunk) -> Result<String> {
    let refused = |error| Error::image(name, format!("its {KEYWORD} text: {error}"));
    let mut chunk = chunk.clone();
    let unpacked = chunk.decompress_text_with_limit(MAX_RECORD);
    let text = unpacked.and_then(|()| chunk.get_text()).map_err(refused)?;
    match text.len() {
        0..=MAX_RECORD => Ok(text),
        bytes => Err(Error::image(name, too_long(bytes))),
    }
}

fn too_long(bytes: usize) -> String {
    format!("its {KEYWORD} text has {bytes} bytes, more than {MAX_RECORD}")
}

impl Metadata {
    /// The record as text, for files of other formats too.
    ///
    /// # Errors
    /// The reason, for a record of more than [`MAX_RECORD`] bytes.
    pub fn to_json(&self) -> Result<String, String> {
        let json = serde_json::to_string(self).map_err(|error| error.to_string())?;
        match json.len() {
            0..=MAX_RECORD => Ok(json),
            bytes => Err(too_long(bytes)),
        }
    }

    /// The record of such a text; `name` is the picture's, for messages.
    ///
    /// # Errors
    /// [`Error::Image`] for a text that is no record, or one of another version.
    pub fn from_json(name: &str, json: &str) -> Result<Self> {
        let metadata: Self = serde_json::from_str(json).map_err(|error| {
            Error::image(
                name,
                format!("its {KEYWORD} metadata can't be read: {error}"),
            )
        })?;
        if metadata.format != FORMAT {
            let reason = format!(
                "its {KEYWORD} metadata is of format {}, this x2i reads {FORMAT}",
                metadata.format
            );
            return Err(Error::image(name, reason));
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn example() -> Metadata {
        Metadata {
            format: FORMAT,
            versions: Versions::current(),
            model: ModelRecord {
                name: "emoji".into(),
                place: "emoji".into(),
                files: [("flux.gguf".to_owned(), "ab".to_owned())].into(),
            },
            prompt: vec![
                PartRecord::Image {
                    file: "猫.png".into(),
                    sha256: "cd".into(),
                },
                PartRecord::Text("a \"red\" apple\n红苹果".into()),
                PartRecord::Video {
                    file: "clip.mp4".into(),
                    sha256: "ef".into(),
                    fps: 29.97,
                },
                PartRecord::Audio {
                    file: "word.wav".into(),
                    sha256: "01".into(),
                },
            ],
            width: 2,
            height: 1,
            steps: 4,
            guidance: 3.5,
            cache: Some(0.08),
            seed: u64::MAX,
            conditioning: Conditioning::Answer,
            sampler: "flow_match_euler".into(),
            device: DeviceRecord {
                id: "cpu".into(),
                name: "test".into(),
                exact: true,
                precision: None,
            },
            answer: Some("yes".into()),
            loras: vec![LoraRecord {
                weights: UsedFile {
                    file: "style.safetensors".into(),
                    sha256: "ef".into(),
                },
                config: Some(UsedFile {
                    file: "adapter_config.json".into(),
                    sha256: "23".into(),
                }),
                scale: 0.8,
            }],
            init: Some(InitRecord {
                picture: UsedFile {
                    file: "begin.png".into(),
                    sha256: "01".into(),
                },
                strength: 0.6,
            }),
            control: Some(ControlRecord {
                picture: UsedFile {
                    file: "edges.png".into(),
                    sha256: "02".into(),
                },
                weights: UsedFile {
                    file: "control.bin".into(),
                    sha256: "03".into(),
                },
                scale: 0.7,
                hint: Hint::Edges,
            }),
            background: Background::Color([1, 2, 0xff]),
        }
    }

    fn encoded() -> Vec<u8> {
        let image = Image::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        encode(&image, &example()).unwrap()
    }

    #[test]
    fn metadata_comes_back_as_it_was_written() {
        let facts = decode("x.png", Cursor::new(encoded())).unwrap();
        assert_eq!(facts.metadata, Some(example()));
        assert_eq!((facts.width, facts.height), (2, 1));
        assert_eq!(encoded(), encoded());
    }

    #[test]
    fn a_background_is_recorded_unless_it_is_white() {
        let json = example().to_json().unwrap();
        assert!(json.contains(r#""background":"0102ff""#), "{json}");
        let white = Metadata {
            background: Background::default(),
            ..example()
        };
        let json = white.to_json().unwrap();
        assert!(!json.contains("background"), "{json}");
        assert_eq!(Metadata::from_json("x", &json).unwrap(), white);
    }

    #[test]
    fn a_png_cut_anywhere_is_an_error_and_never_a_panic() {
        let bytes = encoded();
        for length in 0..bytes.len() {
            let message = match decode("x.png", Cursor::new(&bytes[..length])) {
                Ok(_) => panic!("cut at {length} was accepted"),
                Err(error) => error.to_string(),
            };
            assert!(message.starts_with("x.png: "), "{message}");
        }
    }

    #[test]
    fn another_format_is_refused_by_number() {
        let json = serde_json::to_string(&Metadata {
            format: 9,
            ..example()
        })
        .unwrap();
        let message = Metadata::from_json("x.png", &json).unwrap_err().to_string();
        assert!(message.contains("format 9"), "{message}");
    }

    /// A PNG of one pixel with a packed record that unpacks to `bytes` spaces.
    fn packed(bytes: usize) -> Vec<u8> {
        let mut png = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut png, 1, 1);
        encoder.set_color(::png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        let mut chunk = ::png::text_metadata::ITXtChunk::new(KEYWORD, " ".repeat(bytes));
        chunk.compressed = true;
        chunk.compress_text().unwrap();
        writer.write_text_chunk(&chunk).unwrap();
        writer.write_image_data(&[0; 3]).unwrap();
        writer.finish().unwrap();
        png
    }

    #[test]
    fn a_packed_text_is_read_to_its_limit_and_refused_beyond() {
        let message = |bytes| {
            let png = packed(bytes);
            assert!(png.len() < 1 << 20, "{}", png.len());
            decode("x.png", Cursor::new(png)).unwrap_err().to_string()
        };
        let read = message(MAX_RECORD);
        assert!(read.contains("metadata can't be read"), "{read}");
        let refused = message(MAX_RECORD + 1);
        assert!(refused.starts_with("x.png: its x2i text: "), "{refused}");
    }

    #[test]
    fn a_record_that_no_reader_takes_is_not_written() {
        let mut metadata = example();
        metadata.prompt = vec![PartRecord::Text(" ".repeat(MAX_RECORD))];
        let image = Image::new(1, 1, vec![0; 3]).unwrap();
        let message = encode(&image, &metadata).unwrap_err().to_string();
        assert!(message.contains("more than 50331648"), "{message}");
    }
}
