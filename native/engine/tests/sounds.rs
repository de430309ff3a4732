//! Sounds as people have them, which ffmpeg reads for us; and WAV files whose headers are wrong.
//!
//! ffmpeg makes the files. The tests are skipped, visibly, where it is not installed.

mod ffmpeg;

use std::fs;
use std::path::Path;

use ffmpeg::maker;
use x2i_core::Audio;
use x2i_engine::media::audio;

/// Two seconds at 440 Hz: 0.5 at the left and 0.25 at the right.
const SINE: &str = "-f lavfi -i aevalsrc=0.5*sin(2*PI*440*t)|0.25*sin(2*PI*440*t):s=48000:d=2";

fn read(path: &Path) -> Audio {
    audio::read(path).unwrap().value
}

/// The amplitude at 440 Hz in the middle, and that of all else.
fn tone_and_rest(audio: &Audio) -> [f64; 2] {
    let samples = audio.samples();
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
    let turn = std::f64::consts::TAU * 440.0 / 16_000.0;
    let part = |wave: fn(f64) -> f64| {
        let products = middle.iter().enumerate();
        let products = products.map(|(n, &sample)| f64::from(sample) * wave(turn * n as f64));
        2.0 * products.sum::<f64>() / middle.len() as f64
    };
    let (sine, cosine) = (part(f64::sin), part(f64::cos));
    let rest = middle.iter().enumerate().map(|(n, &sample)| {
        let angle = turn * n as f64;
        (f64::from(sample) - sine * angle.sin() - cosine * angle.cos()).powi(2)
    });
    [
        sine.hypot(cosine),
        (rest.sum::<f64>() / middle.len() as f64).sqrt(),
    ]
}

#[track_caller]
fn assert_tone(path: &Path, seconds: f64, error: f64) {
    let audio = read(path);
    let [tone, rest] = tone_and_rest(&audio);
    let name = path.display();
    assert!(
        (audio.seconds() - seconds).abs() < 0.1,
        "{name}: {}",
        audio.seconds()
    );
    assert!(
        (tone - 0.375).abs() < error && rest < error,
        "{name}: {tone} {rest}"
    );
}

#[test]
fn every_messengers_and_recorders_format_holds_the_same_tone() {
    let Some(maker) = maker(&[]) else { return };
    // The encoder, its options, the file, and the codec's own error.
    let cases = [
        ("libopus", "-b:a 64k", "a.opus", 0.03),
        ("libopus", "-b:a 64k", "voice.ogg", 0.03),
        ("libopus", "-b:a 64k", "a.webm", 0.03),
        ("aac", "-b:a 128k -f adts", "a.aac", 0.03),
        ("aac", "-b:a 128k", "a.m4a", 0.03),
        ("pcm_s16be", "", "a.aiff", 0.001),
        ("pcm_s16le", "", "a.caf", 0.001),
        ("pcm_s16le", "", "a.w64", 0.001),
        ("pcm_s16le", "-rf64 always", "rf64.wav", 0.001),
        ("pcm_s16be", "", "a.au", 0.001),
        ("wmav2", "-b:a 128k", "a.wma", 0.03),
        ("ac3", "-b:a 192k", "a.ac3", 0.03),
        ("eac3", "-b:a 192k", "a.eac3", 0.03),
        ("adpcm_ms", "", "ms.wav", 0.03),
        ("adpcm_ima_wav", "", "ima.wav", 0.03),
        ("libgsm_ms", "-ar 8000 -ac 1", "gsm.wav", 0.06),
    ];
    for (encoder, options, name, error) in cases {
        if ffmpeg::maker(&[encoder]).is_some() {
            let path = maker.make(&format!("{SINE} -c:a {encoder} {options}"), name);
            assert_tone(&path, 2.0, error);
        }
    }
}

#[test]
fn a_chained_ogg_file_is_read_to_its_end() {
    let Some(maker) = maker(&["libvorbis"]) else {
        return;
    };
    let one = fs::read(maker.make(&format!("{SINE} -c:a libvorbis -q:a 5"), "one.ogg")).unwrap();
    // The second stream has another number, as the format demands.
    let other = format!("{SINE} -c:a libvorbis -q:a 5 -serial_offset 77");
    let other = fs::read(maker.make(&other, "other.ogg")).unwrap();
    let chained = maker.path("chained.ogg");
    fs::write(&chained, [one, other].concat()).unwrap();
    let audio = read(&chained);
    assert!((audio.seconds() - 4.0).abs() < 0.1, "{}", audio.seconds());
    // The wave jumps where the streams meet.
    let samples = audio.samples();
    for half in [&samples[..32_000], &samples[samples.len() - 32_000..]] {
        let [tone, rest] = tone_and_rest(&Audio::new(half.to_vec()).unwrap());
        assert!((tone - 0.375).abs() < 0.03 && rest < 0.03, "{tone} {rest}");
    }
}

#[test]
fn an_mp3_file_with_junk_in_front_is_read() {
    let sine = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sine.mp3");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junk.mp3");
    let bytes = fs::read(&sine).unwrap();
    // Without its tag and the frame of facts, which a cut from a stream lacks too.
    let first = bytes
        .windows(2)
        .skip(500)
        .position(|pair| pair == [0xff, 0xf3])
        .unwrap()
        + 500;
    for junk in [
        &b"\0\0\0\0"[..],
        b"<html>not found</html>\r\n\xff\xfb\x90",
        &[7; 5000],
    ] {
        fs::write(&path, [junk, &bytes[first..]].concat()).unwrap();
        let [tone, rest] = tone_and_rest(&read(&path));
        assert!((tone - 0.375).abs() < 0.03 && rest < 0.03, "{tone} {rest}");
    }
}

/// A WAV file of one channel with a ramp, its length in the header, and a chunk before it.
fn wav(length: u32, chunk: &[u8]) -> Vec<u8> {
    let samples: Vec<u8> = (0..1000i16).flat_map(|n| (n * 30).to_le_bytes()).collect();
    let riff = if length == 0 { 0 } else { 2036 };
    let head = [
        &b"RIFF"[..],
        &u32::to_le_bytes(riff),
        b"WAVEfmt \x10\0\0\0\x01\0\x01\0",
    ]
    .concat();
    let rates = [16_000u32.to_le_bytes(), 32_000u32.to_le_bytes()].concat();
    let data = [&b"\x02\0\x10\0"[..], chunk, b"data", &length.to_le_bytes()].concat();
    [head, rates, data, samples].concat()
}

#[test]
fn a_stopped_recorders_file_and_one_with_an_odd_text_are_read_whole() {
    let expected: Vec<f32> = (0..1000i16).map(|n| f32::from(n * 30) / 32_768.0).collect();
    let odd: [&[u8]; 4] = [
        b"",
        b"LIST\x05\0\0\0INFOx",
        b"LIST\x05\0\0\0INFOx\0",
        b"LIST\xff\xff\xff\x7fINFO",
    ];
    for chunk in odd {
        for length in [0, 2000, u32::MAX, 0x7fff_ffff] {
            let audio = audio::decode("x", wav(length, chunk)).unwrap();
            assert_eq!(audio.samples(), expected, "{chunk:?} {length}");
        }
    }
    let cut = audio::decode("x", wav(4000, b"")).unwrap_err().to_string();
    assert!(cut.contains("cut short"), "{cut}");
    let mut empty = wav(0, b"");
    empty.truncate(44);
    assert!(audio::decode("x", empty).is_err());
}
