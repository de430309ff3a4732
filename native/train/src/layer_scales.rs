//! The scales of a language model's layers: the root mean square of each one's states.
//!
//! The middle layers' states may be hundreds of times larger than the first and the last one's, and drown them. AlignNet
//! is trained on states divided by the scales, which then go into its mix, so that inference knows nothing of them.

use burn::tensor::{Tensor, TensorData};
use x2i_core::training::Parameters;
use x2i_core::training::published::fold_layer_scales;
use x2i_core::{Error, Result};

/// One number for each layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerScales {
    scales: Vec<f32>,
    /// `[1, layers + 1, 1, 1]`
    inverses: Tensor<4>,
}

impl LayerScales {
    /// Those of some hidden states `[1, layers + 1, tokens, width]`; a layer of zeros has the scale 1.
    ///
    /// # Errors
    /// The device's; [`Error::Config`] without states.
    pub(crate) fn measure(states: &[Tensor<4>]) -> Result<Self> {
        let Some(first) = states.first() else {
            return Err(Error::config(
                "training",
                "no sample tells the layers' scales",
            ));
        };
        let joined = Tensor::cat(states.to_vec(), 2);
        let squares = joined.square().mean_dim(3).mean_dim(2); // [1, layers + 1, 1, 1]
        let squares = pollster::block_on(squares.into_data_async())?;
        let squares: Vec<f32> = squares
            .try_to_vec()
            .map_err(|error| Error::device("readback", format!("{error:?}")))?;
        let usable = |scale: &f32| scale.is_finite() && *scale > 0.0;
        let scales = squares.into_iter().map(f32::sqrt);
        let scales: Vec<f32> = scales
            .map(|scale| Some(scale).filter(usable).unwrap_or(1.0))
            .collect();
        let inverses: Vec<f32> = scales.iter().map(|scale| scale.recip()).collect();
        let shape = [1, inverses.len(), 1, 1];
        Ok(Self {
            inverses: Tensor::from_data(TensorData::new(inverses, shape), &first.device()),
            scales,
        })
    }

    /// Hidden states as AlignNet is trained on them.
    pub(crate) fn apply(&self, hidden: Tensor<4>) -> Tensor<4> {
        hidden * self.inverses.clone()
    }

    /// Trained parameters become those for the states as they are.
    ///
    /// # Errors
    /// As [`fold_layer_scales`].
    pub(crate) fn fold(&self, parameters: &mut Parameters) -> Result<()> {
        fold_layer_scales(parameters, &self.scales)
    }

    /// The other way round.
    ///
    /// # Errors
    /// As [`fold_layer_scales`].
    pub(crate) fn unfold(&self, parameters: &mut Parameters) -> Result<()> {
        let inverses: Vec<f32> = self.scales.iter().map(|scale| scale.recip()).collect();
        fold_layer_scales(parameters, &inverses)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn scaled_states_of_unfolded_parameters_are_the_states_of_folded_ones() {
        let device = Device::flex();
        let states = |values: [f32; 4]| {
            let data = TensorData::new(values.to_vec(), [1, 2, 1, 2]);
            Tensor::<4>::from_data(data, &device)
        };
        let two = [states([3.0, 3.0, 0.0, 0.0]), states([3.0, -3.0, 0.0, 0.0])];
        let scales = LayerScales::measure(&two).unwrap();
        assert_eq!(scales.scales, [3.0, 1.0]);
        let scaled = scales.apply(states([6.0, 3.0, 2.0, 1.0])).into_data();
        assert_eq!(scaled.try_to_vec::<f32>().unwrap(), [2.0, 1.0, 2.0, 1.0]);
        let mut parameters = Parameters::default();
        parameters.insert("conv.weight", vec![1, 2, 1, 1], vec![6.0, 5.0]);
        scales.fold(&mut parameters).unwrap();
        assert_eq!(parameters.get("conv.weight").unwrap().values, [2.0, 5.0]);
        scales.unfold(&mut parameters).unwrap();
        assert_eq!(parameters.get("conv.weight").unwrap().values, [6.0, 5.0]);
        assert!(LayerScales::measure(&[]).is_err());
    }
}
