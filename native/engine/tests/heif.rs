//! HEIC and AVIF pictures: tiles, turns, transparency and colors. The files are put together here, of
//! pictures that ffmpeg codes.

mod ffmpeg;
mod heif_file;

use std::fs;
use std::io::Cursor;

use ffmpeg::{Maker, maker};
use heif_file::{File, boxed, nclx, profile};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use x2i_core::Image;
use x2i_engine::media::{Background, Reading, image as picture};

/// The greatest difference that a codec at its best makes.
const CODED: u8 = 10;
const TILE: u32 = 64;
const SIDES: (u32, u32) = (100, 90);

/// Smooth, and different in every direction. It fills two times two tiles.
fn whole() -> RgbImage {
    RgbImage::from_fn(2 * TILE, 2 * TILE, |x, y| {
        Rgb([(x * 2) as u8, (y * 2) as u8, 128])
    })
}

/// The part of it that the picture shows.
fn shown() -> DynamicImage {
    DynamicImage::from(whole()).crop_imm(0, 0, SIDES.0, SIDES.1)
}

/// The tiles of a picture, row after row.
fn tiles(picture: &RgbImage) -> Vec<RgbImage> {
    let place = |at: u32| (at % 2 * TILE, at / 2 * TILE);
    let tile = |(x, y)| image::imageops::crop_imm(picture, x, y, TILE, TILE).to_image();
    (0..4).map(|at| tile(place(at))).collect()
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A codec of items.
struct Codec {
    encoder: &'static str,
    options: &'static str,
    extension: &'static str,
    item: fn(&[u8], [u32; 2]) -> heif_file::Item,
}

const HEVC: Codec = Codec {
    encoder: "libx265",
    options: "-c:v libx265 -crf 0 -pix_fmt yuv444p -x265-params log-level=none",
    extension: "hevc",
    item: heif_file::hevc,
};
const AV1: Codec = Codec {
    encoder: "libaom-av1",
    options: "-c:v libaom-av1 -crf 3 -cpu-used 8 -pix_fmt yuv444p",
    extension: "ivf",
    item: heif_file::av1,
};

/// A picture in this codec; `more` are options of ffmpeg.
fn code(maker: &Maker, codec: &Codec, picture: &RgbImage, more: &str) -> heif_file::Item {
    fs::write(maker.path("in.png"), png(picture)).unwrap();
    let arguments = format!("-i DIR/in.png {more} {} -frames:v 1", codec.options);
    let path = maker.make(&arguments, &format!("in.{}", codec.extension));
    let (width, height) = picture.dimensions();
    (codec.item)(&fs::read(path).unwrap(), [width, height])
}

/// The example in four tiles.
fn tiled(maker: &Maker, codec: &Codec) -> File {
    let mut file = File::default();
    let tiles = tiles(&whole());
    let tiles = tiles
        .iter()
        .map(|tile| file.add(code(maker, codec, tile, "")));
    let tiles: Vec<u16> = tiles.collect();
    let grid = file.add(heif_file::grid([2, 2], [SIDES.0, SIDES.1]));
    file.refer(b"dimg", grid, &tiles);
    file.primary = grid;
    file
}

#[track_caller]
fn read(file: &File) -> Image {
    picture::decode("in.heic", &file.bytes()).unwrap()
}

fn message(bytes: &[u8]) -> String {
    picture::decode("in.heic", bytes).unwrap_err().to_string()
}

/// The greatest difference between a picture and what it should be.
#[track_caller]
fn error(found: &Image, expected: &DynamicImage) -> u8 {
    let sides = (expected.width() as usize, expected.height() as usize);
    assert_eq!((found.width(), found.height()), sides);
    let expected = expected.to_rgb8();
    let pairs = found.pixels().iter().zip(expected.as_raw());
    pairs
        .map(|(found, wanted)| found.abs_diff(*wanted))
        .max()
        .unwrap()
}

#[test]
fn tiles_of_hevc_and_of_av1_become_one_picture() {
    for codec in [HEVC, AV1] {
        let Some(maker) = maker(&[codec.encoder]) else {
            continue;
        };
        let found = error(&read(&tiled(&maker, &codec)), &shown());
        assert!(found <= CODED, "{}: {found}", codec.encoder);
    }
}

#[test]
fn a_picture_in_one_piece_is_read_from_a_file_and_from_memory() {
    let Some(maker) = maker(&[HEVC.encoder]) else {
        return;
    };
    let mut file = File::default();
    file.primary = file.add(code(&maker, &HEVC, &shown().to_rgb8(), ""));
    let path = maker.path("a.heic");
    fs::write(&path, file.bytes()).unwrap();
    let found = picture::read(&path).unwrap().value;
    assert!(error(&found, &shown()) <= CODED);
    assert_eq!(read(&file), found);
}

/// A turn of the file, and what it does.
type Turn = (Vec<Vec<u8>>, fn(DynamicImage) -> DynamicImage);

#[test]
fn turns_are_applied_in_their_order_and_exif_is_not() {
    let Some(maker) = maker(&[HEVC.encoder]) else {
        return;
    };
    let left = |quarters: u8| boxed(b"irot", &[quarters]);
    let mirror = |axis: u8| boxed(b"imir", &[axis]);
    let cases: [Turn; 7] = [
        (vec![left(1)], |picture| picture.rotate270()),
        (vec![left(2)], |picture| picture.rotate180()),
        (vec![left(3)], |picture| picture.rotate90()),
        (vec![mirror(0)], |picture| picture.flipv()),
        (vec![mirror(1)], |picture| picture.fliph()),
        (vec![left(1), mirror(1)], |picture| {
            picture.rotate270().fliph()
        }),
        (vec![mirror(1), left(1)], |picture| {
            picture.fliph().rotate270()
        }),
    ];
    let plain = tiled(&maker, &HEVC);
    for (number, (properties, turned)) in cases.into_iter().enumerate() {
        let mut file = plain.clone();
        for property in properties {
            file.describe(file.primary, property);
        }
        let exif = file.add(heif_file::exif(6));
        file.refer(b"cdsc", exif, &[file.primary]);
        let found = error(&read(&file), &turned(shown()));
        assert!(found <= CODED, "case {number}: {found}");
    }
}

/// Opaque on the left, clear on the right.
fn alpha() -> RgbImage {
    RgbImage::from_fn(2 * TILE, 2 * TILE, |x, _| {
        Rgb([255 - (x * 2).min(255) as u8; 3])
    })
}

#[test]
fn transparency_lies_on_the_background() {
    let full = "-vf scale=out_range=full -color_range pc";
    for (codec, in_tiles) in [(HEVC, true), (AV1, false)] {
        let Some(maker) = maker(&[codec.encoder]) else {
            continue;
        };
        let mut file = if in_tiles {
            tiled(&maker, &codec)
        } else {
            File::default()
        };
        let plane = if in_tiles {
            let parts: Vec<u16> = tiles(&alpha())
                .iter()
                .map(|tile| file.add(code(&maker, &codec, tile, full)))
                .collect();
            let grid = file.add(heif_file::grid([2, 2], [SIDES.0, SIDES.1]));
            file.refer(b"dimg", grid, &parts);
            grid
        } else {
            let part = |picture: RgbImage| {
                DynamicImage::from(picture)
                    .crop_imm(0, 0, SIDES.0, SIDES.1)
                    .to_rgb8()
            };
            file.primary = file.add(code(&maker, &codec, &part(whole()), ""));
            file.add(code(&maker, &codec, &part(alpha()), full))
        };
        let kind = b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0";
        file.describe(plane, boxed(b"auxC", kind));
        file.refer(b"auxl", plane, &[file.primary]);
        let (colors, alpha) = (whole(), alpha());
        for (background, ground) in [
            (Background::default(), Some(255.0)),
            (Background::Color([0; 3]), Some(0.0)),
            (Background::Dropped, None),
        ] {
            let expected = RgbImage::from_fn(SIDES.0, SIDES.1, |x, y| {
                let share = f64::from(alpha.get_pixel(x, y)[0]) / 255.0;
                let over = |color: u8| match ground {
                    Some(ground) => {
                        (f64::from(color) * share + ground * (1.0 - share)).round() as u8
                    }
                    None => color,
                };
                Rgb(colors.get_pixel(x, y).0.map(over))
            });
            let reading = Reading {
                background,
                ..Reading::default()
            };
            let found = picture::decode_with("in.avif", &file.bytes(), &reading).unwrap();
            let found = error(&found, &expected.into());
            assert!(found <= CODED, "{} on {background}: {found}", codec.encoder);
        }
    }
}

#[test]
fn the_colors_are_those_that_the_file_states() {
    let Some(maker) = maker(&[AV1.encoder]) else {
        return;
    };
    // Codes of BT.709 over the full range, which the stream itself does not tell.
    let codes = "-vf scale=out_color_matrix=bt709:out_range=full,setparams=range=unknown:colorspace=unknown";
    let mut file = File::default();
    let flat = RgbImage::from_pixel(64, 64, Rgb([200, 40, 40]));
    file.primary = file.add(code(&maker, &AV1, &flat, codes));
    let plain = error(&read(&file), &flat.clone().into());
    assert!(plain > CODED, "{plain}");
    file.describe(file.primary, nclx(1, true));
    let told = error(&read(&file), &flat.into());
    assert!(told <= 4, "{told}");

    let mut file = File::default();
    let red = RgbImage::from_pixel(64, 64, Rgb([234, 51, 35]));
    file.primary = file.add(code(&maker, &AV1, &red, ""));
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    file.describe(file.primary, profile(&p3));
    let srgb = RgbImage::from_pixel(64, 64, Rgb([255, 0, 0]));
    let found = error(&read(&file), &srgb.into());
    assert!(found <= 8, "{found}");
}

#[test]
fn broken_files_say_what_is_wrong() {
    let Some(maker) = maker(&[HEVC.encoder]) else {
        return;
    };
    let file = tiled(&maker, &HEVC);
    let whole = file.bytes();
    let cut = message(&whole[..whole.len() - 10]);
    assert!(cut.starts_with("in.heic: is cut short: its item"), "{cut}");
    let mut few = file.clone();
    few.references[0].2.pop();
    assert!(message(&few.bytes()).contains("has 3 tiles for a grid of 4"));
    let mut large = file.clone();
    let grid = usize::from(file.primary) - 1;
    large.items[grid] = heif_file::grid([2, 2], [30_000, 30_000]);
    assert!(message(&large.bytes()).contains("30000x30000 is more than"));
    large.items[grid] = heif_file::grid([2, 2], [200, 90]);
    assert!(message(&large.bytes()).contains("do not fill"));
    let mut noise = file.clone();
    let unit = noise.items[2].data.len();
    noise.items[2].data[4..unit].fill(0x55);
    let said = message(&noise.bytes());
    assert!(
        said.contains("HEIC") && said.contains("heif-convert"),
        "{said}"
    );
    let mut same = file;
    let references = &mut same.references[0].2;
    *references = vec![references[0]; 4];
    // Four times the bytes of one tile are no more than the file has: they are decoded.
    assert_eq!(read(&same).width(), 100);
    same.items[grid] = heif_file::grid([64, 64], [100, 90]);
    same.references[0].2 = vec![1; 64 * 64];
    assert!(message(&same.bytes()).contains("the most are"));
}

/// No byte of the boxes may end the program, or take long.
#[test]
fn a_changed_byte_is_read_or_refused() {
    let Some(maker) = maker(&[AV1.encoder]) else {
        return;
    };
    let whole = tiled(&maker, &AV1).bytes();
    for place in (24..whole.len().min(900)).step_by(23) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0xff;
        if let Err(error) = picture::decode("in.avif", &bytes) {
            assert!(
                error.to_string().starts_with("in.avif: "),
                "{place}: {error}"
            );
        }
    }
}
