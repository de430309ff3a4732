//! The encoder's tokenizer, in whichever files it is.

use super::source::{ModelSource, join, parent, read, read_optional};
use crate::config::EncoderPart;
use crate::error::{Error, Result};
use crate::tokenizer::{AddedFiles, Tokenizer};
use crate::weights::WeightFile;

/// Reads the encoder's tokenizer: `tokenizer.json`, `vocab.json` and `merges.txt` beside it, or
/// that of a GGUF file of the weights.
///
/// # Errors
/// [`Error::MissingFile`] when none of them is there, [`Error::Config`] when it can't be read.
pub async fn read_tokenizer(source: &dyn ModelSource, part: &EncoderPart) -> Result<Tokenizer> {
    if let Some(json) = read_optional(source, &part.tokenizer).await? {
        return Tokenizer::from_json(&part.tokenizer, &json);
    }
    let folder = parent(&part.tokenizer);
    let Some(vocab) = read_optional(source, &join(folder, "vocab.json")).await? else {
        let files = part.weights.iter().filter(|file| file.ends_with(".gguf"));
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
    let optional = async |name: &str| read_optional(source, &join(folder, name)).await;
    let tokenizer_config = optional("tokenizer_config.json").await?;
    let added_tokens = optional("added_tokens.json").await?;
    let special_tokens = optional("special_tokens_map.json").await?;
    let added = AddedFiles {
        tokenizer_config: tokenizer_config.as_deref(),
        added_tokens: added_tokens.as_deref(),
        special_tokens: special_tokens.as_deref(),
    };
    Tokenizer::from_vocab_and_merges(folder, &vocab, &merges, added)
}

/// The bytes of the encoder's `tokenizer.json`, made from what else there is where it is missing.
///
/// # Errors
/// As [`read_tokenizer`].
pub async fn tokenizer_json(source: &dyn ModelSource, part: &EncoderPart) -> Result<Vec<u8>> {
    match read_optional(source, &part.tokenizer).await? {
        Some(json) => Ok(json),
        None => Ok(read_tokenizer(source, part).await?.to_json()?.into_bytes()),
    }
}
