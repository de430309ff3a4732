//! Decoding: reading a prompt, then choosing an answer token by token.
//!
//! The answer's hidden states are those of the tokens that were fed back, as in X2I's `use_answer`
//! path: the last token is chosen but never fed. Not supported: beam search, batches.

use burn::tensor::{Device, Tensor};

use super::doubt::Doubt;
use super::qwen2::{KvCache, Position, Qwen2, Rotary, causal_mask};
use super::sampling::Sampler;
use super::sequence::Sequence;
use crate::error::{Error, Result};
use crate::request::{OnProgress, Phase, report};

/// Prompt tokens that run at once: attention's scores grow with it times the prompt's length.
const CHUNK: usize = 512;

/// A decoder in the middle of a sequence.
pub struct Decoding<'a> {
    pub(super) decoder: &'a Qwen2,
    rotary: &'a Rotary,
    pub(super) device: Device,
    cache: KvCache,
    /// False for padding; one for every token read.
    pub(super) keep: Vec<bool>,
    /// Position of the next token.
    pub(super) next: i64,
}

/// The tokens of an answer.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Every token chosen, the end token included.
    pub tokens: Vec<u32>,
    /// States `[1, layers + 1, tokens - 1, hidden]` of the tokens fed back; none for one token.
    pub hidden_states: Option<Tensor<4>>,
    /// Where it was least sure.
    pub doubt: Doubt,
    /// The logits that its first token was chosen from.
    pub(super) first_logits: Vec<f32>,
}

impl<'a> Decoding<'a> {
    /// A decoding before its first token.
    pub(super) fn new(decoder: &'a Qwen2, rotary: &'a Rotary, device: &Device) -> Self {
        let cache = decoder.empty_cache();
        Self {
            decoder,
            rotary,
            device: device.clone(),
            cache,
            keep: vec![],
            next: 0,
        }
    }

    /// Reads a prompt's `embeddings` `[1, tokens, hidden]`; gives `[1, layers + 1, tokens, hidden]`.
    ///
    /// # Errors
    /// The errors of `before_layer`.
    pub async fn prefill(
        &mut self,
        embeddings: Tensor<3>,
        sequence: &Sequence,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        self.prefill_by(CHUNK, embeddings, sequence, before_layer)
            .await
    }

    pub(super) async fn prefill_by(
        &mut self,
        chunk: usize,
        embeddings: Tensor<3>,
        sequence: &Sequence,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        let tokens = sequence.ids.len();
        // Padding on the left averages over ALL keys, later ones included: they must be there.
        let chunk = if sequence.keep.first() == Some(&true) {
            chunk
        } else {
            tokens
        };
        let mut states = Vec::with_capacity(tokens.div_ceil(chunk));
        for start in (0..tokens).step_by(chunk) {
            let end = (start + chunk).min(tokens);
            let part = embeddings.clone().narrow(1, start, end - start);
            self.keep.extend(&sequence.keep[start..end]);
            let positions = &sequence.positions.tokens[start..end];
            states.push(self.advance(part, positions, before_layer).await?);
        }
        self.next = tokens as i64 + sequence.positions.delta;
        Ok(if states.len() == 1 {
            states.remove(0)
        } else {
            Tensor::cat(states, 2)
        })
    }

    /// Reads one more token; gives its states `[1, layers + 1, 1, hidden]`.
    ///
    /// # Errors
    /// The errors of `before_layer`.
    pub async fn feed(
        &mut self,
        token: u32,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        let embedding = self.decoder.embed(&[token], &self.device);
        self.keep.push(true);
        let states = self
            .advance(embedding, &[[self.next; 3]], before_layer)
            .await?;
        self.next += 1;
        Ok(states)
    }

    /// Logits `[1, vocabulary]` after the last token of `states`.
    pub fn logits(&self, states: &Tensor<4>) -> Tensor<2> {
        self.decoder.logits(states)
    }

    /// Chooses and feeds tokens until one of `ends`, or `most` of them; `logits` `[1, vocabulary]` are
    /// those after the last token read. The least certain token is sought among the first `telling` ones.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or [`Error::Device`] when a readback fails or holds NaN.
    pub async fn answer(
        &mut self,
        mut logits: Tensor<2>,
        sampler: &mut Sampler,
        ends: &[u32],
        (most, telling): (usize, usize),
        on_progress: &mut impl OnProgress,
    ) -> Result<Decoded> {
        let mut tokens = vec![];
        let mut states = vec![];
        let mut doubt = Doubt::none();
        let mut first_logits = vec![];
        loop {
            let values = read_back(logits).await?;
            let token = sampler.next(values.clone())?;
            if tokens.len() < telling {
                doubt.see(tokens.len(), token, &values);
            }
            if tokens.is_empty() {
                first_logits = values;
            }
            tokens.push(token);
            if ends.contains(&token) || tokens.len() >= most {
                break;
            }
            let done = tokens.len();
            let mut before_layer = async || report(on_progress, Phase::Encode, done, most).await;
            let step = self.feed(token, &mut before_layer).await?;
            logits = self.logits(&step);
            states.push(step);
        }
        report(on_progress, Phase::Encode, most, most).await?;
        let hidden_states = if states.is_empty() {
            None
        } else {
            Some(Tensor::cat(states, 2))
        };
        Ok(Decoded {
            tokens,
            hidden_states,
            doubt,
            first_logits,
        })
    }

    /// Forgets the last tokens that were fed.
    pub(super) fn forget(&mut self, tokens: usize) {
        let left = self.keep.len() - tokens;
        self.keep.truncate(left);
        self.cache.truncate(left);
        self.next -= tokens as i64;
    }

    /// Runs tokens whose `keep` is known already.
    async fn advance(
        &mut self,
        embeddings: Tensor<3>,
        positions: &[Position],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        let queries = positions.len();
        let first = self.keep.len() - queries;
        // One token that sees everything needs no mask.
        let masked = queries > 1 || self.keep.contains(&false);
        let mask = masked.then(|| causal_mask(&self.keep, first, queries, &self.device));
        self.run(embeddings, positions, mask, before_layer).await
    }

    /// Runs tokens that see what `mask` lets them.
    pub(super) async fn run(
        &mut self,
        embeddings: Tensor<3>,
        positions: &[Position],
        mask: Option<Tensor<4>>,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        let rope = self.rotary.rope(positions, &self.device);
        self.decoder
            .forward(embeddings, &rope, mask, &mut self.cache, before_layer)
            .await
    }
}

/// The numbers of logits.
pub(super) async fn read_back(logits: Tensor<2>) -> Result<Vec<f32>> {
    let data = logits.into_data_async().await?;
    data.try_to_vec()
        .map_err(|error| Error::device("readback", format!("{error:?}")))
}
