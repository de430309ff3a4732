//! The disk gets full at each write: the old file stays, one sentence says why, and nothing is left.
//!
//! `ulimit -f` makes a write fail at any place of a file, for every user. A small file system does it at
//! any place of a run; only root can make one, so that part is skipped elsewhere and says so.

#![cfg(target_os = "linux")]

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use program::{Program, Run, names};
use serde_json::Value;
use x2i_engine::Record;

/// Runs a command whose files may not be longer than `blocks` of 512 bytes.
fn limited(program: &Program, blocks: u32, arguments: &[&str]) -> Run {
    let command = program.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(program.folder.path());
    shell.stdin(match fs::File::open(program.path("in.txt")) {
        Ok(input) => input.into(),
        Err(_) => Stdio::null(),
    });
    Run::new(shell.output().unwrap())
}

#[test]
fn an_image_that_does_not_fit_leaves_the_old_one() {
    let program = Program::new();
    program.generate(&["x", "--seed", "1"]).succeeded();
    let old = fs::read(program.path("out.png")).unwrap();
    let model = program.model().to_owned();
    let arguments = [
        "generate", "x", "--model", &model, "--device", "cpu", "--steps", "1",
    ];
    let blocks = old.len() as u32 / 512;
    for blocks in [0, 1, blocks / 2, blocks - 1] {
        limited(&program, blocks, &arguments).refused(&["-o: out.png: is larger than"]);
        assert_eq!(fs::read(program.path("out.png")).unwrap(), old);
        assert_eq!(program.files(), ["out.png"]);
    }
    limited(&program, 4 * blocks, &arguments).succeeded();
    assert_ne!(fs::read(program.path("out.png")).unwrap(), old);
}

#[test]
fn a_turn_that_does_not_fit_leaves_the_session() {
    let program = Program::new();
    let model = program.model().to_owned();
    let arguments = [
        "chat",
        "--session",
        "talk.json",
        "--model",
        &model,
        "--device",
        "cpu",
        "--steps",
        "1",
        "-q",
    ];
    fs::write(program.path("in.txt"), "one\n").unwrap();
    limited(&program, 1 << 20, &arguments).succeeded();
    let old = fs::read(program.path("talk.json")).unwrap();
    limited(&program, 0, &arguments).refused(&["is larger than"]);
    // The image fits, the session does not.
    let mut session: Value = serde_json::from_slice(&old).unwrap();
    session["turns"][0]["picture"] = "long".repeat(15_000).into();
    let old = session.to_string().into_bytes();
    fs::write(program.path("talk.json"), &old).unwrap();
    limited(&program, 80, &arguments).refused(&["talk.json", "is larger than"]);
    assert_eq!(fs::read(program.path("talk.json")).unwrap(), old);
    let strays = program
        .files()
        .into_iter()
        .filter(|name| name.starts_with('.'));
    assert_eq!(strays.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_model_that_does_not_fit_leaves_the_old_one() {
    let program = Program::new();
    let model = program.model().to_owned();
    let into = |quantize| {
        [
            "convert",
            &model,
            "small",
            "--force",
            "-q",
            "--quantize",
            quantize,
        ]
    };
    let largest = || {
        let files = fs::read_dir(program.path("small")).unwrap();
        let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
        lengths.max().unwrap() as u32 / 512
    };
    limited(&program, 1, &into("q8_0")).refused(&["small"]);
    assert_eq!(program.files(), [""; 0]);
    program.run(&into("q8_0")).succeeded();
    let (old, blocks) = (names(&program.path("small")), largest());
    for blocks in [0, 1, blocks / 2, blocks] {
        limited(&program, blocks, &into("f32")).refused(&["small"]);
        assert_eq!(names(&program.path("small")), old);
        let report = program.run(&["inspect", "small"]).succeeded();
        assert_eq!(report.stdout.matches("SHA-256 as recorded").count(), 5);
    }
    assert_eq!(program.files(), ["small"]);
}

/// A file system of so many bytes, which is gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where the user may not make one.
    fn new(folder: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "x2i-test"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        is_mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_at_any_write() {
    let program = Program::new();
    let model = program.model().to_owned();
    let lines: String = (0..4)
        .map(|n| format!("{{\"prompt\": \"{n}\", \"seed\": {n}, \"out\": \"{n}.png\"}}\n"))
        .collect();
    fs::write(program.path("in.jsonl"), lines).unwrap();
    let batch = [
        "generate", "--batch", "in.jsonl", "--resume", "-o", "in-disk", "--model", &model,
        "--device", "cpu", "--steps", "1",
    ];
    let convert = [
        "convert",
        &model,
        "in-disk/small",
        "--quantize",
        "q8_0",
        "-q",
    ];
    let disk = program.path("in-disk");
    for pages in [1, 4, 8, 12, 40, 100] {
        let Some(_disk) = Disk::new(&disk, pages * 4096) else {
            println!("skipped: this user can't mount a small file system");
            return;
        };
        let run = program.run(&batch);
        if run.code != Some(0) {
            run.refused(&["-o: in-disk", "the disk is full"]);
        }
        let made = names(&disk);
        assert!(
            made.iter()
                .all(|name| Record::read(&disk.join(name)).is_ok()),
            "{made:?}"
        );
        let run = program.run(&convert);
        if run.code != Some(0) {
            run.refused(&["in-disk", "o space"]);
            assert_eq!(names(&disk), made);
        }
    }
}
