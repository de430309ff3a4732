//! What else an answer could have been: it begins alike, goes on with another token where it is doubted, and from there
//! greedily.
//!
//! All alternatives are read at once, a token of each in every round, so that they cost about as much as the longest
//! one: a token sees the prompt, what the answers share, and the tokens of its own alternative. Where the answer is
//! unsure, one that meets it again, by a token that stands in it further on, goes on as the answer does: where a
//! concept's name is unsure, its colour is not read again. One that does not end in time is left out.

use burn::tensor::{Device, Tensor, TensorData};

use super::decoding::{Decoding, read_back};
use super::doubt::Doubt;
use super::sampling::likeliest;
use crate::error::Result;

/// How alternatives go on after their own token.
#[derive(Debug, Clone, Copy)]
pub(super) enum Onward {
    /// As the answer does from where they meet it again; within its length.
    Rejoining,
    /// By themselves, in at most so many tokens: what the answer says is nothing of theirs.
    Alone(usize),
}

/// Another answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rival {
    pub(super) tokens: Vec<u32>,
    /// Of the token that makes it another.
    pub(super) probability: f32,
}

/// An alternative that is being read.
struct Reading {
    rival: Rival,
    /// Where its tokens are among those that the decoder has read.
    places: Vec<usize>,
    is_complete: bool,
}

impl Reading {
    /// Adds the next token, and where it meets the answer again, the rest of it.
    fn push(&mut self, token: u32, tail: &[u32], ends: &[u32]) {
        let met = tail.iter().position(|&later| later == token);
        match met {
            Some(at) => self.rival.tokens.extend(&tail[at..]),
            None => self.rival.tokens.push(token),
        }
        self.is_complete = met.is_some() || ends.contains(&token);
    }
}

impl Decoding<'_> {
    /// The alternatives to the `answer` that was chosen, the likeliest first. Nothing can be fed after it.
    ///
    /// # Errors
    /// As [`answer`](Decoding::answer).
    pub(super) async fn alternatives(
        mut self,
        answer: &[u32],
        doubt: &Doubt,
        onward: Onward,
        ends: &[u32],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<Rival>> {
        // The last token was chosen and never fed.
        self.forget(answer.len() - 1 - doubt.index);
        let shared = self.keep.len();
        let begin = &answer[..doubt.index];
        let (tail, rounds) = match onward {
            Onward::Rejoining => {
                let tail = &answer[doubt.index + 1..];
                (tail, tail.len())
            }
            Onward::Alone(most) => (&[][..], most.saturating_sub(doubt.index + 1)),
        };
        let rivals = doubt.rivals.iter().map(|&(token, probability)| {
            let tokens = begin.to_vec();
            let mut reading = Reading {
                rival: Rival {
                    tokens,
                    probability,
                },
                places: vec![],
                is_complete: false,
            };
            reading.push(token, tail, ends);
            reading
        });
        let mut readings: Vec<Reading> = rivals.collect();
        for _ in 0..rounds {
            let open = readings.iter_mut().filter(|reading| !reading.is_complete);
            let mut open: Vec<&mut Reading> = open.collect();
            if open.is_empty() {
                break;
            }
            let tokens = self.round(shared, &mut open, before_layer).await?;
            for (reading, token) in open.into_iter().zip(tokens) {
                reading.push(token, tail, ends);
            }
        }
        readings.retain(|reading| reading.is_complete);
        Ok(readings.into_iter().map(|reading| reading.rival).collect())
    }

    /// Feeds the last token of each; gives the likeliest next ones. The first `shared` tokens read are those of all.
    async fn round(
        &mut self,
        shared: usize,
        open: &mut [&mut Reading],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<u32>> {
        let mut tokens = vec![];
        for reading in open.iter_mut() {
            tokens.extend(reading.rival.tokens.last());
            reading.places.push(self.keep.len());
            self.keep.push(true);
        }
        let mask = mask(&self.keep, shared, open, &self.device);
        let embeddings = self.decoder.embed(&tokens, &self.device);
        let positions = vec![[self.next; 3]; tokens.len()];
        self.next += 1;
        let states = self
            .run(embeddings, &positions, Some(mask), before_layer)
            .await?;
        let logits = self.decoder.logits_of_all(&states); // [alternatives, vocabulary]
        let width = logits.dims()[1];
        let values = read_back(logits).await?;
        let next = values.chunks_exact(width);
        Ok(next.map(|logits| likeliest(logits) as u32).collect())
    }
}

/// What is added to the scores, `[1, 1, alternatives, keep.len()]`: each sees what is shared, and itself.
fn mask(keep: &[bool], shared: usize, open: &[&mut Reading], device: &Device) -> Tensor<4> {
    let mut mask = Vec::with_capacity(open.len() * keep.len());
    for reading in open {
        let sees = |key: usize| keep[key] && (key < shared || reading.places.contains(&key));
        mask.extend((0..keep.len()).map(|key| if sees(key) { 0.0 } else { f32::MIN }));
    }
    Tensor::from_data(
        TensorData::new(mask, [1, 1, open.len(), keep.len()]),
        device,
    )
}
