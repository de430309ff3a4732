//! Latents with noise: one micro-batch of flow matching.

use burn::tensor::{Tensor, TensorData};

use crate::align_net::Conditioning;

/// One micro-batch whose target is a picture.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Conditioning, of AlignNet or of T5 and CLIP.
    pub conditioning: Conditioning,
    /// Packed latents of the pictures, `[batch, image tokens, channels]`.
    pub latents: Tensor<3>,
    /// Noise of the same shape.
    pub noise: Tensor<3>,
    /// Noise levels of the items, 0..1.
    pub sigma: Vec<f32>,
    /// The guidance that is fed in, of each item.
    pub guidance: Vec<f32>,
    /// Ids of all tokens, text first; those of `reference` last.
    pub ids: Vec<[f32; 3]>,
    /// Packed latents of a source picture, whose tokens follow the image's and have no loss.
    pub reference: Option<Tensor<3>>,
}

impl Sample {
    /// `(1 - sigma) latents + sigma noise`, then the tokens of the reference.
    pub(super) fn noised(&self) -> Tensor<3> {
        let device = self.latents.device();
        let sigma = TensorData::new(self.sigma.clone(), [self.sigma.len(), 1, 1]);
        let sigma = Tensor::<3>::from_data(sigma, &device);
        let left = sigma.clone().neg() + 1.0;
        let noised = self.latents.clone() * left + self.noise.clone() * sigma;
        match &self.reference {
            Some(reference) => Tensor::cat(vec![noised, reference.clone()], 1),
            None => noised,
        }
    }
}
