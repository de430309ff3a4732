//! Images on the host: 8-bit RGB, and conversion to and from tensors.
//!
//! [`resize`](resize::resize_bicubic) is exact to PIL, `resize_float` to torchvision. Not here:
//! file formats (the native engine, the browser).

mod background;
pub(crate) mod cubic;
mod edges;
mod hint;
pub(crate) mod normalize;
pub mod resize;
pub(crate) mod resize_float;
mod windows;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

pub use self::background::Background;
pub use self::hint::Hint;
use crate::error::{Error, Result};

/// The largest image that we accept, in pixels: beyond it lies a decompression bomb.
pub const MAX_PIXELS: usize = 178_956_970;

/// Bytes of one pixel: red, green, blue.
const CHANNELS: usize = 3;

/// An RGB image of 8 bits a channel, rows from the top; clones share its pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    /// `height * width * 3` bytes.
    pixels: Arc<Vec<u8>>,
}

impl Image {
    /// An image of `height * width * 3` bytes.
    ///
    /// # Errors
    /// [`Error::Image`] when a side is 0, the length differs or the image is too large.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let bytes = check_size(width, height)? * CHANNELS;
        if pixels.len() != bytes {
            return Err(Error::image(
                "image",
                format!(
                    "{width}x{height} needs {bytes} bytes of RGB, not {}",
                    pixels.len()
                ),
            ));
        }
        Ok(Self {
            width,
            height,
            pixels: Arc::new(pixels),
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// RGB bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// `[1, 3, height, width]` in -1..1, as the VAE's encoder takes it.
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        let values: Vec<f32> = self
            .pixels
            .iter()
            .map(|&byte| f32::from(byte) / 127.5 - 1.0)
            .collect();
        let hwc = Tensor::<3>::from_data(
            TensorData::new(values, [self.height, self.width, 3]),
            device,
        );
        hwc.permute([2, 0, 1]).unsqueeze::<4>() // [1, 3, height, width]
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}

/// The pixels of an image of this size.
///
/// # Errors
/// [`Error::Image`] when a side is 0 or the image is too large.
fn check_size(width: usize, height: usize) -> Result<usize> {
    if width == 0 || height == 0 {
        return Err(Error::image(
            "image",
            format!("{width}x{height} has no pixels"),
        ));
    }
    let pixels = width.checked_mul(height).filter(|&n| n <= MAX_PIXELS);
    pixels.ok_or_else(|| {
        Error::image(
            "image",
            format!("{width}x{height} is more than {MAX_PIXELS} pixels"),
        )
    })
}

/// Images from decoded `[batch, 3, height, width]` in -1..1: `clamp(x/2 + 0.5, 0, 1) * 255`,
/// half to even, as diffusers' `VaeImageProcessor.postprocess`.
///
/// This is the only readback of a generation; a browser can't block, hence `async`.
///
/// # Errors
/// [`Error::Device`] when the device failed, [`Error::NotANumber`] when a value is NaN.
pub async fn to_rgb8(decoded: Tensor<4>) -> Result<Vec<Image>> {
    let [batch, _channels, height, width] = decoded.dims();
    let data = decoded.permute([0, 2, 3, 1]).into_data_async().await?; // [batch, height, width, 3]
    let values: Vec<f32> = data
        .try_to_vec()
        .map_err(|error| Error::device("readback", format!("{error:?}")))?;
    let bytes: Vec<u8> = values.iter().map(|&value| to_byte(value)).collect();
    if values.iter().any(|value| value.is_nan()) {
        return Err(Error::NotANumber);
    }
    (0..batch)
        .map(|index| {
            let size = height * width * 3;
            Image::new(
                width,
                height,
                bytes[index * size..(index + 1) * size].to_vec(),
            )
        })
        .collect()
}

fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_half_to_even_and_clamp() {
        assert_eq!(to_byte(-3.0), 0);
        assert_eq!(to_byte(3.0), 255);
        assert_eq!(to_byte(0.0), 128); // 127.5 goes to the even 128
    }

    #[test]
    fn a_picture_whose_bytes_do_not_fit_is_refused() {
        assert!(Image::new(2, 2, vec![0; 11]).is_err());
        assert!(Image::new(0, 2, vec![]).is_err());
        assert!(Image::new(usize::MAX, 2, vec![]).is_err());
    }
}
