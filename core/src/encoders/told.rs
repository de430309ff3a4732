//! Answers that are known before: their hidden states without choosing a token.
//!
//! What a language model would have answered is read at once, and several prompts together, where `Decoding` feeds
//! token by token. Padding stands behind, where no token sees it. Left out: pictures and sounds in the prompt.

use burn::tensor::Tensor;

use super::llm::Llm;
use super::qwen2::causal_mask;
use super::sequence::{Positions, Sequence};
use crate::error::{Error, Field, Result};

/// A prompt and its answer, in tokens.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) prompt: Sequence,
    pub(super) answer: Vec<u32>,
}

impl Told {
    /// Whether nothing of the prompt is padding, and positions count its tokens.
    fn is_plain(&self) -> bool {
        let Sequence {
            ids,
            keep,
            positions,
            ..
        } = &self.prompt;
        !keep.contains(&false) && *positions == Positions::counted(ids.len())
    }

    fn len(&self) -> usize {
        self.prompt.ids.len() + self.answer.len()
    }
}

impl Llm {
    /// The states `[1, layers + 1, tokens, hidden]` of each answer, as [`Decoding::answer`](super::decoding::Decoding)
    /// gives them for an answer that it chooses.
    ///
    /// # Errors
    /// [`Error::Request`] for an answer without a token, or a prompt that leaves it no room.
    pub(super) async fn told(&self, rows: &[Told]) -> Result<Vec<Tensor<4>>> {
        for row in rows {
            if row.answer.is_empty() {
                return Err(Error::request(
                    Field::Prompt,
                    "has an answer without a token",
                ));
            }
            if row.len() > self.max_positions() {
                let reason = format!(
                    "has {} tokens with its answer; the model reads at most {}",
                    row.len(),
                    self.max_positions()
                );
                return Err(Error::request(Field::Prompt, reason));
            }
        }
        if rows.iter().all(Told::is_plain) {
            return self.told_together(rows).await;
        }
        let mut all = vec![];
        for row in rows {
            all.extend(self.told_together(std::slice::from_ref(row)).await?);
        }
        Ok(all)
    }

    /// Of rows of the same positions and padding, as far as each goes.
    async fn told_together(&self, rows: &[Told]) -> Result<Vec<Tensor<4>>> {
        let Some(longest) = rows.iter().max_by_key(|row| row.len()) else {
            return Ok(vec![]);
        };
        let (tokens, prompt) = (longest.len(), &longest.prompt);
        let mut ids = Vec::with_capacity(rows.len() * tokens);
        for row in rows {
            ids.extend(row.prompt.ids.iter().chain(&row.answer));
            ids.resize(ids.len().next_multiple_of(tokens), row.answer[0]);
        }
        let embedded = self.embed(&ids, vec![]);
        let hidden = embedded.dims()[2];
        let first = prompt.ids.len() as i64 + prompt.positions.delta;
        let mut positions = prompt.positions.tokens.clone();
        positions.extend((first..).take(longest.answer.len()).map(|place| [place; 3]));
        let mut keep = prompt.keep.clone();
        keep.resize(tokens, true);
        let mask = causal_mask(&keep, 0, tokens, self.device());
        let embedded = embedded.reshape([rows.len(), tokens, hidden]);
        let states = self.states(embedded, &positions, mask).await?; // [rows, layers + 1, tokens, hidden]
        let of_row = |(number, row): (usize, &Told)| {
            let states = states.clone().narrow(0, number, 1);
            states.narrow(2, row.prompt.ids.len(), row.answer.len())
        };
        Ok(rows.iter().enumerate().map(of_row).collect())
    }
}
