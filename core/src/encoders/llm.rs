//! The language model that all families share: it reads tokens and embedded images, gives the
//! hidden states of all layers, and answers.
//!
//! A family adds what comes before it: a chat template, placeholders, vision and audio towers.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::alternatives::{Onward, Rival};
use super::decoding::{Decoded, Decoding};
use super::doubt::Doubt;
use super::options::{EncodeOptions, Encoded};
use super::qwen2::{Position, Qwen2, Rotary};
use super::sampling::Sampler;
use super::sequence::{PadWith, Sequence};
use crate::config::{Conditioning, GenerationConfig, Padding, Qwen2Config, Unknown};
use crate::error::{Error, Field, Result};
use crate::request::{Alternative, Answer, OnProgress, Phase, Progress, report};
use crate::tokenizer::{SpecialTokens, Tokenizer};
use crate::weights::Scope;

/// Fails when the id of a token has no row in an embedding of so many.
///
/// # Errors
/// [`Error::Config`] naming both.
pub(super) fn check_id(file: &str, key: &str, id: Option<u32>, rows: usize) -> Result<()> {
    match id.filter(|&id| id as usize >= rows) {
        None => Ok(()),
        Some(id) => {
            let reason = format!("{key} is {id}, the embedding has {rows} rows (vocab_size)");
            Err(Error::config(file, reason))
        }
    }
}

/// A decoder with its tokenizer, on a device.
pub struct Llm {
    decoder: Qwen2,
    rotary: Rotary,
    tokenizer: Tokenizer,
    generation: GenerationConfig,
    max_positions: usize,
    device: Device,
}

impl Llm {
    /// Reads `model.*` and the head under `scope`; `sections` says how many frequencies turn by each
    /// axis of a position ([`Rotary::new`]).
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::Shape`]; [`Error::Config`] for a token without a row in the
    /// embedding.
    pub(super) async fn load(
        config: &Qwen2Config,
        sections: &[usize],
        tokenizer: Tokenizer,
        generation: GenerationConfig,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        tokenizer.check_rows(config.vocab_size)?;
        let pad = generation.pad_token_id;
        check_id(
            "generation_config.json",
            "pad_token_id",
            pad,
            config.vocab_size,
        )?;
        Ok(Self {
            decoder: Qwen2::load(config, scope).await?,
            rotary: Rotary::new(config.head_dim(), config.rope_theta, sections),
            tokenizer,
            generation,
            max_positions: config.max_position_embeddings,
            device: scope.device().clone(),
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The most tokens that the model reads.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Token vectors `[1, tokens, hidden]`; each occurrence of a placeholder's id takes the next row
    /// of what is beside it, `[rows, hidden]`.
    pub fn embed(&self, ids: &[u32], shown: Vec<(u32, Tensor<2>)>) -> Tensor<3> {
        let text = self.decoder.embed(ids, &self.device);
        if shown.is_empty() {
            return text;
        }
        let tokens = ids.len();
        let mut rows: Vec<i32> = (0..tokens as i32).collect();
        let mut tables = vec![text];
        let mut next = tokens as i32;
        for (placeholder, vectors) in shown {
            let end = next + vectors.dims()[0] as i32;
            tables.push(vectors.unsqueeze());
            let places = rows.iter_mut().zip(ids);
            for ((row, _), vector) in places.filter(|(_, id)| **id == placeholder).zip(next..end) {
                *row = vector;
            }
            next = end;
        }
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [tokens]), &self.device);
        Tensor::cat(tables, 1).select(1, rows)
    }

    /// A decoding before its first token.
    pub fn start(&self) -> Decoding<'_> {
        Decoding::new(&self.decoder, &self.rotary, &self.device)
    }

    /// Reads a prompt's `embeddings` `[1, tokens, hidden]`: its hidden states
    /// `[1, layers + 1, tokens, hidden]`, and what is needed to go on.
    ///
    /// # Errors
    /// The errors of `before_layer`.
    pub async fn read(
        &self,
        embeddings: Tensor<3>,
        sequence: &Sequence,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<(Decoding<'_>, Tensor<4>)> {
        let mut decoding = self.start();
        let states = decoding.prefill(embeddings, sequence, before_layer).await?;
        Ok((decoding, states))
    }

    /// The states `[rows, layers + 1, tokens, hidden]` of `embeddings` `[rows, tokens, hidden]` with the same positions
    /// and mask.
    pub(super) async fn states(
        &self,
        embeddings: Tensor<3>,
        positions: &[Position],
        mask: Tensor<4>,
    ) -> Result<Tensor<4>> {
        let rope = self.rotary.rope(positions, &self.device);
        let mut cache = self.decoder.empty_cache();
        let mut before_layer = async || Ok(());
        let states =
            self.decoder
                .forward(embeddings, &rope, Some(mask), &mut cache, &mut before_layer);
        states.await
    }

    /// The hidden states `[1, layers + 1, tokens, hidden]` of a prompt's `embeddings`
    /// `[1, tokens, hidden]`, or of the answer where `options` ask for it.
    ///
    /// # Errors
    /// As [`Encoder::encode`](super::Encoder::encode).
    pub async fn encode(
        &self,
        embeddings: Tensor<3>,
        sequence: &Sequence,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        let prompt_tokens = sequence.ids.len();
        match options.conditioning {
            Conditioning::Prompt => {
                let mut before_layer = async || reading(sequence, 1).tell(on_progress).await;
                let (_, hidden_states) = self.read(embeddings, sequence, &mut before_layer).await?;
                report(on_progress, Phase::Encode, 1, 1).await?;
                Ok(Encoded {
                    hidden_states,
                    prompt_tokens,
                    tokens: sequence.tokens,
                    answer: None,
                })
            }
            Conditioning::Answer => {
                let (answer, hidden_states) = self
                    .answer(embeddings, sequence, options, on_progress)
                    .await?;
                Ok(Encoded {
                    hidden_states,
                    prompt_tokens,
                    tokens: sequence.tokens,
                    answer: Some(answer),
                })
            }
        }
    }

    /// The answer, and the states of its tokens.
    async fn answer(
        &self,
        embeddings: Tensor<3>,
        sequence: &Sequence,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<(Answer, Tensor<4>)> {
        // Positions end where the model's do; at least one token is asked for.
        let room = self.max_positions.saturating_sub(sequence.ids.len());
        let most = options.max_new_tokens.min(room).max(1);
        let mut sampler = Sampler::new(self.generation.clone(), &sequence.ids, options.seed);
        let mut before_layer = async || reading(sequence, most).tell(on_progress).await;
        let (mut decoding, states) = self.read(embeddings, sequence, &mut before_layer).await?;
        let logits = self.decoder.logits(&states);
        let ends = self.end_tokens();
        let telling = options.certainty.map_or(usize::MAX, |enough| enough.tokens);
        let decoded = decoding
            .answer(logits, &mut sampler, &ends, (most, telling), on_progress)
            .await?;
        let hidden_states = decoded.hidden_states.clone().ok_or_else(|| {
            Error::request(
                Field::Conditioning,
                "the LLM's answer is empty; paint from the prompt, or ask for more tokens",
            )
        })?;
        let mut before_layer = async || report(on_progress, Phase::Encode, most, most).await;
        let answer = self
            .judge(decoding, decoded, options, most, &mut before_layer)
            .await?;
        Ok((answer, hidden_states))
    }

    /// What an answer of at most `most` tokens says, with what else it could have been where it names something unknown
    /// or is not sure.
    async fn judge(
        &self,
        decoding: Decoding<'_>,
        decoded: Decoded,
        options: &EncodeOptions,
        most: usize,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Answer> {
        let Decoded {
            tokens,
            doubt,
            first_logits,
            ..
        } = decoded;
        let (ends, text) = (self.end_tokens(), self.text(&tokens)?);
        let mut answer = Answer {
            certainty: doubt.certainty,
            unknown: None,
            alternatives: None,
            text,
        };
        let saying = options.unknown.as_ref();
        let unknown = saying.and_then(|saying| Some((saying, saying.name(&answer.text)?)));
        if let Some((saying, name)) = unknown {
            answer.unknown = Some(name.to_owned());
            let doubt = Doubt::of_first(tokens[0], first_logits);
            let others = decoding
                .alternatives(&tokens, &doubt, Onward::Alone(most), &ends, before_layer)
                .await?;
            answer.alternatives = Some(self.nearest(saying, others)?);
        } else if options
            .certainty
            .is_some_and(|enough| doubt.certainty < enough.least)
        {
            let others = decoding
                .alternatives(&tokens, &doubt, Onward::Rejoining, &ends, before_layer)
                .await?;
            answer.alternatives = Some(self.distinct(&answer.text, others)?);
        }
        Ok(answer)
    }

    /// Those that read otherwise than the answer `text` and than each other: several tokens may spell a word.
    fn distinct(&self, text: &str, others: Vec<Rival>) -> Result<Vec<Alternative>> {
        let mut distinct: Vec<Alternative> = vec![];
        for other in others {
            let alternative = Alternative {
                text: self.text(&other.tokens)?,
                name: None,
                probability: other.probability,
            };
            let mut known = distinct.iter().map(|known| known.text.as_str());
            if alternative.text != text && !known.any(|known| known == alternative.text) {
                distinct.push(alternative);
            }
        }
        Ok(distinct)
    }

    /// Those that name something known, each another thing: a second spelling of the prefix begins none of them.
    fn nearest(&self, saying: &Unknown, others: Vec<Rival>) -> Result<Vec<Alternative>> {
        let mut nearest: Vec<Alternative> = vec![];
        for other in others {
            let text = self.text(&other.tokens)?;
            let name = Some(saying.named(&text).to_owned()).filter(|name| !name.is_empty());
            let is_known = name.is_some() && !text.starts_with(&saying.prefix);
            if is_known && !nearest.iter().any(|near| near.name == name) {
                nearest.push(Alternative {
                    text,
                    name,
                    probability: other.probability,
                });
            }
        }
        Ok(nearest)
    }

    fn text(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, SpecialTokens::Skip)
    }

    /// `padding` with the token that fills short prompts.
    ///
    /// # Errors
    /// [`Error::Config`] when neither the config nor the tokenizer has such a token.
    pub(super) fn pad_with(&self, padding: Option<Padding>) -> Result<Option<PadWith>> {
        let Some(padding) = padding else {
            return Ok(None);
        };
        let configured = self.generation.pad_token_id;
        let token = configured.or_else(|| self.tokenizer.token_to_id("<|endoftext|>"));
        let token = token.ok_or_else(|| {
            Error::config(
                "generation_config.json",
                "has no pad_token_id, and the tokenizer has no <|endoftext|>",
            )
        })?;
        Ok(Some(PadWith { padding, token }))
    }

    /// The tokens that end an answer; Qwen's own where the config names none.
    fn end_tokens(&self) -> Vec<u32> {
        if !self.generation.eos_token_id.is_empty() {
            return self.generation.eos_token_id.clone();
        }
        let own = ["<|im_end|>", "<|endoftext|>"];
        own.iter()
            .filter_map(|token| self.tokenizer.token_to_id(token))
            .collect()
    }
}

/// The event before a layer reads the prompt; `total` tokens of an answer are asked for.
fn reading(sequence: &Sequence, total: usize) -> Progress {
    Progress {
        prompt_tokens: Some(sequence.tokens),
        ..Progress::count(Phase::Encode, 0, total)
    }
}
