//! Videos as people have them: which frames are read of them, in which colors, and what is refused.
//!
//! ffmpeg makes the files. The tests are skipped, visibly, where it is not installed.

mod ffmpeg;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ffmpeg::{Maker, maker};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Error, Field, Video};
use x2i_engine::media::{Background, Reading, video};

const ALL: Sampling = Sampling::Even { fps: 10.0 };
/// Frame n of 60 has the luma 16 + 3 n: its grey is (3 n) * 255 / 219.
const GREYS: &str = "-f lavfi -i nullsrc=s=64x48:r=10:d=6,format=yuv420p,geq=lum='16+N*3':cb=128:cr=128 \
                     -c:v libx264 -crf 10 -g 25 -bf 2";
/// The codec's error of a grey.
const CODED: f64 = 3.0;

fn read(path: &Path, sampling: Sampling) -> Video {
    video::read(path, sampling).unwrap().value
}

fn message(path: &Path) -> String {
    video::read(path, ALL).unwrap_err().to_string()
}

/// The middle pixel of each frame.
fn colors(video: &Video) -> Vec<[u8; 3]> {
    let middle = |frame: &x2i_core::Image| {
        let at = (frame.height() / 2 * frame.width() + frame.width() / 2) * 3;
        let pixel = &frame.pixels()[at..at + 3];
        [pixel[0], pixel[1], pixel[2]]
    };
    video.frames().iter().map(middle).collect()
}

/// The numbers of the frames of [`GREYS`].
fn numbers(video: &Video) -> Vec<f64> {
    let number = |color: [u8; 3]| f64::from(color[1]) * 219.0 / 255.0 / 3.0;
    colors(video).into_iter().map(number).collect()
}

#[track_caller]
fn assert_frames(video: &Video, expected: impl IntoIterator<Item = usize>) {
    let (found, expected): (_, Vec<_>) = (numbers(video), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found - *expected as f64).abs() < CODED / 2.5,
            "{found} is not {expected}"
        );
    }
}

#[track_caller]
fn assert_near(found: [u8; 3], expected: [u8; 3], most: u8) {
    let near = found
        .iter()
        .zip(expected)
        .all(|(found, expected)| found.abs_diff(expected) <= most);
    assert!(near, "{found:?} is not {expected:?}");
}

#[test]
fn a_clip_that_a_phone_has_cut_gives_the_frames_that_it_shows() {
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    maker.make(GREYS, "whole.mp4");
    // The key frame before is at 2.5 s: five frames are in the file and hidden by its edit list.
    let cut = maker.make("-ss 3 -i DIR/whole.mp4 -c copy", "cut.mp4");
    let video = read(&cut, ALL);
    assert_frames(&video, 30..60);
    assert_eq!(video.fps(), 10.0);
    // At 4 s, 15 of 35 frames are hidden.
    let short = maker.make("-ss 4 -i DIR/whole.mp4 -c copy", "short.mp4");
    assert_frames(&read(&short, ALL), 40..60);
}

#[test]
fn containers_agree_on_the_frames() {
    let Some(maker) = maker(&["libx264", "mpeg4"]) else {
        return;
    };
    maker.make(GREYS, "whole.mp4");
    for name in ["a.mkv", "a.mov", "a.flv", "a.ts"] {
        let copy = maker.make("-i DIR/whole.mp4 -c copy", name);
        let video = read(&copy, Sampling::Even { fps: 1.0 });
        assert_frames(&video, [0, 12, 24, 35, 47, 59]);
        assert!((video.fps() - 1.0).abs() < 0.01, "{name}: {}", video.fps());
    }
    let avi = maker.make("-i DIR/whole.mp4 -c:v mpeg4 -q:v 2 -f avi", "a.avi");
    assert_frames(
        &read(&avi, Sampling::Even { fps: 1.0 }),
        [0, 12, 24, 35, 47, 59],
    );
}

#[test]
fn a_cover_is_not_the_video() {
    let Some(maker) = maker(&["libx264", "png"]) else {
        return;
    };
    maker.make(GREYS, "whole.mp4");
    maker.make("-f lavfi -i color=red:s=32x32 -frames:v 1", "cover.png");
    let attach =
        "-i DIR/cover.png -i DIR/whole.mp4 -map 0 -map 1 -c copy -disposition:v:0 attached_pic";
    for covered in [
        maker.make(attach, "first.mp4"),
        maker.make(
            "-i DIR/whole.mp4 -c copy -attach DIR/cover.png -metadata:s:t mimetype=image/png -f matroska",
            "second.mkv",
        ),
    ] {
        assert_frames(&read(&covered, Sampling::Even { fps: 1.0 }), [0, 12, 24, 35, 47, 59]);
    }
}

#[test]
fn hundreds_of_frames_are_chosen_exactly() {
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    let long = "-f lavfi -i nullsrc=s=32x32:r=50:d=20,format=yuv420p,geq=lum='16+mod(N\\,200)':cb=128:cr=128 \
                -c:v libx264 -preset ultrafast -crf 8";
    let long = maker.make(long, "long.mp4");
    let video = read(&long, Sampling::Even { fps: 50.0 });
    assert_eq!(video.frames().len(), 768);
    for (index, color) in colors(&video).into_iter().enumerate() {
        let frame = (index as f64 * 999.0 / 767.0).round() as usize;
        let expected = (frame % 200) as f64 * 255.0 / 219.0;
        assert!(
            (f64::from(color[1]) - expected).abs() < 4.0,
            "{index}: {color:?}, {expected}"
        );
    }
}

#[test]
fn ten_bits_and_hdr_become_the_colors_of_a_screen() {
    let Some(maker) = maker(&["libx265", "prores_ks"]) else {
        return;
    };
    let flat = |color: &str, more: &str, name: &str| {
        let source = format!("-f lavfi -i color={color}:s=64x48:r=5:d=1 {more}");
        colors(&read(&maker.make(&source, name), ALL))[0]
    };
    let quiet = "-c:v libx265 -x265-params log-level=none";
    let ten = format!("-pix_fmt yuv420p10le {quiet}");
    assert_near(flat("0xC08040", &ten, "ten.mp4"), [0xc0, 0x80, 0x40], 4);
    let prores = "-pix_fmt yuv422p10le -c:v prores_ks";
    assert_near(flat("0xC08040", prores, "a.mov"), [0xc0, 0x80, 0x40], 4);
    if !x2i_filters() {
        eprintln!("skipped: ffmpeg has no filter zscale");
        return;
    }
    // White of 203 nits: 58 % of PQ, 75 % of HLG. Both become the same light grey.
    for (curve, luma, name) in [
        ("smpte2084", 572, "pq.mp4"),
        ("arib-std-b67", 721, "hlg.mp4"),
    ] {
        let source = format!(
            "-f lavfi -i nullsrc=s=64x48:r=5:d=1,format=yuv420p10le,geq=lum={luma}:cb=512:cr=512 {quiet}:\
             colorprim=bt2020:transfer={curve}:colormatrix=bt2020nc -pix_fmt yuv420p10le \
             -color_primaries bt2020 -color_trc {curve} -colorspace bt2020nc"
        );
        let white = colors(&read(&maker.make(&source, name), ALL))[0];
        assert_near(white, [214; 3], 12);
    }
}

fn x2i_filters() -> bool {
    let filters = std::process::Command::new("ffmpeg")
        .args(["-v", "quiet", "-filters"])
        .output();
    String::from_utf8_lossy(&filters.unwrap().stdout).contains(" zscale ")
}

#[test]
fn animations_give_the_frames_of_their_seconds_over_white() {
    let Some(maker) = maker(&["apng", "libwebp_anim"]) else {
        return;
    };
    let greys = "-f lavfi -i nullsrc=s=64x48:r=10:d=6,format=rgb24,geq=r='N*4':g='N*4':b='N*4'";
    for (options, name) in [
        ("-f apng", "a.png"),
        ("-c:v libwebp_anim -lossless 1", "a.webp"),
    ] {
        let path = maker.make(&format!("{greys} {options}"), name);
        let video = read(&path, Sampling::Even { fps: 1.0 });
        let found: Vec<u8> = colors(&video)
            .iter()
            .map(|color| color[0].saturating_add(2) / 4)
            .collect();
        assert_eq!(found, [0, 12, 24, 35, 47, 59], "{name}");
        assert!((video.fps() - 1.0).abs() < 0.02, "{name}: {}", video.fps());
    }
    let clear = "-f lavfi -i color=red@0.0:s=16x16:r=10:d=1,format=rgba -f apng";
    let clear = maker.make(clear, "clear.png");
    assert_eq!(colors(&read(&clear, ALL))[0], [255; 3]);
    let dropped = Reading {
        background: Background::Dropped,
        ..ALL.into()
    };
    let dropped = video::read(&clear, dropped).unwrap().value;
    assert_near(colors(&dropped)[0], [255, 0, 0], 3);
    let still = maker.make("-f lavfi -i color=red:s=16x16 -frames:v 1", "still.png");
    assert!(message(&still).ends_with("is an image, not a video"));
}

#[cfg(unix)]
#[test]
fn a_name_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    let whole = maker.make(GREYS, "whole.mp4");
    for name in [&b"caf\xe9 \xff.mp4"[..], b"-i.mp4", b"a%03d:b|c'd\".mp4"] {
        let path = maker.0.path().join(std::ffi::OsStr::from_bytes(name));
        fs::copy(&whole, &path).unwrap();
        assert_eq!(read(&path, ALL).frames().len(), 60);
    }
}

/// A list of files, as a video: the secret beside it must not be opened.
#[test]
fn text_never_opens_other_files() {
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    let secret = maker.make(&format!("{GREYS} -f mpegts"), "secret.ts");
    let mpd = format!(
        "<!--ftypjp2 --><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         mediaPresentationDuration=\"PT2S\"><Period><AdaptationSet mimeType=\"video/mp4\"><Representation \
         id=\"0\" bandwidth=\"1000\" width=\"64\" height=\"48\"><BaseURL>file://{}</BaseURL>\
         </Representation></AdaptationSet></Period></MPD>",
        secret.display()
    );
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n";
    let live = hls.replace("#EXT-X-ENDLIST\n", "");
    let concat = "ffconcat version 1.0\nfile secret.ts\n";
    let mut traps = vec![mpd, hls.into(), live, concat.into()];
    // Hidden from a glance by a byte that is not text, or by the start of a container.
    let hidden: Vec<String> = traps
        .iter()
        .flat_map(|text| [format!("\x01{text}"), text.replacen('\n', "\n#\x01\n", 1)])
        .collect();
    traps.extend(hidden);
    for (index, text) in traps.iter().enumerate() {
        for start in [
            &b""[..],
            b"\x00\x00\x00\x18ftypmp42\0\0\0\0mp42isom",
            b"\x1a\x45\xdf\xa3",
            b"OggS",
        ] {
            let path = maker.path(&format!("trap{index}.mp4"));
            fs::write(&path, [start, text.as_bytes()].concat()).unwrap();
            let begin = Instant::now();
            let message = message(&path);
            assert!(begin.elapsed() < Duration::from_secs(15), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}

#[test]
fn frames_beyond_all_screens_are_refused_by_their_size() {
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    let huge = "-f lavfi -i color=black:s=12000x4000:r=1:d=1 -c:v libx264 -preset ultrafast";
    let huge = maker.make(huge, "huge.mp4");
    let message = message(&huge);
    assert!(message.contains("12000x4000"), "{message}");
}

#[test]
fn a_caller_who_no_longer_wants_a_video_is_heard_at_once() {
    let Some(maker) = maker(&["libx264"]) else {
        return;
    };
    let long = "-f lavfi -i testsrc=s=1280x720:r=50:d=60 -c:v libx264 -preset ultrafast";
    let long = maker.make(long, "long.mp4");
    let begin = Instant::now();
    let wait = Duration::from_millis(700);
    let cancelled = move || begin.elapsed() > wait;
    let reading = Reading {
        cancelled: &cancelled,
        ..ALL.into()
    };
    let error = video::read(&long, reading).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(begin.elapsed() < wait + Duration::from_secs(1));
}

/// An AVI file whose header counts 2^32 - 1 frames.
#[test]
fn a_count_of_frames_is_not_believed() {
    let Some(maker) = maker(&["mpeg4"]) else {
        return;
    };
    let avi = maker.make(
        "-f lavfi -i testsrc=s=64x48:r=10:d=2 -c:v mpeg4 -f avi",
        "a.avi",
    );
    let mut bytes = fs::read(&avi).unwrap();
    // The stream's header: `strh`, its length, then eight numbers before its own.
    let header = bytes.windows(4).position(|name| name == b"strh").unwrap();
    bytes[header + 8 + 32..][..4].fill(0xff);
    let lying = maker.path("b.avi");
    fs::write(&lying, bytes).unwrap();
    let stride = Sampling::Stride { fps: 5.0, most: 64 };
    assert_eq!(read(&lying, stride).frames().len(), 10);
    assert_eq!(read(&lying, stride).frames(), read(&avi, stride).frames());
}

#[test]
fn a_sound_without_pictures_says_which_field_takes_it() {
    let Some(maker) = maker(&["aac"]) else { return };
    let sound = maker.make("-f lavfi -i sine=d=1 -c:a aac", "a.mp4");
    let error = video::read(&sound, ALL).unwrap_err();
    assert!(error.to_string().ends_with("has no video track"), "{error}");
    assert!(matches!(
        error,
        Error::Remedy {
            field: Field::Audio,
            ..
        }
    ));
}

/// The budget is of the file's size, so that a small one can't work for long.
#[test]
fn a_cut_file_is_refused_in_every_container_that_counts() {
    let Some(maker) = maker(&["libx264", "mpeg4"]) else {
        return;
    };
    cut(&maker, &format!("{GREYS} -movflags +faststart"), "a.mp4");
    cut(
        &maker,
        &GREYS.replace("libx264 -crf 10", "mpeg4 -q:v 2"),
        "a.avi",
    );
}

fn cut(maker: &Maker, arguments: &str, name: &str) {
    let whole = fs::read(maker.make(arguments, name)).unwrap();
    for eighth in 0..7 {
        let path = maker.path(&format!("cut-{name}"));
        fs::write(&path, &whole[..whole.len() * eighth / 8]).unwrap();
        let message = message(&path);
        assert!(
            message.contains("cut-") && !message.contains('\n'),
            "{message}"
        );
    }
}
