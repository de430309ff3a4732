//! Pictures that a LoRA learns.

use std::fs;
use std::path::Path;

/// A folder of pictures with captions: flat colours and a stripe.
pub fn make(folder: &Path, captions: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    for (number, caption) in captions.iter().enumerate() {
        let (width, height) = (40 + 8 * number as u32, 40);
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|at| {
                let stripe = (at % width / 5).is_multiple_of(2);
                let red = 40 * number as u8;
                [red, if stripe { 200 } else { 20 }, 90]
            })
            .collect();
        let mut png = vec![];
        let mut encoder = png::Encoder::new(&mut png, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&pixels).unwrap();
        writer.finish().unwrap();
        fs::write(folder.join(format!("{number}.png")), png).unwrap();
        fs::write(folder.join(format!("{number}.txt")), caption).unwrap();
    }
}
