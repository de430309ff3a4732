//! Decoding in bands against decoding whole, on the tiny autoencoder of the parity goldens.

use std::borrow::Cow;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, DeviceType, Tensor, TensorData};
use x2i_core::config::VaeConfig;
use x2i_core::vae::{Tiling, Vae};
use x2i_core::weights::{Component, MemorySource, Weights};

/// Of the largest value: the convolutions' tiles lie elsewhere, so that sums round differently.
/// A step of 8 bits is 200 times as large.
const TOLERANCE: f32 = 2e-5;

fn read(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/vae_tiny");
    std::fs::read(folder.join(file)).expect("the golden autoencoder is in the repository")
}

fn config() -> VaeConfig {
    serde_json::from_slice(&read("config.json")).expect("its config")
}

fn load(device: &Device) -> Vae {
    let bytes = Cow::Owned(read("diffusion_pytorch_model.safetensors"));
    let source = Arc::new(MemorySource::new("vae", bytes));
    pollster::block_on(async {
        let weights = Weights::open("vae", Component::Vae, vec![source]).await?;
        Vae::load_decoder(&config(), &weights.scope(device)).await
    })
    .expect("its weights")
}

/// The CPU, and a wgpu adapter where there is one.
fn devices() -> Vec<Device> {
    let mut devices = vec![Device::flex()];
    match Device::enumerate(DeviceType::Wgpu).into_vec().pop() {
        Some(device) => devices.push(device),
        // Not a print macro: those the test runner captures.
        None => drop(writeln!(stderr(), "SKIPPED: no wgpu adapter")),
    }
    devices
}

/// Latents that differ from top to bottom in mean and spread, so that no band has the moments of all.
fn latents(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let [_, _, height, width] = shape;
    let values = (0..shape.iter().product()).map(|index: usize| {
        let depth = (index / width % height) as f32 / height as f32;
        let noise = (index as f32 * 12.9898).sin() * 43758.547;
        (noise - noise.floor() - 0.5) * (0.5 + 3.0 * depth) + 2.0 * depth - 1.0
    });
    Tensor::from_data(TensorData::new(values.collect(), shape), device)
}

fn decode(vae: &Vae, tiling: Tiling, latents: Tensor<4>) -> Vec<f32> {
    let mut on_part = async |_: &str, _: &_| Ok(());
    let picture = pollster::block_on(vae.decode_in(tiling, latents, &mut on_part));
    let data = picture.expect("nothing stops it").into_data();
    data.iter::<f32>().collect()
}

/// The largest difference, as a share of the largest value.
fn difference(found: &[f32], whole: &[f32]) -> f32 {
    assert_eq!(found.len(), whole.len());
    let largest = whole
        .iter()
        .fold(0.0, |most: f32, value| most.max(value.abs()));
    let apart = found.iter().zip(whole).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |most, apart| {
        if apart > most || apart.is_nan() {
            apart
        } else {
            most
        }
    }) / largest
}

#[test]
fn a_picture_in_bands_is_the_whole_picture() {
    for device in devices() {
        let vae = load(&device);
        // Heights that no band divides, a batch, one row, one column.
        for (shape, splits) in [
            ([1, 16, 13, 7], [300, 1000, 2000]),
            ([2, 16, 5, 11], [1, 1500, 3000]),
            ([1, 16, 1, 9], [72, 100, 300]),
            ([1, 16, 9, 1], [8, 20, 99]),
        ] {
            let latents = latents(shape, &device);
            let whole = decode(&vae, Tiling::Whole, latents.clone());
            for pixels in splits {
                let found = decode(&vae, Tiling::Bands { pixels }, latents.clone());
                let worst = difference(&found, &whole);
                let case = format!("{shape:?} in bands of {pixels} pixels on {device:?}");
                assert!(worst <= TOLERANCE, "{case}: {worst}");
            }
        }
    }
}

#[test]
fn a_large_picture_is_decoded_in_bands_that_show_no_seams() {
    let device = Device::flex();
    let vae = load(&device);
    let latents = latents([1, 16, 131, 121], &device); // 968 x 1048 pixels
    assert_ne!(Tiling::of(968, 1048), Tiling::Whole);
    let mut heard = 0;
    let mut on_part = async |_: &str, _: &_| {
        heard += 1;
        Ok(())
    };
    let found = pollster::block_on(vae.decode(latents.clone(), &mut on_part));
    let found: Vec<f32> = found
        .expect("it decodes")
        .into_data()
        .iter::<f32>()
        .collect();
    assert_eq!(heard, vae.decoder_parts());
    let worst = difference(&found, &decode(&vae, Tiling::Whole, latents));
    assert!(worst <= TOLERANCE, "{worst}");
}

#[test]
fn pictures_up_to_a_megapixel_stay_whole() {
    assert_eq!(Tiling::of(1000, 1000), Tiling::Whole);
    assert_ne!(Tiling::of(1008, 1000), Tiling::Whole);
    assert_ne!(Tiling::of(usize::from(u16::MAX), 16), Tiling::Whole);
}
