//! Borders between devices: what blocks work on goes to the device of the next one.
//!
//! It goes by way of the host, which every pair of devices shares and which hears of a lost one. Between two
//! blocks of one device nothing moves.

use burn::tensor::{Device, Tensor};

use crate::error::Result;
use crate::nn::rope::Rope;

/// The device that a call of the transformer has come to.
pub(super) struct Place<'a> {
    devices: &'a [Device],
    at: usize,
    /// By the number of the device, where the call has been there.
    known: Vec<Option<Known>>,
}

/// What every block needs on its device.
#[derive(Clone)]
pub(super) struct Known {
    /// Modulation's input, `[batch, hidden]`.
    pub vec: Tensor<2>,
    /// Rotations of all tokens.
    pub rope: Rope,
}

impl<'a> Place<'a> {
    /// On the first of `devices`, where `known` is.
    pub fn first(devices: &'a [Device], known: Known) -> Self {
        let mut all = vec![None; devices.len()];
        all[0] = Some(known);
        Self {
            devices,
            at: 0,
            known: all,
        }
    }

    /// Goes to a device with `streams` `[batch, tokens, hidden]`; gives what is known there.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a device failed.
    pub async fn go(&mut self, to: usize, streams: &mut [&mut Tensor<3>]) -> Result<&Known> {
        let device = &self.devices[to];
        if to != self.at {
            for stream in streams {
                **stream = moved(stream.clone(), device).await?;
            }
        }
        let known = match (self.known[to].take(), &self.known[self.at]) {
            (None, Some(Known { vec, rope })) => Known {
                vec: moved(vec.clone(), device).await?,
                rope: Rope {
                    cos: moved(rope.cos.clone(), device).await?,
                    sin: moved(rope.sin.clone(), device).await?,
                },
            },
            (Some(known), _) => known,
            (None, None) => unreachable!("a call knows all where it is"),
        };
        self.at = to;
        Ok(self.known[to].insert(known))
    }
}

/// `x` on a device; the same tensor where it is there already.
///
/// # Errors
/// [`crate::Error::Device`] when its own device failed.
pub(super) async fn moved<const D: usize>(x: Tensor<D>, device: &Device) -> Result<Tensor<D>> {
    if x.device() == *device {
        return Ok(x);
    }
    let data = x.into_data_async().await?;
    let dtype = data.dtype();
    Ok(Tensor::from_data(data, (device, dtype)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_on_its_device_is_not_copied() {
        let device = Device::flex();
        let x = Tensor::<1>::from_floats([1.0, -0.0], &device);
        let same = pollster::block_on(moved(x, &device)).expect("it is there");
        assert_eq!(same.into_data().try_to_vec(), Ok(vec![1.0_f32, -0.0]));
    }
}
