//! The way through the transformer and back: only a few blocks are recorded at once.
//!
//! On the way forth nothing is recorded, and the kernels of inference run; what flows between blocks is kept at the
//! start of every segment. On the way back a segment runs again, tape by tape from its end, each with the gradient of
//! what the tape behind it took. With one tape over all blocks nothing runs twice.

use std::ops::Range;

use burn::tensor::Tensor;

use super::gradients::Gradients;
use crate::error::Result;
use crate::flux::{Attentions, BlockAttentions, Flux, Streams};
use crate::nn::rope::Rope;
use crate::weights::Leaves;

/// What is held for the way back: fewer tensors cost more work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// Blocks between two places whose streams are held.
    pub segment: usize,
    /// Blocks that are recorded together, at most a segment.
    pub tape: usize,
}

impl Checkpoints {
    /// All blocks on one tape: the fastest, and the most memory.
    pub const NONE: Self = Self {
        segment: usize::MAX,
        tape: usize::MAX,
    };
    /// Every block on a tape of its own, and all streams between blocks held.
    pub const EVERY_BLOCK: Self = Self {
        segment: 1,
        tape: 1,
    };

    /// So many blocks on a tape, and the streams between tapes held; of 0, all blocks on one.
    pub fn recorded(blocks: usize) -> Self {
        match blocks {
            0 => Self::NONE,
            blocks => Self {
                segment: blocks,
                tape: blocks,
            },
        }
    }
}

/// What a step learns from, asked block by block.
pub(super) trait Objective {
    /// Whether blocks shall show their attention outputs.
    fn attentions(&self) -> Attentions;

    /// Hears which blocks are recorded next.
    async fn prepare(&mut self, blocks: Range<usize>) -> Result<()>;

    /// The part of the loss that is known after a block, on the tape.
    async fn block(&mut self, index: usize, shown: BlockAttentions) -> Result<Option<Tensor<1>>>;

    /// The part of the loss that the velocity `[batch, image tokens, channels]` gives, on the tape.
    async fn velocity(&mut self, velocity: Tensor<3>) -> Result<Option<Tensor<1>>>;

    /// What is added to the image stream after a double block.
    fn control(&self, index: usize) -> Option<Tensor<3>>;

    /// Hears the gradient of what [`control`](Self::control) gave.
    async fn control_gradient(&mut self, index: usize, gradient: Tensor<3>) -> Result<()>;
}

/// One transformer with what a call gives to all of its blocks.
pub(super) struct Walk<'a> {
    /// What runs where nothing is recorded.
    pub flux: &'a Flux,
    /// The same with leaves in their places, for what is recorded.
    pub learning: &'a Flux,
    pub rope: &'a Rope,
    /// `[batch, hidden]`, not recorded.
    pub vec: Tensor<2>,
    /// What the first block takes and learns.
    pub learns: Learns,
    pub checkpoints: Checkpoints,
    /// What learns inside of the transformer.
    pub leaves: Option<&'a Leaves>,
}

/// What the first block takes, by whether anything that it is made of learns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learns {
    pub img: bool,
    pub txt: bool,
    pub vec: bool,
}

impl Learns {
    /// As the tensors say, which may be on a tape.
    pub fn of(entry: &Streams, vec: &Tensor<2>) -> Self {
        let streams: Vec<bool> = entry.tensors().iter().map(|x| x.is_tracked()).collect();
        Self {
            img: streams.first().is_some_and(|&learns| learns),
            txt: streams.get(1).is_some_and(|&learns| learns),
            vec: vec.is_tracked(),
        }
    }
}

/// Gradients of what the first block takes; `None` where nothing depends on it.
pub(super) struct Entry {
    pub img: Option<Tensor<3>>,
    pub txt: Option<Tensor<3>>,
    pub vec: Option<Tensor<2>>,
}

/// The gradients of streams, as [`Streams::tensors`] orders them.
type Cotangents = Vec<Option<Tensor<3>>>;

fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.inner().autodiff().require_grad()
}

fn add<const D: usize>(sum: Option<Tensor<D>>, more: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum + more),
        (sum, more) => sum.or(more),
    }
}

/// A number whose gradient with respect to `tensor` is `cotangent`.
pub(super) fn dot<const D: usize>(tensor: Tensor<D>, cotangent: Tensor<D>) -> Tensor<1> {
    (tensor * cotangent).sum()
}

/// Parts of a range, each of so many or, the last one, fewer.
pub(super) fn parts(range: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let most = most.clamp(1, range.len().max(1));
    let end = range.end;
    let starts = range.step_by(most);
    starts.map(|start| start..(start + most).min(end)).collect()
}

impl Walk<'_> {
    /// Goes forth and back from the streams of the first block, which are not recorded; gradients of what learns
    /// inside are added to `gradients`.
    pub async fn run(
        &self,
        streams: Streams,
        objective: &mut impl Objective,
        gradients: &mut Gradients,
    ) -> Result<Entry> {
        let segments = parts(0..self.flux.blocks(), self.checkpoints.segment);
        let mut starts = self.starts(&segments, streams, objective).await?;
        let (mut cotangents, mut vec) = (None, None);
        for segment in segments.into_iter().rev() {
            objective.prepare(segment.clone()).await?;
            let tapes = parts(segment, self.checkpoints.tape);
            let start = starts.pop().expect("every segment has a start");
            let mut starts = self.starts(&tapes, start, objective).await?;
            for tape in tapes.into_iter().rev() {
                let start = starts.pop().expect("every tape has a start");
                let recorded = self.record(tape, start, cotangents, objective, gradients);
                let (before, of_vec) = Box::pin(recorded).await?;
                cotangents = Some(before);
                vec = add(vec, of_vec);
            }
        }
        let mut cotangents = cotangents.unwrap_or_default().into_iter();
        Ok(Entry {
            img: cotangents.next().flatten(),
            txt: cotangents.next().flatten(),
            vec,
        })
    }

    /// The streams at the start of every part, without recording.
    async fn starts(
        &self,
        parts: &[Range<usize>],
        mut streams: Streams,
        objective: &impl Objective,
    ) -> Result<Vec<Streams>> {
        let mut starts = vec![streams.clone()];
        for part in parts.iter().take(parts.len().saturating_sub(1)) {
            for index in part.clone() {
                streams = self.plain(index, streams, objective).await?;
            }
            starts.push(streams.clone());
        }
        Ok(starts)
    }

    async fn plain(
        &self,
        index: usize,
        streams: Streams,
        objective: &impl Objective,
    ) -> Result<Streams> {
        let vec = self.vec.clone();
        let block = self
            .flux
            .block(index, streams, vec, self.rope, Attentions::Dropped);
        let (streams, _) = block.await?;
        Ok(match objective.control(index) {
            Some(control) => controlled(streams, control),
            None => streams,
        })
    }

    /// Records some blocks and goes back through them: the gradients of their streams and of `vec`. Without
    /// cotangents they are the last ones.
    async fn record(
        &self,
        blocks: Range<usize>,
        start: Streams,
        cotangents: Option<Cotangents>,
        objective: &mut impl Objective,
        gradients: &mut Gradients,
    ) -> Result<(Cotangents, Option<Tensor<2>>)> {
        let inputs = self.inputs(blocks.start, start);
        let vec = match self.learns.vec {
            true => leaf(self.vec.clone()),
            false => self.vec.clone(),
        };
        let rope = Rope {
            cos: self.rope.cos.clone().autodiff(),
            sin: self.rope.sin.clone().autodiff(),
        };
        let (mut streams, mut controls, mut loss) = (inputs.clone(), vec![], None);
        for index in blocks {
            let shown = objective.attentions();
            let (out, shown) = self
                .learning
                .block(index, streams, vec.clone(), &rope, shown)
                .await?;
            streams = out;
            if let Some(shown) = shown {
                loss = add(loss, objective.block(index, shown).await?);
            }
            if let Some(control) = objective.control(index) {
                let control = leaf(control);
                streams = controlled(streams, control.clone());
                controls.push((index, control));
            }
        }
        let behind = match cotangents {
            None => {
                let velocity = self.learning.leave(streams, vec.clone()).await?;
                objective.velocity(velocity).await?
            }
            Some(cotangents) => {
                let both = streams.tensors().into_iter().zip(cotangents);
                let dots =
                    both.filter_map(|(stream, cotangent)| Some(dot(stream.clone(), cotangent?)));
                dots.reduce(|sum, dot| sum + dot)
            }
        };
        let recorded = Recorded {
            inputs: inputs.tensors().into_iter().cloned().collect(),
            vec,
            controls,
        };
        match add(loss, behind).filter(Tensor::is_tracked) {
            Some(loss) => self.back(loss, recorded, objective, gradients).await,
            None => Ok((vec![None; recorded.inputs.len()], None)),
        }
    }

    /// The streams of a tape: leaves, but for those of the first block behind which nothing learns.
    fn inputs(&self, first: usize, start: Streams) -> Streams {
        let mut learns = [self.learns.img, self.learns.txt].into_iter();
        start.map(|stream| match first > 0 || learns.next() == Some(true) {
            true => leaf(stream),
            // Beside what is recorded, so that no kernel of inference alone takes it.
            false => stream.inner().autodiff(),
        })
    }

    /// Goes back from a number: the gradients of what was recorded.
    async fn back(
        &self,
        loss: Tensor<1>,
        recorded: Recorded,
        objective: &mut impl Objective,
        gradients: &mut Gradients,
    ) -> Result<(Cotangents, Option<Tensor<2>>)> {
        let mut tape = loss.backward();
        if let Some(leaves) = self.leaves {
            gradients.collect(leaves, &mut tape).await?;
        }
        for (index, control) in recorded.controls {
            if let Some(gradient) = control.grad_remove(&mut tape) {
                objective.control_gradient(index, gradient).await?;
            }
        }
        let inputs = recorded.inputs.iter();
        let of_inputs = inputs.map(|input| input.grad_remove(&mut tape)).collect();
        Ok((of_inputs, recorded.vec.grad_remove(&mut tape)))
    }
}

/// The leaves of a tape.
struct Recorded {
    inputs: Vec<Tensor<3>>,
    vec: Tensor<2>,
    controls: Vec<(usize, Tensor<3>)>,
}

/// Streams with an addition to the image.
pub(super) fn controlled(streams: Streams, control: Tensor<3>) -> Streams {
    match streams {
        Streams::Double { img, txt } => Streams::Double {
            img: img + control,
            txt,
        },
        single => single,
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn parts_cover_a_range_and_the_last_is_ragged() {
        assert_eq!(parts(0..7, 3), [0..3, 3..6, 6..7]);
        assert_eq!(parts(2..4, 0), [2..3, 3..4]);
        let whole = parts(2..4, usize::MAX);
        assert!(whole.len() == 1 && whole[0] == (2..4));
    }
}
