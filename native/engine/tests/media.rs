//! Small files of every format: what they hold, and what is said of broken ones.
//!
//! Pictures and WAV files are made here. The others are in `data`, made by ffmpeg 5.1:
//! `S="-f lavfi -i aevalsrc=0.5*sin(2*PI*440*t)|0.25*sin(2*PI*440*t):s=22050:d=0.5"`,
//! `ffmpeg $S -c:a libmp3lame -b:a 32k sine.mp3`, `ffmpeg $S -c:a libvorbis -q:a 0 sine.ogg`,
//! `ffmpeg $S -c:a flac -sample_fmt s16 sine.flac` (with `d=0.25`),
//! `ffmpeg -f lavfi -i testsrc=s=64x48:r=8:d=2 $S -map 0:v -map 1:a -c:v libx264 -crf 35 -c:a aac -b:a 24k
//! -movflags +faststart clip.mp4`, `ffmpeg -i clip.mp4 -c copy -map 0:v -metadata:s:v rotate=90 turned.mp4`.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Audio, Error, Field, Image};
use x2i_engine::media::video::decode_gif;
use x2i_engine::media::{Background, Reading, audio, image as picture, video};

const ONE_A_SECOND: Sampling = Sampling::Even { fps: 1.0 };

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Left half red, right half blue, with a green top row.
fn example() -> RgbImage {
    RgbImage::from_fn(8, 6, |x, y| match (x, y) {
        (_, 0) => Rgb([0, 255, 0]),
        (0..4, _) => Rgb([255, 0, 0]),
        _ => Rgb([0, 0, 255]),
    })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    let image = DynamicImage::from(example());
    image
        .write_to(&mut bytes, format)
        .expect("the picture is written");
    bytes.into_inner()
}

/// A JPEG with an EXIF block that says how it is turned.
fn turned_jpeg(orientation: u8) -> Vec<u8> {
    let jpeg = encoded(ImageFormat::Jpeg);
    let mut exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

/// A WAV file of 16-bit samples, `channels` of them at a time.
fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let length = samples.len() as u32 * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + length).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2 * u32::from(channels)).to_le_bytes());
    bytes.extend((2 * channels).to_le_bytes());
    bytes.extend(b"\x10\0data");
    bytes.extend(length.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// An animated GIF of `frames` greys.
fn gif(frames: u8) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
    for frame in 0..frames {
        let grey = image::RgbaImage::from_pixel(4, 2, image::Rgba([frame * 10, 0, 0, 255]));
        let delay = image::Delay::from_numer_denom_ms(100, 1);
        let frame = image::Frame::from_parts(grey, 0, 0, delay);
        encoder.encode_frame(frame).expect("the frame is written");
    }
    drop(encoder);
    bytes
}

fn pixel(image: &Image, x: usize, y: usize) -> [u8; 3] {
    let start = (y * image.width() + x) * 3;
    image.pixels()[start..start + 3]
        .try_into()
        .expect("three bytes")
}

/// The amplitude at 440 Hz, and that of all else.
fn tone_and_rest(audio: &Audio) -> [f64; 2] {
    let samples = audio.samples();
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let turn = std::f64::consts::TAU * 440.0 / 16_000.0;
    let sum = |wave: fn(f64) -> f64| {
        let products = middle.iter().enumerate();
        let sum: f64 = products
            .map(|(n, &sample)| f64::from(sample) * wave(turn * n as f64))
            .sum();
        2.0 * sum / middle.len() as f64
    };
    let (sine, cosine) = (sum(f64::sin), sum(f64::cos));
    let rest = middle.iter().enumerate().map(|(n, &sample)| {
        let angle = turn * n as f64;
        (f64::from(sample) - sine * angle.sin() - cosine * angle.cos()).powi(2)
    });
    let rest = rest.sum::<f64>() / middle.len() as f64;
    [sine.hypot(cosine), rest.sqrt()]
}

/// One line that begins with the file's name.
#[track_caller]
fn assert_sentence(message: &str) {
    assert!(message.starts_with("in.x: "), "{message}");
    assert!(!message.contains('\n') && message.len() < 200, "{message}");
}

#[test]
fn pictures_of_every_format_hold_the_same_pixels() {
    for format in [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Jpeg,
    ] {
        let image = picture::decode("x", &encoded(format)).unwrap();
        assert_eq!((image.width(), image.height()), (8, 6), "{format:?}");
        if format != ImageFormat::Jpeg {
            assert_eq!(image.pixels(), example().as_raw(), "{format:?}");
        }
    }
}

#[test]
fn a_turned_photograph_stands_upright() {
    let corner = |orientation| {
        let image = picture::decode("x", &turned_jpeg(orientation)).unwrap();
        let [red, green, _] = pixel(&image, image.width() - 1, image.height() - 1);
        ((image.width(), image.height()), red > 128, green > 128)
    };
    assert_eq!(corner(1), ((8, 6), false, false)); // blue
    assert_eq!(corner(6), ((6, 8), false, true)); // the top is at the right
    assert_eq!(corner(3), ((8, 6), false, true)); // upside down
}

#[test]
fn transparency_shows_white_or_a_given_color_or_is_dropped_as_pil_does() {
    let decode = |alpha, background| {
        let clear = image::RgbaImage::from_pixel(2, 2, image::Rgba([10, 20, 30, alpha]));
        let mut bytes = Cursor::new(vec![]);
        clear.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let reading = Reading {
            background,
            ..Reading::default()
        };
        let image = picture::decode_with("x", &bytes.into_inner(), &reading).unwrap();
        pixel(&image, 0, 0)
    };
    assert_eq!(decode(0, Background::default()), [255; 3]);
    assert_eq!(decode(0, Background::Color([1, 2, 3])), [1, 2, 3]);
    assert_eq!(decode(0, Background::Dropped), [10, 20, 30]);
    // Image.paste of PIL 10: (10 * 102 + 255 * 153) / 255, rounded.
    assert_eq!(decode(102, Background::default()), [157, 161, 165]);
}

#[test]
fn sounds_of_every_format_hold_the_same_tone() {
    /// MP3's own error at this rate; the others have far less.
    const LOSSY: f64 = 0.03;
    for (name, samples) in [("sine.mp3", 8000), ("sine.ogg", 8000), ("sine.flac", 4001)] {
        let audio = audio::read(&data(name)).unwrap().value;
        assert_eq!(audio.samples().len(), samples, "{name}");
        let [tone, rest] = tone_and_rest(&audio);
        assert!(
            (tone - 0.375).abs() < LOSSY && rest < LOSSY,
            "{name}: {tone} {rest}"
        );
    }
}

#[test]
fn wav_files_of_any_rate_and_channels_become_mono_16_khz() {
    for (rate, channels) in [
        (8000, 1),
        (16_000, 2),
        (22_050, 3),
        (44_100, 2),
        (48_000, 6),
    ] {
        let frames = (0..rate).flat_map(|n| {
            let angle = std::f64::consts::TAU * 440.0 * f64::from(n) / f64::from(rate);
            let left = (angle.sin() * 20_000.0) as i16;
            (0..channels).map(move |channel| if channel == 0 { left } else { 0 })
        });
        let file = wav(rate, channels, &frames.collect::<Vec<_>>());
        let audio = audio::decode("x", file).unwrap();
        assert_eq!(audio.samples().len(), 16_000);
        let [tone, rest] = tone_and_rest(&audio);
        let expected = 20_000.0 / 32_768.0 / f64::from(channels);
        assert!(
            (tone - expected).abs() < 1e-4 && rest < 1e-4,
            "{rate}: {tone} {rest}"
        );
    }
}

#[test]
fn a_wav_file_from_a_pipe_does_not_know_its_length() {
    let mut file = wav(16_000, 1, &[5; 100]);
    file[4..8].fill(0xff);
    file[40..44].fill(0xff);
    assert_eq!(audio::decode("x", file).unwrap().samples().len(), 100);
}

#[test]
fn a_wav_header_that_lies_is_found_out() {
    let refuse_file = |file| audio::decode("in.x", file).unwrap_err().to_string();
    let refuse = |place: std::ops::Range<usize>, value: &[u8]| {
        let mut file = wav(16_000, 1, &[5; 1000]);
        file[place].copy_from_slice(value);
        refuse_file(file)
    };
    let promise = |bytes: u32| {
        let mut file = wav(16_000, 1, &[5; 1000]);
        file[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
        file[40..44].copy_from_slice(&bytes.to_le_bytes());
        refuse_file(file)
    };
    // A decoder that panics on it must not be asked.
    let still = refuse(24..28, &[0; 4]);
    assert!(still.contains("in.x"), "{still}");
    let long = promise(1_000_000);
    assert!(
        long.contains("cut short: its header promises 31.25 seconds, 0.06"),
        "{long}"
    );
    let longer = promise(2_000_000_000);
    assert!(longer.contains("longer than 1310 seconds"), "{longer}");
    for message in [
        refuse(24..28, &0u32.to_le_bytes()),
        refuse(24..28, &u32::MAX.to_le_bytes()),
        refuse(22..24, &0u16.to_le_bytes()),
        refuse(22..24, &u16::MAX.to_le_bytes()),
        refuse(34..36, &77u16.to_le_bytes()),
        refuse(20..22, &0x4242u16.to_le_bytes()),
        refuse(40..44, &1_000_000u32.to_le_bytes()),
    ] {
        assert_sentence(&message);
    }
}

#[test]
fn files_cut_at_every_eighth_are_refused_or_shorter_and_never_a_panic() {
    let sounds = ["sine.mp3", "sine.ogg", "sine.flac"].map(|name| fs::read(data(name)).unwrap());
    for whole in sounds.into_iter().chain([wav(16_000, 1, &[9; 8000])]) {
        for eighth in 0..8 {
            let part = whole[..whole.len() * eighth / 8].to_vec();
            match audio::decode("in.x", part) {
                Ok(audio) => assert!(audio.seconds() < 0.5),
                Err(error) => assert_sentence(&error.to_string()),
            }
        }
    }
    for format in [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
    ] {
        let whole = encoded(format);
        for eighth in 0..8 {
            let part = &whole[..whole.len() * eighth / 8];
            assert_sentence(&picture::decode("in.x", part).unwrap_err().to_string());
        }
    }
    let whole = gif(6);
    for eighth in 0..8 {
        let part = &whole[..whole.len() * eighth / 8];
        assert_sentence(
            &decode_gif("in.x", part, ONE_A_SECOND)
                .unwrap_err()
                .to_string(),
        );
    }
}

/// Every byte in turn takes a few other values.
#[test]
fn files_with_wrong_bytes_never_panic() {
    let sounds = ["sine.mp3", "sine.ogg", "sine.flac"].map(|name| fs::read(data(name)).unwrap());
    for whole in sounds.into_iter().chain([wav(16_000, 2, &[9; 64])]) {
        let step = (whole.len() / 30).max(1);
        // Headers byte by byte, the rest here and there.
        let places = (0..64).chain((64..whole.len()).step_by(step));
        for place in places.filter(|&place| place < whole.len()) {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] = value;
                if let Err(error) = audio::decode("in.x", bytes) {
                    assert_sentence(&error.to_string());
                }
            }
        }
    }
}

#[test]
fn a_huge_picture_in_a_small_file_is_refused_before_it_is_decoded() {
    let mut png = encoded(ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]); // 100000 x 100000
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    let message = picture::decode("in.x", &png).unwrap_err().to_string();
    assert!(
        message.contains("100000x100000 has a side of more than 32768"),
        "{message}"
    );
}

/// PNG's checksum, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            crc >> 1 ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    let crc = bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc))
    });
    !crc
}

#[test]
fn endings_are_not_believed_and_other_kinds_told_their_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let sound = wav(16_000, 1, &[9; 100]);
    assert!(audio::read(&file("a.mp3", &sound)).is_ok());
    assert!(picture::read(&file("b.jpg", &encoded(ImageFormat::Png))).is_ok());
    assert!(video::read(&file("c.mp4", &gif(3)), ONE_A_SECOND).is_ok());
    let error = picture::read(&file("d.png", &sound)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is an audio file, not an image")
    );
    assert!(matches!(
        error,
        Error::Remedy {
            field: Field::Audio,
            ..
        }
    ));
    let error = audio::read(&file("e.wav", &encoded(ImageFormat::Png))).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is an image, not an audio file")
    );
    assert!(matches!(
        error,
        Error::Remedy {
            field: Field::Image,
            ..
        }
    ));
    for text in [&b"hello"[..], b"#EXTM3U\nhttp://127.0.0.1/a.ts\n"] {
        let message = video::read(&file("f.mp4", text), ONE_A_SECOND)
            .unwrap_err()
            .to_string();
        assert!(message.contains("is not a video"), "{message}");
    }
    for (name, bytes) in [("g.wav", &b""[..]), ("h.wav", b"R")] {
        assert!(audio::read(&file(name, bytes)).is_err());
    }
    assert!(
        audio::read(folder.path())
            .unwrap_err()
            .to_string()
            .contains("is a folder")
    );
    assert!(
        audio::read(&folder.path().join("none"))
            .unwrap_err()
            .to_string()
            .contains("not found")
    );
}

#[test]
fn a_gif_gives_the_frames_of_its_seconds() {
    let video = decode_gif("x", &gif(20), Sampling::Even { fps: 3.0 }).unwrap();
    assert_eq!((video.frames().len(), video.fps()), (6, 3.0)); // 2 seconds
    let reds: Vec<u8> = video
        .frames()
        .iter()
        .map(|frame| frame.pixels()[0])
        .collect();
    assert_eq!(reds, [0, 40, 80, 110, 150, 190]);
}

#[test]
fn a_folder_gives_all_its_pictures_in_natural_order() {
    let folder = tempfile::tempdir().unwrap();
    for frame in [9u8, 10, 1] {
        let image = RgbImage::from_pixel(4, 4, Rgb([frame, 0, 0]));
        image
            .save(folder.path().join(format!("frame {frame}.png")))
            .unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "none").unwrap();
    let read = || video::read(folder.path(), Sampling::Even { fps: 2.0 });
    let first = read().unwrap();
    let reds: Vec<u8> = first
        .value
        .frames()
        .iter()
        .map(|frame| frame.pixels()[0])
        .collect();
    assert_eq!((reds, first.value.fps()), (vec![1, 9, 10], 2.0));
    assert_eq!(read().unwrap().sha256, first.sha256);
    RgbImage::new(5, 4)
        .save(folder.path().join("frame 11.png"))
        .unwrap();
    assert!(read().unwrap_err().to_string().contains("several sizes"));
    let empty = tempfile::tempdir().unwrap();
    let message = video::read(empty.path(), ONE_A_SECOND)
        .unwrap_err()
        .to_string();
    assert!(message.contains("without images"), "{message}");
}

/// Visible in the log where the program is not installed.
fn ffmpeg_is_here() -> bool {
    let here = std::process::Command::new("ffmpeg")
        .arg("-version")
        .output()
        .is_ok();
    if !here {
        eprintln!("skipped: the program ffmpeg is not here");
    }
    here
}

#[test]
fn ffmpeg_gives_the_chosen_frames_upright_and_the_sound() {
    /// The codec's own error at 24 kbit/s.
    const AAC: f64 = 0.1;
    if !ffmpeg_is_here() {
        return;
    }
    let clip = video::read(&data("clip.mp4"), Sampling::Even { fps: 4.0 })
        .unwrap()
        .value;
    assert_eq!((clip.frames().len(), clip.fps()), (8, 4.0));
    assert_eq!(
        (clip.frames()[0].width(), clip.frames()[0].height()),
        (64, 48)
    );
    assert_ne!(clip.frames()[0], clip.frames()[7]);
    let all = video::read(&data("clip.mp4"), Sampling::Even { fps: 8.0 })
        .unwrap()
        .value;
    let chosen = [0, 2, 4, 6, 9, 11, 13, 15]; // linspace(0, 15, 8).round()
    assert!(
        chosen
            .iter()
            .zip(clip.frames())
            .all(|(&frame, ours)| all.frames()[frame] == *ours)
    );
    let turned = video::read(&data("turned.mp4"), ONE_A_SECOND)
        .unwrap()
        .value;
    assert_eq!(
        (turned.frames()[0].width(), turned.frames()[0].height()),
        (48, 64)
    );
    let [tone, rest] = tone_and_rest(&audio::read(&data("clip.mp4")).unwrap().value);
    assert!((tone - 0.375).abs() < AAC && rest < AAC, "{tone} {rest}");
    let silent = audio::read(&data("turned.mp4")).unwrap_err().to_string();
    assert!(silent.ends_with("has no audio"), "{silent}");
}

#[test]
fn a_cut_video_is_an_error_that_quotes_ffmpeg_or_counts_frames() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(data("clip.mp4")).unwrap();
    for eighth in 0..8 {
        let path = folder.path().join("cut.mp4");
        fs::write(&path, &whole[..whole.len() * eighth / 8]).unwrap();
        match video::read(&path, Sampling::Even { fps: 8.0 }) {
            // The index stands first, so most of the frames may be there.
            Ok(input) => assert!(eighth == 7 && input.value.frames().len() == 16),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    !message.contains('\n') && message.contains("cut.mp4: "),
                    "{message}"
                );
            }
        }
    }
}
