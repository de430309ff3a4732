//! Inputs without an end, outputs that are no plain files, and messages that name the file.

#![cfg(unix)]

mod program;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use program::Program;
use x2i_engine::Record;

fn pipe(program: &Program, name: &str) {
    let made = Command::new("mkfifo").arg(program.path(name)).status();
    assert!(made.unwrap().success());
}

/// A file of so many bytes that takes no place.
fn sparse(program: &Program, name: &str, bytes: u64) {
    let file = File::create(program.path(name)).unwrap();
    file.set_len(bytes).unwrap();
}

#[test]
fn texts_without_an_end_are_refused_at_once() {
    let program = Program::new();
    pipe(&program, "in.pipe");
    let devices = ["in.pipe", "/dev/zero"];
    for file in devices {
        program
            .generate(&["--prompt-file", file])
            .refused(&["prompt", file, "regular file"]);
        program
            .generate(&[&format!("@{file}")])
            .refused(&["prompt", file, "regular file"]);
        program
            .generate(&["--batch", file, "-o", "made"])
            .refused(&["--batch", file, "regular file"]);
    }
    sparse(&program, "in.txt", 1 << 40);
    program.generate(&["--prompt-file", "in.txt"]).refused(&[
        "prompt",
        "in.txt",
        "larger than 16 MiB",
    ]);
    program
        .generate(&["--batch", "in.txt", "-o", "made"])
        .refused(&["--batch", "in.txt", "larger than 64 MiB"]);
    for name in ["x2i.json", "model.json"] {
        let folder = program.path("in-model");
        fs::create_dir_all(&folder).unwrap();
        sparse(&program, &format!("in-model/{name}"), 1 << 40);
        for command in ["generate", "doctor"] {
            program
                .run(
                    &[
                        &[command, "--model", "in-model"][..],
                        &["x"][..usize::from(command == "generate")],
                    ]
                    .concat(),
                )
                .refused(&[name, "1099511627776 bytes"]);
        }
        fs::remove_dir_all(folder).unwrap();
    }
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn too_many_lines_and_a_line_without_an_end_are_refused() {
    let program = Program::new();
    fs::write(program.path("in.jsonl"), "a\n".repeat(100_001)).unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "made"])
        .refused(&["--batch", "in.jsonl", "more than 100000 entries"]);
    fs::write(program.path("in.jsonl"), "a".repeat((32 << 20) + 1)).unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "made"])
        .refused(&["--batch", "in.jsonl", "line 1", "longer than 32 MiB"]);
    assert_eq!(program.files(), [""; 0]);
    for arguments in [
        &["generate", "-"][..],
        &["generate", "--batch", "-", "-o", "made"],
        &["chat"],
    ] {
        let mut command = program.command(arguments);
        let endless = File::open("/dev/zero").unwrap();
        let output = command.stdin(endless).output().unwrap();
        let run = program::Run::new(output);
        assert!(run.stderr.contains("standard input"), "{}", run.stderr);
        run.refused(&["MiB"]);
    }
}

#[test]
fn a_batch_may_come_from_standard_input() {
    let program = Program::new();
    let arguments = [
        "generate", "--batch", "-", "-o", "made", "--steps", "1", "--device", "cpu", "-q",
    ];
    let mut command = program.command(&arguments);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"a red apple\na blue star\n").unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(
        program::names(&program.path("made")),
        ["0001.png", "0002.png"]
    );
}

#[test]
fn what_an_encoder_refuses_is_told_by_its_file() {
    let program = Program::new();
    let wav = |name: &str, samples: u32| {
        let mut bytes =
            b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data"
                .to_vec();
        bytes.extend((2 * samples).to_le_bytes());
        bytes.extend(vec![1; 2 * samples as usize]);
        let size = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&size);
        fs::write(program.path(name), bytes).unwrap();
    };
    wav("in-long.wav", 16_000);
    wav("in-short.wav", 10);
    let emoji = ["generate", "x", "--device", "cpu"];
    let files = ["--audio", "in-long.wav", "in-short.wav"];
    program
        .run(&[&emoji[..], &files].concat())
        .refused(&["--audio: in-short.wav: lasts 0.001 s, too short"]);
    fs::write(
        program.path("in.jsonl"),
        "{\"prompt\": \"x\", \"audios\": [\"in-short.wav\"]}",
    )
    .unwrap();
    program
        .run(&["generate", "--batch", "in.jsonl", "-o", "in-made"])
        .refused(&["--batch", "line 1", "in-short.wav: lasts 0.001 s"]);
    program::write_png(&program.path("in-thin.png"), 2000, 2);
    for model in [program.model(), "emoji"] {
        let with = [
            "generate",
            "x",
            "--device",
            "cpu",
            "--model",
            model,
            "--image",
            "in-thin.png",
        ];
        let run = program.run(&with);
        if run.code != Some(0) {
            run.refused(&["--image: in-thin.png: "]);
        }
    }
    program
        .generate(&["x", "--image", "in-thin.png"])
        .refused(&["--image: in-thin.png: "]);
}

/// The size of a picture of x2i.
fn is_image(path: &Path) -> bool {
    Record::read(path).is_ok()
}

#[test]
fn links_pipes_and_devices_get_the_image_and_stay() {
    let program = Program::new();
    fs::create_dir(program.path("sub")).unwrap();
    fs::write(program.path("old.png"), "old").unwrap();
    fs::set_permissions(program.path("old.png"), fs::Permissions::from_mode(0o600)).unwrap();
    for (link, target) in [
        ("a.png", "old.png"),
        ("b.png", "new.png"),
        ("c.png", "sub/new.png"),
    ] {
        symlink(target, program.path(link)).unwrap();
        program.generate(&["x", "-o", link]).succeeded();
        assert!(program.path(link).is_symlink(), "{link}");
        assert!(is_image(&program.path(target)), "{target}");
    }
    let mode = program.path("old.png").metadata().unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    symlink("none/new.png", program.path("d.png")).unwrap();
    program
        .generate(&["x", "-o", "d.png"])
        .refused(&["-o: none: folder not found"]);
    assert!(program.path("d.png").is_symlink());

    pipe(&program, "pipe");
    let refused = program.generate(&["x", "-o", "pipe"]);
    assert!(
        !refused.stderr.contains("model loaded"),
        "{}",
        refused.stderr
    );
    refused.refused(&["-o: pipe: is a pipe that nobody reads"]);
    let read = program.path("pipe");
    let reader = std::thread::spawn(move || fs::read(read).unwrap());
    program.generate(&["x", "-o", "pipe"]).succeeded();
    fs::write(program.path("read.png"), reader.join().unwrap()).unwrap();
    assert!(is_image(&program.path("read.png")));

    program
        .generate(&["x", "-o", "/dev/full"])
        .refused(&["-o: /dev/full: the disk is full"]);
    program.generate(&["x", "-o", "/dev/null"]).succeeded();
    let mut command = program.command(&["generate", "x", "-q", "-o", "/dev/stdout"]);
    let output = command.output().unwrap();
    assert!(output.stdout.starts_with(b"\x89PNG"));
    // What stands in the file already stays.
    let log = program.path("log");
    fs::write(&log, "before").unwrap();
    let file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    assert!(command.stdout(file).status().unwrap().success());
    assert!(fs::read(&log).unwrap().starts_with(b"before\x89PNG"));
    program
        .generate(&["x", "-o", "sub", "--seed", "3"])
        .succeeded();
    assert!(is_image(&program.path("sub/3.png")));
}

#[test]
fn resume_is_for_batches_and_says_so() {
    let program = Program::new();
    let run = program.generate(&["x", "--num-images", "2", "--resume"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--batch"), "{}", run.stderr);
    assert_eq!(program.files(), [""; 0]);
}
