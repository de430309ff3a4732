//! The program on bad input: one line that names the flag or file, a non-zero exit, no panic, and
//! nothing written.

mod program;

use std::fs;

use program::{Program, write_png};

/// Runs `generate` and expects a refusal that leaves no file.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let program = Program::new();
    program.generate(arguments).refused(words);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn prompts_that_say_nothing_or_too_much() {
    refused(&[], &["prompt", "missing"]);
    refused(&[""], &["prompt", "empty"]);
    refused(&[" \n\t "], &["prompt", "empty"]);
    refused(&[&"a".repeat(100_000)], &["prompt", "tokens"]);
    refused(&["@nothing.txt"], &["prompt", "nothing.txt", "not found"]);
    refused(
        &["--prompt-file", "nothing.txt"],
        &["prompt", "nothing.txt", "not found"],
    );
    refused(&["@tiny"], &["prompt", "tiny"]);
}

#[test]
fn numbers_out_of_range() {
    refused(&["x", "--steps", "0"], &["--steps"]);
    refused(&["x", "--steps", "-1"], &["--steps"]);
    refused(&["x", "--steps", "100000"], &["--steps"]);
    refused(&["x", "--guidance", "NaN"], &["--guidance"]);
    refused(&["x", "--guidance", "inf"], &["--guidance"]);
    refused(&["x", "--guidance", "-1"], &["--guidance"]);
    refused(&["x", "--guidance", "much"], &["--guidance"]);
    for cache in ["NaN", "inf", "-0.1", "on", ""] {
        refused(&["x", "--cache", cache], &["--cache", "off"]);
    }
    refused(&["x", "--seed", "-2"], &["--seed"]);
    refused(&["x", "--seed", "x"], &["--seed"]);
    refused(
        &["x", "--size", "64x64", "-W", "64"],
        &["--size", "--width"],
    );
    refused(&["x", "--width", "65"], &["--width"]);
    refused(&["x", "-H", "-64"], &["--height"]);
    refused(&["x", "--quality", "0"], &["--quality"]);
    refused(&["x", "--quality", "90"], &["--quality", "PNG"]);
    refused(&["x", "--seed", "18446744073709551616"], &["--seed"]);
    refused(&["x", "--num-images", "0"], &["--num-images"]);
    for size in [
        "65x64",
        "64x17",
        "0x64",
        "64x0",
        "16000x16",
        "65",
        "x",
        "-64x64",
        "64x64x64",
        "9999999999999999999999x16",
    ] {
        refused(&["x", "--size", size], &["--size"]);
    }
}

#[test]
fn devices_that_are_not_there() {
    let program = Program::new();
    let generate = |device: &str| {
        program.run(&[
            "generate",
            "x",
            "--model",
            program.model(),
            "--device",
            device,
        ])
    };
    generate("gpu").refused(&[
        "--device",
        "auto, cpu, wgpu[:index] or cuda[:index]",
        "this machine has cpu",
    ]);
    generate("wgpu:x").refused(&["--device"]);
    generate("wgpu:99").refused(&["wgpu:99", "is not there", "this machine has cpu"]);
    generate("cuda").refused(&["cuda"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn models_that_are_missing_or_broken() {
    let program = Program::new();
    let generate =
        |model: &str| program.run(&["generate", "x", "--device", "cpu", "--model", model]);
    generate("nowhere").refused(&["--model", "nowhere"]);
    generate("tiny/x2i.json").refused(&["tiny/x2i.json", "folder"]);
    fs::create_dir(program.path("in-empty")).unwrap();
    generate("in-empty").refused(&["in-empty", "not found"]);
    fs::write(program.path("in-empty/model.json"), "{}").unwrap();
    generate("in-empty").refused(&["model.json", "missing field"]);

    program
        .run(&["convert", program.model(), "in-model"])
        .succeeded();
    let weights = program.path("in-model/flux.gguf");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    generate("in-model").refused(&["flux.gguf", "bytes"]);
    let mut broken = whole.clone();
    broken[100..200].fill(0xff);
    fs::write(&weights, &broken).unwrap();
    generate("in-model").refused(&["flux.gguf"]);
    program
        .run(&["inspect", "in-model/flux.gguf"])
        .refused(&["flux.gguf"]);
    fs::remove_file(&weights).unwrap();
    generate("in-model").refused(&["flux.gguf", "not found"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn outputs_that_can_not_be_written() {
    let program = Program::new();
    fs::write(program.path("in-file"), "").unwrap();
    program
        .generate(&["x", "-o", "none/out.png"])
        .refused(&["-o", "none", "folder not found"]);
    program
        .generate(&["x", "-o", "in-file/out.png"])
        .refused(&["-o", "in-file", "not a folder"]);
    fs::write(program.path("in.jsonl"), "x\n").unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "in-file"])
        .refused(&["-o", "in-file", "not a folder"]);
    program
        .generate(&["x", "-o", "out.gif"])
        .refused(&["-o", "out.gif", "PNG, JPEG or WebP"]);
    program
        .generate(&["x", "-o", &format!("{}.png", "a".repeat(252))])
        .refused(&["-o", "too long"]);
    program
        .generate(&["x", "-o", "-", "--num-images", "2"])
        .refused(&["-o"]);
    program
        .generate(&["x", "-o", "-", "--json"])
        .refused(&["-o", "--json"]);
    assert_eq!(program.files(), [""; 0]);
}

/// Root may write to any folder of mode 555, so the refusal comes from a file system.
#[test]
#[cfg(target_os = "linux")]
fn a_read_only_folder_and_a_full_disk() {
    let program = Program::new();
    let run = program
        .generate(&["x", "-o", "/proc/out.png"])
        .refused(&["-o", "/proc"]);
    assert!(
        !run.stderr.contains("step"),
        "it worked before it looked: {}",
        run.stderr
    );
    program
        .generate(&["x", "-o", "/dev/full"])
        .refused(&["-o", "/dev/full", "the disk is full"]);
    assert!(!std::path::Path::new("/dev/full").is_file());
}

#[test]
#[cfg(unix)]
fn a_folder_without_write_permission() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new();
    let folder = program.path("in-locked");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write anywhere");
        return;
    }
    program
        .generate(&["x", "-o", "in-locked/out.png"])
        .refused(&["-o", "in-locked", "permission denied"]);
}

#[test]
fn input_pictures_that_are_none_or_have_no_use() {
    let program = Program::new();
    fs::write(program.path("in.txt"), "hello").unwrap();
    fs::write(program.path("in-empty.png"), "").unwrap();
    write_png(&program.path("in.png"), 64, 64);
    let whole = fs::read(program.path("in.png")).unwrap();
    fs::write(program.path("in-cut.png"), &whole[..whole.len() / 2]).unwrap();
    write_png(&program.path("in-wide.png"), 100_000, 1);
    for (file, words) in [
        ("in.txt", &["--image", "in.txt", "not an image"][..]),
        ("in-empty.png", &["--image", "in-empty.png"]),
        ("in-cut.png", &["--image", "in-cut.png"]),
        ("in-none.png", &["--image", "in-none.png", "not found"]),
        ("tiny", &["--image", "tiny", "folder"]),
        ("in-wide.png", &["100000"]),
    ] {
        program.generate(&["x", "--image", file]).refused(words);
    }
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn a_picture_of_one_pixel_is_painted_from_or_refused_and_never_a_panic() {
    let program = Program::new();
    write_png(&program.path("in.png"), 1, 1);
    let run = program.generate(&["x", "--image", "in.png"]);
    if run.code != Some(0) {
        run.refused(&["1x1"]);
    }
}

#[test]
fn replays_of_what_is_no_picture_of_ours() {
    let program = Program::new();
    program
        .generate(&["x", "--seed", "1", "-o", "in-made.png"])
        .succeeded();
    let whole = fs::read(program.path("in-made.png")).unwrap();
    fs::write(program.path("in-cut.png"), &whole[..whole.len() - 40]).unwrap();
    write_png(&program.path("in-other.png"), 8, 8);
    fs::write(program.path("in.txt"), "hello").unwrap();
    for (file, words) in [
        (
            "in-other.png",
            &["--from", "in-other.png", "no x2i metadata"][..],
        ),
        ("in-cut.png", &["--from", "in-cut.png"]),
        ("in.txt", &["--from", "in.txt"]),
        ("in-none.png", &["--from", "in-none.png", "not found"]),
        ("tiny", &["--from", "tiny"]),
    ] {
        program.run(&["generate", "--from", file]).refused(words);
    }
    // Another model, and one whose files changed.
    let other = program.path("in-other-model");
    fs::create_dir(&other).unwrap();
    let hints = fs::read_to_string(program.path("tiny/x2i.json")).unwrap();
    fs::write(
        other.join("x2i.json"),
        hints.replace("\"tiny\"", "\"large\""),
    )
    .unwrap();
    program
        .run(&[
            "generate",
            "--from",
            "in-made.png",
            "--model",
            "in-other-model",
        ])
        .refused(&["--from", "`tiny`", "`large`"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn a_replay_with_other_weights_of_the_same_model_warns() {
    let program = Program::new();
    program
        .run(&["convert", program.model(), "in-model"])
        .succeeded();
    program
        .run(&["generate", "x", "--model", "in-model", "--device", "cpu"])
        .succeeded();
    program
        .run(&[
            "convert",
            program.model(),
            "in-model",
            "--force",
            "--quantize",
            "f16",
        ])
        .succeeded();
    let run = program
        .run(&["generate", "--from", "out.png", "-o", "again.png"])
        .succeeded();
    assert!(
        run.stderr.contains("warning: ") && run.stderr.contains("flux.gguf"),
        "{}",
        run.stderr
    );
}

#[test]
fn batches_with_a_bad_line() {
    let program = Program::new();
    let refused = |line: &str, words: &[&str]| {
        let good = r#"{"prompt": "x", "out": "a.png"}"#;
        fs::write(program.path("in.jsonl"), format!("{good}\n{line}\n")).unwrap();
        program
            .generate(&["--batch", "in.jsonl", "-o", "made"])
            .refused(words);
    };
    refused("{", &["--batch", "line 2"]);
    refused(r#"{"seed": 1}"#, &["--batch", "line 2", "prompt"]);
    refused(r#"{"prompt": ""}"#, &["--batch", "line 2", "empty"]);
    refused(
        r#"{"prompt": "x", "out": "../b.png"}"#,
        &["--batch", "line 2", "../b.png"],
    );
    refused(
        r#"{"prompt": "x", "out": "b.gif"}"#,
        &["--batch", "line 2", "out", "b.gif"],
    );
    refused(
        r#"{"prompt": "x", "out": "a.png"}"#,
        &["--batch", "line 2", "a.png"],
    );
    refused(
        r#"{"prompt": "x", "size": "17x16"}"#,
        &["--batch", "line 2", "size"],
    );
    fs::write(program.path("in.jsonl"), "\n").unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "made"])
        .refused(&["--batch", "no lines"]);
    program
        .generate(&["--batch", "none.jsonl", "-o", "made"])
        .refused(&["--batch", "none.jsonl", "not found"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn conversions_that_would_lose_something() {
    let program = Program::new();
    program
        .run(&["convert", "none", "in-new"])
        .refused(&["none", "not found"]);
    program
        .run(&["convert", program.model(), "tiny/inside"])
        .refused(&["tiny/inside", "outside"]);
    program
        .run(&["convert", program.model(), "."])
        .refused(&["."]);
    program
        .run(&["convert", program.model(), "none/new"])
        .refused(&["none", "not found"]);
    fs::create_dir(program.path("in-full")).unwrap();
    fs::write(program.path("in-full/letter.txt"), "dear").unwrap();
    program
        .run(&["convert", program.model(), "in-full"])
        .refused(&["in-full", "--force"]);
    program
        .run(&["convert", program.model(), "in-full", "--force"])
        .refused(&["in-full", "model.json"]);
    assert_eq!(
        fs::read_to_string(program.path("in-full/letter.txt")).unwrap(),
        "dear"
    );
    program
        .run(&["convert", program.model(), "in-full", "--quantize", "q2"])
        .refused(&["--quantize"]);
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn files_that_inspect_does_not_know() {
    let program = Program::new();
    fs::write(program.path("in.txt"), "hello, this is a letter").unwrap();
    fs::write(program.path("in-empty"), "").unwrap();
    program.run(&["inspect", "in.txt"]).refused(&["in.txt"]);
    program
        .run(&["inspect", "in-empty"])
        .refused(&["in-empty", "empty"]);
    program
        .run(&["inspect", "none"])
        .refused(&["none", "not found"]);
}
