//! Pictures as people have them: rare formats, profiles of colors, files that were cut or begin with
//! something else, and sizes that no machine should be asked for.

mod ffmpeg;

use std::fs;
use std::io::Cursor;
use std::time::{Duration, Instant};

use ffmpeg::maker;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage};
use x2i_core::Image;
use x2i_engine::media::image as picture;

/// Smooth in both directions, so that codecs change it little.
fn example() -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| Rgb([(x * 4) as u8, (y * 5) as u8, 128]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(bytes: &[u8]) -> Image {
    picture::decode("in.x", bytes).unwrap()
}

fn message(bytes: &[u8]) -> String {
    let message = picture::decode("in.x", bytes).unwrap_err().to_string();
    assert!(
        message.starts_with("in.x: ") && !message.contains('\n'),
        "{message}"
    );
    message
}

/// The greatest difference from [`example`].
fn error(image: &Image) -> u8 {
    assert_eq!((image.width(), image.height()), (64, 48));
    let pairs = image.pixels().iter().zip(example().into_raw());
    pairs
        .map(|(found, expected)| found.abs_diff(expected))
        .max()
        .unwrap()
}

#[test]
fn rare_formats_are_read_without_ffmpeg() {
    for format in [ImageFormat::Tiff, ImageFormat::Pnm] {
        assert_eq!(error(&decode(&encoded(example(), format))), 0, "{format:?}");
    }
    let icon = DynamicImage::from(example()).into_rgba8();
    assert_eq!(error(&decode(&encoded(icon, ImageFormat::Ico))), 0);
    // Other programs write PNGs without transparency into icons.
    let png = encoded(example(), ImageFormat::Png);
    let entry = [&(png.len() as u32).to_le_bytes()[..], &22u32.to_le_bytes()].concat();
    let icon = [
        &b"\0\0\x01\0\x01\0"[..],
        b"\0\0\0\0\x01\0\x20\0",
        &entry,
        &png,
    ]
    .concat();
    assert_eq!(error(&decode(&icon)), 0);
    let tga = encoded(example(), ImageFormat::Tga);
    assert_eq!(error(&picture::decode("a.TGA", &tga).unwrap()), 0);
    let signed = [&tga[..], &[0; 8], b"TRUEVISION-XFILE.\0"].concat();
    assert_eq!(error(&decode(&signed)), 0);
    assert!(message(&tga).contains("is not an image (png"));
    assert_eq!(
        decode(b"P3\n# two\n2 1\n255\n1 2 3 4 5 6\n").pixels(),
        [1, 2, 3, 4, 5, 6]
    );
}

#[test]
fn sixteen_bits_of_grey_are_scaled_not_cut_off() {
    let grey = image::ImageBuffer::<Luma<u16>, _>::from_fn(4, 1, |x, _| Luma([x as u16 * 0x5555]));
    let files = [ImageFormat::Png, ImageFormat::Tiff].map(|format| encoded(grey.clone(), format));
    let pgm = b"P5\n4 1\n65535\n\0\0\x55\x55\xaa\xaa\xff\xff".to_vec();
    for file in files.into_iter().chain([pgm]) {
        let image = decode(&file);
        let reds: Vec<u8> = image
            .pixels()
            .chunks_exact(3)
            .map(|pixel| pixel[0])
            .collect();
        assert_eq!(reds, [0, 0x55, 0xaa, 0xff]);
    }
}

#[test]
fn formats_of_phones_and_archives_are_read_through_ffmpeg() {
    let cases = [
        ("libopenjpeg", "-c:v libopenjpeg", "a.jp2", 8),
        ("jpeg2000", "-c:v jpeg2000 -pred 1", "b.jp2", 8),
        (
            "libaom-av1",
            "-c:v libaom-av1 -crf 5 -pix_fmt yuv444p -frames:v 1",
            "a.avif",
            10,
        ),
    ];
    for (encoder, options, name, most) in cases {
        let Some(maker) = maker(&[encoder]) else {
            continue;
        };
        fs::write(maker.path("a.png"), encoded(example(), ImageFormat::Png)).unwrap();
        let path = maker.make(&format!("-i DIR/a.png {options}"), name);
        let found = error(&picture::read(&path).unwrap().value);
        assert!(found <= most, "{name}: {found}");
        // From memory too, as from a data URL.
        assert_eq!(error(&decode(&fs::read(&path).unwrap())), found);
    }
}

#[test]
fn a_heic_picture_of_tiles_is_told_apart_from_a_video_and_how_to_convert_it() {
    let mut tiles = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x20meta\0\0\0\0".to_vec();
    tiles.extend(b"\0\0\0\x15infe\x02\0\0\0\0\x31\0\0grid\0");
    let said = message(&tiles);
    assert!(
        said.contains("HEIC") && said.contains("heif-convert"),
        "{said}"
    );
    if maker(&[]).is_some() {
        let broken = message(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
        assert!(
            broken.contains("HEIC") && broken.contains("heif-convert"),
            "{broken}"
        );
    }
}

#[test]
fn a_newline_in_front_hides_no_picture() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
        let whole = encoded(example(), format);
        for junk in [&b"\n"[..], b"\r\n\r\n", b"\0\0\0"] {
            let image = decode(&[junk, &whole].concat());
            assert_eq!(image, decode(&whole), "{format:?}");
        }
    }
}

#[test]
fn a_jpeg_cut_within_its_pixels_is_refused_and_a_lost_end_is_not() {
    let noisy = RgbImage::from_fn(96, 96, |x, y| {
        Rgb([(x * y) as u8, (x * 7) as u8, (y * 5) as u8])
    });
    let whole = encoded(noisy, ImageFormat::Jpeg);
    let expected = decode(&whole);
    for part in [50, 70, 90, 97] {
        let cut = &whole[..whole.len() * part / 100];
        let said = message(cut);
        assert!(said.contains("cut short"), "{said}");
    }
    assert_eq!(decode(&whole[..whole.len() - 2]), expected);
    assert_eq!(decode(&[&whole[..], b"trailing"].concat()), expected);
}

#[test]
fn colors_of_a_profile_become_srgb_in_jpeg_and_png() {
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let srgb = moxcms::ColorProfile::new_srgb().encode().unwrap();
    let flat = RgbImage::from_pixel(16, 16, Rgb([234, 51, 35]));
    let png = |profile: &[u8]| {
        let mut bytes = vec![];
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.to_vec()).unwrap();
        encoder
            .write_image(&flat, 16, 16, image::ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    };
    let mut jpeg = vec![];
    let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
    encoder.set_icc_profile(p3.clone()).unwrap();
    encoder.encode_image(&flat).unwrap();
    for (bytes, expected) in [
        (png(&p3), [255, 0, 0]),
        (jpeg, [255, 0, 0]),
        (png(&srgb), [234, 51, 35]),
    ] {
        let image = decode(&bytes);
        let near = image.pixels()[..3]
            .iter()
            .zip(expected)
            .all(|(a, b)| a.abs_diff(b) <= 4);
        assert!(near, "{:?} is not {expected:?}", &image.pixels()[..3]);
    }
}

#[test]
fn absurd_sizes_are_refused_before_they_are_decoded() {
    let begin = Instant::now();
    let header = |width: u32, height: u32, bits: &str| {
        format!("P5\n{width} {height}\n{bits}\n").into_bytes()
    };
    let thin = message(&header(1, 10_000_000, "255"));
    assert!(
        thin.contains("1x10000000 has a side of more than 32768"),
        "{thin}"
    );
    let large = message(&header(13_000, 13_000, "255"));
    assert!(
        large.contains("13000x13000 is more than 120000000 pixels"),
        "{large}"
    );
    let deep = message(b"P6\n10000 10000\n65535\n");
    assert!(deep.contains("more than 400000000 bytes"), "{deep}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}
