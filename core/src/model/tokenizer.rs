//! The encoder's tokenizer, in whichever files it is.

use serde::Deserialize;
use serde_json::Value;

use super::source::{ModelSource, join, parent, read, read_optional};
use super::weight_name::{Kind, kind};
use crate::config::{EncoderPart, parse};
use crate::error::{Error, Result};
use crate::tokenizer::{AddedFiles, Tokenizer};
use crate::weights::WeightFile;

/// Reads the encoder's tokenizer: `tokenizer.json`, `vocab.json` and `merges.txt` beside it, or
/// that of a GGUF file of the weights.
///
/// # Errors
/// [`Error::MissingFile`] when none of them is there, [`Error::Config`] when it can't be read.
pub async fn read_tokenizer(source: &dyn ModelSource, part: &EncoderPart) -> Result<Tokenizer> {
    let folder = parent(&part.tokenizer);
    if let Some(json) = read_optional(source, &part.tokenizer).await? {
        let json = match lacks_added_tokens(&part.tokenizer, &json)? {
            true => added_files(source, folder).await?.complete(folder, &json)?,
            false => json,
        };
        return Tokenizer::from_json(&part.tokenizer, &json);
    }
    let Some(vocab) = read_optional(source, &join(folder, "vocab.json")).await? else {
        let files = part.weights.iter();
        let files = files.filter(|file| kind(file) == Some(Kind::Gguf));
        for file in files {
            let file = WeightFile::open(source.open(file).await?).await?;
            if let Some(tokenizer) = Tokenizer::from_gguf(&file)? {
                return Ok(tokenizer);
            }
        }
        return Err(Error::MissingFile {
            file: part.tokenizer.clone(),
        });
    };
    let merges = read(source, &join(folder, "merges.txt")).await?;
    let added = added_files(source, folder).await?;
    Tokenizer::from_vocab_and_merges(folder, &vocab, &merges, added.borrowed())
}

/// The files that tell of added tokens, as far as they are there.
struct Added([Option<Vec<u8>>; 3]);

async fn added_files(source: &dyn ModelSource, folder: &str) -> Result<Added> {
    let optional = async |name: &str| read_optional(source, &join(folder, name)).await;
    Ok(Added([
        optional("tokenizer_config.json").await?,
        optional("added_tokens.json").await?,
        optional("special_tokens_map.json").await?,
    ]))
}

impl Added {
    fn borrowed(&self) -> AddedFiles<'_> {
        let [config, tokens, special] = &self.0;
        AddedFiles {
            tokenizer_config: config.as_deref(),
            added_tokens: tokens.as_deref(),
            special_tokens: special.as_deref(),
        }
    }

    /// A `tokenizer.json` without added tokens, with those that the other files tell of, as transformers
    /// puts them together.
    fn complete(&self, folder: &str, json: &[u8]) -> Result<Vec<u8>> {
        let mut file: Value = parse(folder, json)?;
        let (_, tokens) = self.borrowed().tokens(folder)?;
        file["added_tokens"] = tokens.into();
        Ok(file.to_string().into_bytes())
    }
}

fn lacks_added_tokens(file: &str, json: &[u8]) -> Result<bool> {
    #[derive(Deserialize)]
    struct Tokens {
        #[serde(default)]
        added_tokens: Vec<serde::de::IgnoredAny>,
    }
    let tokens: Tokens = parse(file, json)?;
    Ok(tokens.added_tokens.is_empty())
}

/// The bytes of the encoder's `tokenizer.json`, made from what else there is where it is missing.
///
/// # Errors
/// As [`read_tokenizer`].
pub async fn tokenizer_json(source: &dyn ModelSource, part: &EncoderPart) -> Result<Vec<u8>> {
    match read_optional(source, &part.tokenizer).await? {
        Some(json) if !lacks_added_tokens(&part.tokenizer, &json)? => Ok(json),
        _ => Ok(read_tokenizer(source, part).await?.to_json()?.into_bytes()),
    }
}
