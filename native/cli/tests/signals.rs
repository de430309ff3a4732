//! Signals while files and the programs that read them take long: each is heard within a second, and no
//! program is left behind.

#![cfg(target_os = "linux")]

mod program;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use program::Program;
use serde_json::{Value, json};

/// A second, and what a machine that does something else takes on top.
const SOON: Duration = Duration::from_millis(1500);
/// Every start of the program ends long before.
const LONG: Duration = Duration::from_secs(30);
/// The length of a file without content that takes longer to hash than any test waits.
const ENDLESS: u64 = 200 << 30;

fn clip() -> String {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data/clip.mp4");
    clip.to_str().expect("a UTF-8 path").to_owned()
}

/// Programs in place of ffmpeg's that start another one, write both numbers to `in-pids`, and wait.
fn sleepers(program: &Program) -> String {
    let (folder, pids) = (program.path("in-bin"), program.path("in-pids"));
    fs::create_dir_all(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\nsleep 300 &\necho $! $$ >> {}\nwait\n",
        pids.display()
    );
    for name in ["ffprobe", "ffmpeg"] {
        let path = folder.join(name);
        fs::write(&path, &script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let others = std::env::var("PATH").unwrap();
    format!("{}:{others}", folder.display())
}

fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < within, "{what} within {within:?}");
        sleep(Duration::from_millis(5));
    }
}

/// The programs that were started in place of ffmpeg's, and what they started.
fn pids(program: &Program) -> Vec<u32> {
    until("a program starts", LONG, || {
        let text = fs::read_to_string(program.path("in-pids")).ok()?;
        let line = text.strip_suffix('\n')?;
        let numbers = line
            .split_whitespace()
            .map(|number| number.parse().unwrap());
        Some(numbers.collect())
    })
}

/// Whether a process runs; nobody may wait for an orphan in a container, so that a zombie counts as gone.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok();
    stat.is_some_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    until(what, SOON, || child.try_wait().unwrap())
}

fn start(program: &Program, arguments: &[&str], path: Option<&str>) -> Child {
    let mut command = program.command(arguments);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn words(child: &mut Child) -> String {
    let mut text = String::new();
    let errors = child.stderr.as_mut().expect("a pipe");
    errors.read_to_string(&mut text).expect("UTF-8");
    text
}

#[test]
fn programs_and_what_they_started_end_with_us_however_we_end() {
    let program = Program::new();
    let (path, clip, model) = (sleepers(&program), clip(), program.model().to_owned());
    let lines = json!({"videos": [clip], "prompt": "x"});
    fs::write(program.path("in.jsonl"), lines.to_string()).unwrap();
    let with = ["--model", &model, "--device", "cpu"];
    let generate = [&["generate", "x", "--video", &clip][..], &with].concat();
    let gallery = [&["gallery", "--video", &clip][..], &with].concat();
    let batch = [
        &["generate", "--batch", "in.jsonl", "-o", "made"][..],
        &with,
    ]
    .concat();
    for (arguments, name, number) in [
        (&generate, "INT", None),
        (&generate, "TERM", Some(15)),
        (&generate, "HUP", Some(1)),
        (&generate, "KILL", Some(9)),
        (&gallery, "INT", None),
        (&gallery, "KILL", Some(9)),
        (&batch, "INT", None),
        (&batch, "TERM", Some(15)),
    ] {
        let _ = fs::remove_file(program.path("in-pids"));
        let mut child = start(&program, arguments, Some(&path));
        let started = pids(&program);
        assert!(started.len() == 2 && started.iter().all(|&process| runs(process)));
        signal(&child, name);
        let what = format!("{name} ends {arguments:?}");
        let status = ended(&mut child, &what);
        match number {
            None => assert_eq!(status.code(), Some(130), "{}", words(&mut child)),
            Some(number) => assert_eq!(status.signal(), Some(number)),
        }
        // Who ends them may have to wait for its turn on a busy machine.
        until("the programs end", LONG, || {
            (!started.iter().any(|&process| runs(process))).then_some(())
        });
    }
    let left = program.files();
    assert!(left.is_empty() || left == ["made"], "{left:?}");
}

#[test]
fn control_c_is_heard_while_files_are_hashed() {
    let program = Program::new();
    let model = program.model().to_owned();
    program
        .run(&["convert", &model, "in-model", "-q"])
        .succeeded();
    let large = fs::File::create(program.path("in-model/large.bin")).unwrap();
    if large.set_len(ENDLESS).is_err() {
        eprintln!("skipped: this file system has no files without content");
        return;
    }
    let config = program.path("in-model/model.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    json["files"]["large.bin"] = json!({"bytes": ENDLESS, "sha256": "00".repeat(32)});
    fs::write(config, json.to_string()).unwrap();
    for arguments in [
        &["doctor", "--model", "in-model"][..],
        &["inspect", "in-model"],
        &["convert", "in-model", "made"],
        &["generate", "x", "--model", "in-model", "--device", "cpu"],
        &["generate", "x", "--lora", "in-model/large.bin"],
    ] {
        let mut child = start(&program, arguments, None);
        sleep(Duration::from_millis(800));
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{arguments:?} ended: {status}, {}", words(&mut child));
        }
        signal(&child, "INT");
        let status = ended(&mut child, &format!("Ctrl-C ends {arguments:?}"));
        let words = words(&mut child);
        assert_eq!(status.code(), Some(130), "{arguments:?}: {words}");
        assert!(words.ends_with("cancelled\n"), "{arguments:?}: {words}");
        assert_eq!(program.files(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn control_c_is_heard_while_a_prompt_is_waited_for() {
    let program = Program::new();
    for arguments in [
        &["generate", "-"][..],
        &["generate", "--batch", "-", "-o", "in-made"],
    ] {
        let mut child = start(&program, arguments, None);
        sleep(Duration::from_millis(500));
        signal(&child, "INT");
        let status = ended(&mut child, "Ctrl-C ends it");
        assert_eq!(status.code(), Some(130), "{}", words(&mut child));
    }
}
