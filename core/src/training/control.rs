//! One step of LightControl: its nets learn to steer the frozen transformer.
//!
//! Source: X2I lightcontrol/. The loss is that of flow matching. A net's own tape is recorded when the gradient of its
//! output is known, so that no more than one net's feature maps are held. Left out: where the hint comes from.

use std::ops::Range;

use burn::tensor::Tensor;

use super::gradients::{Gradients, host};
use super::loss::{Weighting, flow_matching_loss};
use super::noise::Sample;
use super::walk::{Checkpoints, Learns, Objective, Walk, controlled, dot};
use crate::align_net::Conditioning;
use crate::error::Result;
use crate::flux::{Attentions, BlockAttentions, Flux};
use crate::light_control::LightControl;
use crate::weights::Leaves;

/// The nets that learn.
#[derive(Debug, Clone, Copy)]
pub struct Nets<'a> {
    /// Loaded with `leaves`.
    pub nets: &'a LightControl,
    /// All that learns.
    pub leaves: &'a Leaves,
    /// What their output is multiplied by.
    pub scale: f32,
}

/// Runs a micro-batch and adds the gradients of the nets' leaves to `gradients`; gives the loss. `hint` is `[batch, 3,
/// height, width]` in -1..1.
///
/// # Errors
/// What reading streamed blocks gives, and the device's own failures.
pub async fn step(
    flux: &Flux,
    nets: Nets<'_>,
    (sample, hint): (&Sample, &Tensor<4>),
    weighting: Weighting,
    checkpoints: Checkpoints,
    gradients: &mut Gradients,
) -> Result<f32> {
    let outputs = (0..nets.nets.len()).filter_map(|index| nets.forward(index, hint, sample));
    let mut steered = Steered {
        outputs: outputs.map(Tensor::inner).collect(),
        cotangents: vec![],
        sample,
        weighting,
        loss: f32::NAN,
    };
    let both = [flux, flux];
    walk(both, sample, &mut steered, checkpoints, None, gradients).await?;
    let (cotangents, loss) = (steered.cotangents, steered.loss);
    for (index, cotangent) in cotangents {
        let Some(output) = nets.forward(index, &hint.clone().autodiff(), sample) else {
            continue;
        };
        let mut tape = dot(output, cotangent).backward();
        gradients.collect(nets.leaves, &mut tape).await?;
    }
    Ok(loss)
}

/// Walks a sample of flow matching through the transformer and back: `flux` is that of [`Walk`], and the one that learns.
pub(super) async fn walk(
    [flux, learning]: [&Flux; 2],
    sample: &Sample,
    objective: &mut impl Objective,
    checkpoints: Checkpoints,
    leaves: Option<&Leaves>,
    gradients: &mut Gradients,
) -> Result<()> {
    let Conditioning { txt, vec } = sample.conditioning.clone();
    let conditions = learning.embed(txt, vec, &sample.guidance);
    let (entry, vec) = learning.enter(sample.noised(), &conditions, &sample.sigma);
    let rope = flux.rope(&sample.ids);
    let walk = Walk {
        flux,
        learning,
        rope: &rope,
        vec: vec.clone().inner(),
        learns: Learns::of(&entry, &vec),
        checkpoints,
        leaves,
    };
    let plain = entry.clone().map(Tensor::inner);
    let found = walk.run(plain, objective, gradients).await?;
    // Layers before the blocks may learn too.
    let streams = entry.tensors().into_iter().zip([found.img, found.txt]);
    let streams = streams.filter(|(stream, _)| stream.is_tracked());
    let mut dots: Vec<Tensor<1>> = streams
        .filter_map(|(stream, cotangent)| Some(dot(stream.clone(), cotangent?)))
        .collect();
    if vec.is_tracked() {
        dots.extend(found.vec.map(|cotangent| dot(vec, cotangent)));
    }
    let sum = dots.into_iter().reduce(|sum, dot| sum + dot);
    if let (Some(sum), Some(leaves)) = (sum, leaves) {
        let mut tape = sum.backward();
        gradients.collect(leaves, &mut tape).await?;
    }
    Ok(())
}

impl Nets<'_> {
    fn forward(&self, index: usize, hint: &Tensor<4>, sample: &Sample) -> Option<Tensor<3>> {
        let output = self.nets.forward(index, hint, &sample.sigma)?;
        Some(output * self.scale)
    }
}

/// Flow matching with additions to the image stream.
pub(super) struct Steered<'a> {
    /// After each double block from the first.
    pub outputs: Vec<Tensor<3>>,
    /// Of the outputs.
    pub cotangents: Vec<(usize, Tensor<3>)>,
    pub sample: &'a Sample,
    pub weighting: Weighting,
    /// Not a number before the walk.
    pub loss: f32,
}

impl Objective for Steered<'_> {
    fn attentions(&self) -> Attentions {
        Attentions::Dropped
    }

    async fn prepare(&mut self, _blocks: Range<usize>) -> Result<()> {
        Ok(())
    }

    async fn block(&mut self, _index: usize, _shown: BlockAttentions) -> Result<Option<Tensor<1>>> {
        Ok(None)
    }

    async fn velocity(&mut self, velocity: Tensor<3>) -> Result<Option<Tensor<1>>> {
        let loss = self.sample.loss(velocity, self.weighting);
        self.loss = host(loss.clone().inner()).await?[0];
        Ok(Some(loss))
    }

    fn control(&self, index: usize) -> Option<Tensor<3>> {
        self.outputs.get(index).cloned()
    }

    async fn control_gradient(&mut self, index: usize, gradient: Tensor<3>) -> Result<()> {
        self.cotangents.push((index, gradient));
        Ok(())
    }
}

impl Sample {
    /// The loss of a velocity, of which tokens of the reference have no part.
    fn loss(&self, velocity: Tensor<3>, weighting: Weighting) -> Tensor<1> {
        let tokens = self.latents.dims()[1];
        let velocity = velocity.narrow(1, 0, tokens);
        let (latents, noise) = (self.latents.clone(), self.noise.clone());
        flow_matching_loss(velocity, latents, noise, &self.sigma, weighting)
    }

    /// The velocity of its image tokens, and its loss, without gradients: for validation.
    ///
    /// # Errors
    /// As [`step`].
    pub async fn validate(
        &self,
        flux: &Flux,
        nets: Option<(Nets<'_>, &Tensor<4>)>,
        weighting: Weighting,
    ) -> Result<(Tensor<3>, f32)> {
        let Conditioning { txt, vec } = self.conditioning.clone();
        let conditions = flux.embed(txt, vec, &self.guidance);
        let (mut streams, vec) = flux.enter(self.noised(), &conditions, &self.sigma);
        let rope = flux.rope(&self.ids);
        for index in 0..flux.blocks() {
            let block = flux.block(index, streams, vec.clone(), &rope, Attentions::Dropped);
            (streams, _) = block.await?;
            if let Some((nets, hint)) = nets
                && let Some(control) = nets.forward(index, hint, self)
            {
                streams = controlled(streams, control);
            }
        }
        let velocity = flux.leave(streams, vec).await?;
        let loss = self.loss(velocity.clone(), weighting);
        let velocity = velocity.narrow(1, 0, self.latents.dims()[1]);
        Ok((velocity, host(loss).await?[0]))
    }
}
