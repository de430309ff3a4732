//! scratch
use burn::tensor::{Device, Tensor};
use x2i_core::image::{self, Image};
use x2i_core::model::{open_weights, read_config, ModelSource};
use x2i_core::vae::{Tiling, Vae};
use x2i_core::weights::Component;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let side: u32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let picture = ::image::open(path).unwrap().to_rgb8();
    let (w, h) = picture.dimensions();
    let (nw, nh) = (side, (side * h / w) / 8 * 8);
    let picture = ::image::imageops::resize(&picture, nw, nh, ::image::imageops::FilterType::CatmullRom);
    let img = Image::new(nw as usize, nh as usize, picture.into_raw()).unwrap();
    let source = x2i::source::FolderSource::open("core/models/emoji").unwrap();
    let device = Device::flex();
    pollster::block_on(async {
        let config = read_config(&source as &dyn ModelSource).await.unwrap();
        let weights = open_weights(&source, Component::Vae, &config.vae.weights).await.unwrap();
        let vae = Vae::load(&config.vae.config, &weights.scope(&device)).await.unwrap();
        let none = &mut async |_: &str, _: &Tensor<4>| Ok(());
        let z = vae.encode(img.to_tensor(&device), none).await.unwrap().mean;
        let t = std::time::Instant::now();
        let whole = vae.decode_tiled(z.clone(), Tiling::Off, none).await.unwrap();
        let off = t.elapsed();
        for (window, count, margin) in [(16, 4, 0), (16, 8, 0), (32, 2, 0), (32, 4, 0), (32, 4, 4), (48, 3, 0), (64, 2, 0), (64,2,8), (64, 3, 0), (24,8,4), (32,8,4),(24, 12, 4), (10000,1,0)] {
            unsafe { std::env::set_var("WINDOW", window.to_string()); std::env::set_var("COUNT", count.to_string()); std::env::set_var("MARGIN", margin.to_string()); }
            let t = std::time::Instant::now();
            let tiled = vae.decode_tiled(z.clone(), Tiling::On, none).await.unwrap();
            let on = t.elapsed();
            let mse: f32 = ((whole.clone().clamp(-1.0, 1.0) - tiled.clone().clamp(-1.0, 1.0)) * 127.5).square().mean().into_scalar();
            println!("{nw}x{nh} window {window} x {count}² margin {margin}: {:.1} dB, {off:?} {on:?} share {:.2}", 10.0 * (255.0f32 * 255.0 / mse).log10(), (window*window*count*count) as f64*16.0/(nw*nh) as f64);
        }
        let _ = image::to_rgb8(whole).await;
    });
}
