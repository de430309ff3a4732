//! AutoencoderKL in FLUX form: images to latents and back.
//!
//! Source: black-forest-labs/flux `modules/autoencoder.py`; fields are its checkpoint's names.
//! A large image is decoded in bands of rows, with the same result ([`Tiling`]). Not supported:
//! quant convs (FLUX has none), and bands in the encoder.

mod bands;
mod blocks;
mod decoder;
mod encoder;
mod half;
mod on_part;

pub use bands::{Bands, Tiling};
pub use decoder::Vae;
pub use encoder::{LatentDistribution, VaeEncoder};
pub use on_part::OnPart;
