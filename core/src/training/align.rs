//! One step of AlignNet: it learns to condition the transformer as T5 and CLIP do.
//!
//! Source: X2I train/train_*.py. The frozen transformer gets the same noise twice, under the teacher's conditioning and
//! under AlignNet's, and the outputs of every attention are compared. One copy of it serves both. A teacher's outputs
//! are held block by block where a segment is one tape ([`Checkpoints`]), instead of its streams, which are as large; in
//! longer segments they are computed again, for one segment at a time. Left out: the encoders, see `teacher` and
//! `encoders`.

use std::ops::Range;

use burn::tensor::Tensor;

use super::gradients::{Gradients, host};
use super::loss::{attention_divergence, relative_error};
use super::walk::{self, Checkpoints, Learns, Objective, Walk, parts};
use crate::align_net::{AlignNet, Conditioning};
use crate::error::{Error, Result};
use crate::flux::{Attentions, BlockAttentions, Flux, Streams};
use crate::nn::rope::Rope;
use crate::weights::Leaves;

/// How attention outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// [`attention_divergence`]: the paper's.
    Divergence {
        /// 3 in the reference.
        temperature: f32,
    },
    /// [`relative_error`].
    Relative,
}

/// Which tokens' attention outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Both streams of double blocks, all tokens of single blocks.
    All,
    /// Those of the image.
    Image,
}

/// How the terms of all attentions become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// What AlignNet learns from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// Of one attention.
    pub comparison: Comparison,
    /// Of each attention.
    pub tokens: Tokens,
    /// Of all attentions.
    pub reduction: Reduction,
    /// The weight of the mean square of the velocities' difference.
    pub velocity: f32,
    /// The weight of the [`relative_error`] of the pooled conditioning.
    pub pooled: f32,
}

impl Distillation {
    /// The reference's: the sum of the divergences of all attentions at temperature 3.
    pub const REFERENCE: Self = Self {
        comparison: Comparison::Divergence { temperature: 3.0 },
        tokens: Tokens::All,
        reduction: Reduction::Sum,
        velocity: 0.0,
        pooled: 0.0,
    };

    /// Text tokens are compared one by one: there must be as many of both.
    fn check(&self, sample: &Sample) -> Result<()> {
        let image = sample.latents.dims()[1];
        let [mine, its] = [&sample.ids, &sample.teacher_ids].map(|ids| ids.len() - image);
        if self.tokens == Tokens::Image || mine == its {
            return Ok(());
        }
        let reason = format!(
            "AlignNet gives {mine} text tokens and T5 {its}, which can't be compared one by one; set `tokens` to \"image\""
        );
        Err(Error::config("training", reason))
    }
}

/// One micro-batch.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What the language model said, `[batch, layers, tokens, width]`.
    pub hidden_states: Tensor<4>,
    /// What T5 and CLIP said.
    pub teacher: Conditioning,
    /// Packed latents at the noise level `sigma`, `[batch, image tokens, channels]`.
    pub latents: Tensor<3>,
    /// Noise levels of the items, 0..1. The reference trains at 1.
    pub sigma: Vec<f32>,
    /// The guidance that is fed in, of each item.
    pub guidance: Vec<f32>,
    /// Ids of all tokens of the student, text first: [`crate::flux::latents::text_ids`], then `image_ids`.
    pub ids: Vec<[f32; 3]>,
    /// Ids of the teacher's.
    pub teacher_ids: Vec<[f32; 3]>,
}

/// What a micro-batch gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// The loss.
    pub total: f64,
    /// The terms of all attentions, double blocks first, each image, then text; not a number where a term was left
    /// out.
    pub attentions: Vec<f32>,
    /// The velocity's term, before its weight.
    pub velocity: Option<f32>,
    /// The pooled conditioning's term, before its weight.
    pub pooled: Option<f32>,
    /// Terms that were no finite numbers and count as nothing.
    pub left_out: usize,
}

/// Runs a micro-batch and adds the gradients of AlignNet's `leaves` to `gradients`. `align_net` was loaded with them.
///
/// # Errors
/// What reading streamed blocks gives, and the device's own failures; [`Error::Config`] where all tokens are compared and
/// the student has other than the teacher.
pub async fn step(
    flux: &Flux,
    (align_net, leaves): (&AlignNet, &Leaves),
    sample: &Sample,
    distillation: &Distillation,
    checkpoints: Checkpoints,
    gradients: &mut Gradients,
) -> Result<Losses> {
    let teacher = Teacher::new(flux, sample, checkpoints, distillation).await?;
    let student = align_net.forward(sample.hidden_states.clone().autodiff());
    let conditions = flux.embed(student.txt, student.vec.clone(), &sample.guidance);
    let (entry, vec) = flux.enter(sample.latents.clone(), &conditions, &sample.sigma);

    let rope = flux.rope(&sample.ids);
    let walk = Walk {
        flux,
        learning: flux,
        rope: &rope,
        vec: vec.clone().inner(),
        learns: Learns::of(&entry, &vec),
        checkpoints,
        leaves: None,
    };
    let mut terms = Terms::new(*distillation, teacher, flux);
    let plain = entry.clone().map(Tensor::inner);
    let cotangents = walk.run(plain, &mut terms, gradients).await?;

    let mut loss: Option<Tensor<1>> = None;
    let mut add = |more: Tensor<1>| {
        loss = Some(match loss.take() {
            Some(loss) => loss + more,
            None => more,
        });
    };
    if let (Streams::Double { txt, .. }, Some(cotangent)) = (entry, cotangents.txt) {
        add(walk::dot(txt, cotangent));
    }
    if let Some(cotangent) = cotangents.vec {
        add(walk::dot(vec, cotangent));
    }
    if distillation.pooled != 0.0 {
        let term = relative_error(student.vec, sample.teacher.vec.clone());
        if let Some(term) = terms.losses.pooled_term(term, distillation.pooled).await? {
            add(term);
        }
    }
    if let Some(loss) = loss {
        let mut tape = loss.backward();
        gradients.collect(leaves, &mut tape).await?;
    }
    Ok(terms.losses)
}

/// The loss of a micro-batch without gradients: for validation.
///
/// # Errors
/// As [`step`].
pub async fn validate(
    flux: &Flux,
    align_net: &AlignNet,
    sample: &Sample,
    distillation: &Distillation,
) -> Result<Losses> {
    let teacher = Teacher::new(flux, sample, Checkpoints::NONE, distillation).await?;
    let student = align_net.forward(sample.hidden_states.clone());
    let conditions = flux.embed(student.txt, student.vec.clone(), &sample.guidance);
    let (mut streams, vec) = flux.enter(sample.latents.clone(), &conditions, &sample.sigma);
    let rope = flux.rope(&sample.ids);
    let mut terms = Terms::new(*distillation, teacher, flux);
    for index in 0..flux.blocks() {
        let block = flux.block(index, streams, vec.clone(), &rope, Attentions::Kept);
        let (out, shown) = block.await?;
        streams = out;
        if let Some(shown) = shown {
            terms.block(index, shown).await?;
        }
    }
    terms.velocity(flux.leave(streams, vec).await?).await?;
    if distillation.pooled != 0.0 {
        let term = relative_error(student.vec, sample.teacher.vec.clone());
        terms.losses.pooled_term(term, distillation.pooled).await?;
    }
    Ok(terms.losses)
}

/// The teacher's pass, segment by segment.
struct Teacher<'a> {
    flux: &'a Flux,
    rope: Rope,
    vec: Tensor<2>,
    /// Its streams at the start of every segment that runs again.
    starts: Vec<(Range<usize>, Streams)>,
    /// The attention outputs of the blocks from a number on, until they are compared.
    shown: (usize, Vec<BlockAttentions>),
    /// Where it is compared.
    velocity: Option<Tensor<3>>,
    /// Tokens of the image, which every block has.
    image_tokens: usize,
}

impl<'a> Teacher<'a> {
    /// Goes through all blocks. Kept are the outputs of the last segment, or of all where a segment is one tape.
    async fn new(
        flux: &'a Flux,
        sample: &Sample,
        checkpoints: Checkpoints,
        distillation: &Distillation,
    ) -> Result<Self> {
        distillation.check(sample)?;
        let Conditioning { txt, vec } = sample.teacher.clone();
        let conditions = flux.embed(txt, vec, &sample.guidance);
        let (mut streams, vec) = flux.enter(sample.latents.clone(), &conditions, &sample.sigma);
        let mut teacher = Self {
            flux,
            rope: flux.rope(&sample.teacher_ids),
            vec,
            starts: vec![],
            shown: (0, vec![]),
            velocity: None,
            image_tokens: sample.latents.dims()[1],
        };
        let most = match checkpoints.segment > checkpoints.tape {
            true => checkpoints.segment,
            false => flux.blocks(),
        };
        let segments = parts(0..flux.blocks(), most);
        for (number, segment) in segments.iter().enumerate() {
            let last = number + 1 == segments.len();
            if !last {
                let start = (segment.clone(), streams.clone());
                teacher.starts.push(start);
            }
            let (out, shown) = teacher.run(segment.clone(), streams, last).await?;
            streams = out;
            teacher.shown = (segment.start, shown);
        }
        if distillation.velocity != 0.0 {
            let velocity = flux.leave(streams, teacher.vec.clone()).await?;
            teacher.velocity = Some(velocity);
        }
        Ok(teacher)
    }

    async fn run(
        &self,
        blocks: Range<usize>,
        mut streams: Streams,
        keep: bool,
    ) -> Result<(Streams, Vec<BlockAttentions>)> {
        let attentions = match keep {
            true => Attentions::Kept,
            false => Attentions::Dropped,
        };
        let mut all = vec![];
        for index in blocks {
            let vec = self.vec.clone();
            let block = self.flux.block(index, streams, vec, &self.rope, attentions);
            let (out, shown) = block.await?;
            streams = out;
            all.extend(shown);
        }
        Ok((streams, all))
    }

    /// Runs a segment again, if its outputs are not at hand.
    async fn prepare(&mut self, blocks: Range<usize>) -> Result<()> {
        if self
            .starts
            .last()
            .is_some_and(|(range, _)| *range == blocks)
        {
            let (range, start) = self.starts.pop().expect("it was seen");
            self.shown.1.clear();
            let (_, shown) = self.run(range, start, true).await?;
            self.shown = (blocks.start, shown);
        }
        self.forget_behind(&blocks);
        Ok(())
    }

    /// Drops the outputs of later blocks, which were compared before: the walk goes back.
    fn forget_behind(&mut self, blocks: &Range<usize>) {
        self.shown.1.truncate(blocks.end - self.shown.0);
    }

    fn shown(&self, index: usize) -> BlockAttentions {
        self.shown.1[index - self.shown.0].clone()
    }
}

/// The loss as the student walks.
struct Terms<'a> {
    distillation: Distillation,
    teacher: Teacher<'a>,
    doubles: usize,
    /// What each term is multiplied by.
    weight: f32,
    losses: Losses,
}

impl<'a> Terms<'a> {
    fn new(distillation: Distillation, teacher: Teacher<'a>, flux: &Flux) -> Self {
        let (doubles, blocks) = (flux.double_blocks(), flux.blocks());
        let count = match distillation.tokens {
            Tokens::All => blocks + doubles,
            Tokens::Image => blocks,
        };
        Self {
            doubles,
            weight: match distillation.reduction {
                Reduction::Sum => 1.0,
                Reduction::Mean => 1.0 / count.max(1) as f32,
            },
            losses: Losses {
                attentions: vec![f32::NAN; count],
                ..Losses::default()
            },
            distillation,
            teacher,
        }
    }

    /// The student's and the teacher's outputs of a block that are compared, and the number of the first term.
    fn pairs(&self, index: usize, shown: BlockAttentions) -> (usize, Vec<[Tensor<3>; 2]>) {
        let all = self.distillation.tokens == Tokens::All;
        match (shown, self.teacher.shown(index)) {
            (
                BlockAttentions::Double { img, txt },
                BlockAttentions::Double {
                    img: its_img,
                    txt: its_txt,
                },
            ) => match all {
                true => (2 * index, vec![[img, its_img], [txt, its_txt]]),
                false => (index, vec![[img, its_img]]),
            },
            (BlockAttentions::Single(mine), BlockAttentions::Single(its)) => {
                let more = if all { self.doubles } else { 0 };
                let pair = match all {
                    true => [mine, its],
                    false => {
                        let image = self.teacher.image_tokens;
                        [mine, its].map(|x| {
                            let tokens = x.dims()[1];
                            x.narrow(1, tokens - image, image)
                        })
                    }
                };
                (index + more, vec![pair])
            }
            _ => unreachable!("both walk through the same blocks"),
        }
    }
}

impl Losses {
    /// Counts a term and its value; `None` for a term that is no finite number.
    async fn counted(&mut self, term: Tensor<1>, weight: f32) -> Result<(f32, Option<Tensor<1>>)> {
        let value = host(term.clone().inner()).await?[0];
        if !value.is_finite() {
            self.left_out += 1;
            return Ok((f32::NAN, None));
        }
        self.total += f64::from(weight) * f64::from(value);
        Ok((value, Some(term * weight)))
    }

    async fn pooled_term(&mut self, term: Tensor<1>, weight: f32) -> Result<Option<Tensor<1>>> {
        let (value, term) = self.counted(term, weight).await?;
        self.pooled = Some(value);
        Ok(term)
    }
}

impl Objective for Terms<'_> {
    fn attentions(&self) -> Attentions {
        Attentions::Kept
    }

    async fn prepare(&mut self, blocks: Range<usize>) -> Result<()> {
        self.teacher.prepare(blocks).await
    }

    async fn block(&mut self, index: usize, shown: BlockAttentions) -> Result<Option<Tensor<1>>> {
        let (first, pairs) = self.pairs(index, shown);
        let mut sum = None;
        for (number, [mine, its]) in pairs.into_iter().enumerate() {
            let term = match self.distillation.comparison {
                Comparison::Divergence { temperature } => {
                    attention_divergence(mine, its, temperature)
                }
                Comparison::Relative => relative_error(mine, its),
            };
            let (value, term) = self.losses.counted(term, self.weight).await?;
            self.losses.attentions[first + number] = value;
            sum = match (sum, term) {
                (Some(sum), Some(term)) => Some(sum + term),
                (sum, term) => sum.or(term),
            };
        }
        Ok(sum)
    }

    async fn velocity(&mut self, velocity: Tensor<3>) -> Result<Option<Tensor<1>>> {
        let Some(its) = self.teacher.velocity.take() else {
            return Ok(None);
        };
        let term = (velocity - its).square().mean();
        let weight = self.distillation.velocity;
        let (value, term) = self.losses.counted(term, weight).await?;
        self.losses.velocity = Some(value);
        Ok(term)
    }

    fn control(&self, _index: usize) -> Option<Tensor<3>> {
        None
    }

    async fn control_gradient(&mut self, _index: usize, _gradient: Tensor<3>) -> Result<()> {
        Ok(())
    }
}
