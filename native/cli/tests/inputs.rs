//! The program on videos and sounds: the order of parts, their record, replays and refusals.

mod program;

use std::fs;
use std::path::Path;

use program::{Program, write_gif, write_png};
use serde_json::Value;

/// What `inspect --json` says of a picture's prompt.
fn recorded(program: &Program, png: &str) -> Vec<Value> {
    let run = program.run(&["inspect", png, "--json"]).succeeded();
    let facts: Value = serde_json::from_str(&run.stdout).expect("inspect gives JSON");
    let prompt = &facts["x2i"]["prompt"];
    prompt
        .as_array()
        .cloned()
        .unwrap_or_else(|| panic!("{facts}"))
}

/// The kinds and files or words of records.
fn summary(records: &[Value]) -> Vec<String> {
    let one = |record: &Value| {
        let (kind, value) = record
            .as_object()
            .and_then(|map| map.iter().next())
            .expect("one key");
        let what = value
            .as_str()
            .or(value["file"].as_str())
            .unwrap_or_default();
        format!("{kind} {what}")
    };
    records.iter().map(one).collect()
}

#[test]
fn parts_are_read_and_recorded_in_the_order_given() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 56);
    write_gif(&program.path("in.gif"), 10);
    let pieces = [
        "--text", "first", "--video", "in.gif", "a cat", "--image", "in.png", "--text", "last",
    ];
    program
        .generate(&[&pieces[..], &["--seed", "3"]].concat())
        .succeeded();
    let records = recorded(&program, "out.png");
    let expected = [
        "text first",
        "video in.gif",
        "text a cat",
        "image in.png",
        "text last",
    ];
    assert_eq!(summary(&records), expected);
    assert_eq!(records[1]["video"]["fps"], 1.0);
    let other = [
        "--image", "in.png", "--text", "first", "a cat", "--video", "in.gif", "--text", "last",
    ];
    program
        .generate(&[&other[..], &["--seed", "3", "-o", "other.png"]].concat())
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_ne!(bytes("out.png"), bytes("other.png"));
}

#[test]
fn a_picture_of_a_video_repeats_itself_and_a_changed_video_is_noticed() {
    let program = Program::new();
    fs::create_dir(program.path("in-frames")).unwrap();
    for frame in 1..=3 {
        write_png(&program.path(&format!("in-frames/{frame}.png")), 56, 84);
    }
    write_gif(&program.path("in.gif"), 10);
    let made = [
        "--video",
        "in.gif",
        "--video",
        "in-frames",
        "what is it",
        "--video-fps",
        "2",
        "--answer",
    ];
    program.generate(&made).succeeded();
    program
        .run(&["generate", "--from", "out.png", "-o", "again.png"])
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("out.png"), bytes("again.png"));
    // Words that are given replace the recorded ones, and what is shown stays before them.
    program
        .run(&["generate", "--from", "out.png", "a dog", "-o", "dog.png"])
        .succeeded();
    let expected = ["video in.gif", "video in-frames", "text a dog"];
    assert_eq!(summary(&recorded(&program, "dog.png")), expected);
    write_gif(&program.path("in.gif"), 50);
    program
        .run(&["generate", "--from", "out.png", "-o", "again.png"])
        .refused(&["--from", "in.gif", "video", "SHA-256"]);
}

#[test]
fn a_batch_takes_lists_of_files_or_parts_in_order() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 56);
    write_gif(&program.path("in.gif"), 10);
    let lines = r#"{"prompt": "x", "images": ["in.png"], "videos": ["in.gif"], "out": "a.png"}
{"parts": [{"text": "x"}, {"video": "in.gif"}, {"text": "y"}, {"image": "in.png"}], "out": "b.png"}
"#;
    fs::write(program.path("in.jsonl"), lines).unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "made"])
        .succeeded();
    let parts = |png| summary(&recorded(&program, png));
    assert_eq!(
        parts("made/a.png"),
        ["image in.png", "video in.gif", "text x"]
    );
    assert_eq!(
        parts("made/b.png"),
        ["text x", "video in.gif", "text y", "image in.png"]
    );
    fs::write(
        program.path("in.jsonl"),
        r#"{"parts": [{"smell": "rose"}]}"#,
    )
    .unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "none"])
        .refused(&["--batch", "line 1", "smell"]);
}

#[test]
fn a_sound_is_refused_by_a_model_that_does_not_hear_before_it_is_loaded() {
    let program = Program::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data/sine.mp3");
    let run = program
        .generate(&["x", "--audio", data.to_str().expect("a UTF-8 path")])
        .refused(&["Qwen2.5-VL can't read audio", "MiniCPM-o 2.6"]);
    assert!(!run.stderr.contains("loaded"), "{}", run.stderr);
}

#[test]
fn files_that_are_no_videos_or_sounds() {
    let program = Program::new();
    fs::write(program.path("in.txt"), "hello").unwrap();
    fs::write(program.path("in-empty.mp4"), "").unwrap();
    write_png(&program.path("in.png"), 56, 56);
    write_gif(&program.path("in.gif"), 10);
    let whole = fs::read(program.path("in.gif")).unwrap();
    fs::write(program.path("in-cut.gif"), &whole[..whole.len() / 2]).unwrap();
    for (arguments, words) in [
        (
            ["--video", "in.txt"],
            &["--video", "in.txt", "not a video"][..],
        ),
        (
            ["--video", "in-empty.mp4"],
            &["--video", "in-empty.mp4", "empty"],
        ),
        (["--video", "in.png"], &["in.png", "is an image", "--image"]),
        (
            ["--video", "in-none.mp4"],
            &["--video", "in-none.mp4", "not found"],
        ),
        (
            ["--video", "in-cut.gif"],
            &["--video", "in-cut.gif", "cut short"],
        ),
        (
            ["--audio", "in.txt"],
            &["--audio", "in.txt", "not an audio file"],
        ),
        (["--audio", "in.png"], &["in.png", "is an image", "--image"]),
        (
            ["--audio", "in-none.wav"],
            &["--audio", "in-none.wav", "not found"],
        ),
        (["--image", "in-empty.mp4"], &["--image", "empty"]),
    ] {
        program
            .generate(&[&["x"], &arguments[..]].concat())
            .refused(words);
    }
    for fps in ["0", "-1", "NaN", "inf", "much"] {
        program
            .generate(&["x", "--video", "in.gif", "--video-fps", fps])
            .refused(&["--video-fps"]);
    }
    assert_eq!(program.files(), [""; 0]);
}

#[test]
#[cfg(unix)]
fn a_missing_or_failing_ffmpeg_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new();
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data/clip.mp4");
    let clip = clip.to_str().expect("a UTF-8 path");
    let refusal = || {
        let arguments = [
            "generate",
            "x",
            "--video",
            clip,
            "--model",
            program.model(),
            "--device",
            "cpu",
        ];
        let mut command = program.command(&arguments);
        let output = command
            .env("PATH", program.path("in-bin"))
            .output()
            .unwrap();
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::create_dir(program.path("in-bin")).unwrap();
    let message = refusal();
    assert!(
        message.contains("ffprobe") && message.contains("install ffmpeg"),
        "{message}"
    );
    let fake = program.path("in-bin/ffprobe");
    fs::write(
        &fake,
        "#!/bin/sh\necho first >&2\necho 'codec was abducted' >&2\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let message = refusal();
    assert!(
        message.contains("ffprobe failed: codec was abducted"),
        "{message}"
    );
}
