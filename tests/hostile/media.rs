//! Malformed pictures, videos and sounds.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use crate::case::{Case, Expect, Input};
use crate::random::Random;

/// A well-formed file, and the flag that takes it.
struct Original {
    flag: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
}

/// Mutations of each file.
const MUTATIONS: usize = 64;

/// All cases; the same every time.
pub fn cases() -> Vec<Case> {
    let mut random = Random::new(77);
    let mut cases = Vec::new();
    for original in originals() {
        for index in 0..MUTATIONS {
            let (kind, what, bytes) = mutate(&original.bytes, index, &mut random);
            cases.push(Case {
                kind,
                what: format!("{} {}: {what}", original.flag, original.name),
                input: Input::Media {
                    flag: original.flag,
                    name: original.name.to_owned(),
                    bytes,
                },
                expect: Expect::Either,
            });
        }
    }
    cases
}

fn mutate(bytes: &[u8], index: usize, random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let mut changed = bytes.to_vec();
    let head = bytes.len().min(256);
    match index % 6 {
        0 => {
            changed.truncate(random.below(bytes.len()));
            ("media: cut", format!("to {} bytes", changed.len()), changed)
        }
        1 => {
            let at = random.below(head);
            changed[at] ^= 1 << random.below(8);
            ("media: a bit of the header", format!("at {at}"), changed)
        }
        2 => {
            let at = random.below(head.saturating_sub(4).max(1));
            let value = *random.choose(&[0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0xffff_0000]);
            let number = match random.below(2) {
                0 => value.to_le_bytes(),
                _ => value.to_be_bytes(),
            };
            changed[at..at + 4].copy_from_slice(&number);
            (
                "media: a number of the header",
                format!("{value} at {at}"),
                changed,
            )
        }
        3 => {
            for _ in 0..16 {
                let at = random.below(bytes.len());
                changed[at] = random.bits() as u8;
            }
            ("media: noise in the data", "16 bytes".into(), changed)
        }
        4 => {
            let at = random.below(bytes.len());
            let run = random.below(bytes.len() - at);
            changed.drain(at..at + run);
            ("media: a hole", format!("{run} bytes at {at}"), changed)
        }
        _ => {
            let copied = changed[random.below(head)..].to_vec();
            changed.extend(copied);
            (
                "media: more data",
                format!("{} bytes", changed.len()),
                changed,
            )
        }
    }
}

fn originals() -> Vec<Original> {
    let picture = RgbImage::from_fn(96, 64, |x, y| {
        Rgb([x as u8 * 2, y as u8 * 3, (x * y) as u8])
    });
    let picture = DynamicImage::ImageRgb8(picture);
    let formats = [
        ("in.png", ImageFormat::Png),
        ("in.jpg", ImageFormat::Jpeg),
        ("in.webp", ImageFormat::WebP),
        ("in.bmp", ImageFormat::Bmp),
    ];
    let mut originals: Vec<Original> = Vec::new();
    for (name, format) in formats {
        let mut bytes = Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, format)
            .expect("the picture is encoded");
        originals.push(Original {
            flag: "--image",
            name,
            bytes: bytes.into_inner(),
        });
    }
    originals.push(Original {
        flag: "--audio",
        name: "in.wav",
        bytes: wav(),
    });
    originals.extend(by_ffmpeg());
    originals
}

/// One second of a tone: 16 bits, 16 kHz.
fn wav() -> Vec<u8> {
    let sample = |i: u32| ((f64::from(i) * 0.17).sin() * 9000.0) as i16;
    let samples: Vec<u8> = (0..16_000).flat_map(|i| sample(i).to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + samples.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((samples.len() as u32).to_le_bytes());
    bytes.extend(samples);
    bytes
}

/// Videos and packed sounds, where ffmpeg is there to make them.
fn by_ffmpeg() -> Vec<Original> {
    let made: [(&'static str, &'static str, &[&str]); 7] = [
        (
            "--video",
            "in.gif",
            &["-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=1"],
        ),
        (
            "--video",
            "in.mp4",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc=size=64x48:rate=10:duration=1",
                "-c:v",
                "mpeg4",
            ],
        ),
        (
            "--video",
            "in.avi",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc=size=64x48:rate=10:duration=1",
                "-c:v",
                "mjpeg",
            ],
        ),
        (
            "--video",
            "in.mkv",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc=size=64x48:rate=10:duration=1",
                "-c:v",
                "mpeg4",
            ],
        ),
        (
            "--audio",
            "in.flac",
            &["-f", "lavfi", "-i", "sine=duration=1"],
        ),
        (
            "--audio",
            "in.ogg",
            &["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "libvorbis"],
        ),
        (
            "--audio",
            "in.mp3",
            &["-f", "lavfi", "-i", "sine=duration=1"],
        ),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = |&(flag, name, arguments): &(&'static str, &'static str, &[&str])| {
        let bytes = encode(&folder.path().join(name), arguments);
        if bytes.is_none() {
            eprintln!("SKIPPED: ffmpeg is missing, or can't make {name}");
        }
        Some(Original {
            flag,
            name,
            bytes: bytes?,
        })
    };
    made.iter().filter_map(make).collect()
}

fn encode(output: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments)
        .arg(output)
        .status();
    made.ok().filter(std::process::ExitStatus::success)?;
    std::fs::read(output).ok()
}
