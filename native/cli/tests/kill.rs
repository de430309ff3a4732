//! Kills the program at random moments, and at each call that changes a folder, and looks at what the
//! next run leaves.
//!
//! `X2I_KILLS=200 cargo test --release --test kill -- --nocapture` kills each command 200 times at random;
//! without the variable it is 3 times. The kills at each call need the program `strace`.

#![cfg(unix)]

mod program;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use program::{Program, names};
use serde_json::Value;
use x2i_engine::Record;

/// How often each command is killed.
fn kills() -> u32 {
    let asked = std::env::var("X2I_KILLS").ok();
    asked.map_or(3, |asked| asked.parse().expect("X2I_KILLS is a number"))
}

/// Random moments.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("the clock runs");
        Self(now.as_nanos() as u64 | 1)
    }

    /// A moment between the start and a bit beyond `end`.
    fn before(&mut self, end: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        end.mul_f64(self.0 as f64 / u64::MAX as f64 * 1.1)
    }
}

/// The command with its input from `in.txt`, if there is one.
fn silent(program: &Program, arguments: &[&str]) -> Command {
    let mut command = program.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    match File::open(program.path("in.txt")) {
        Ok(input) => command.stdin(input),
        Err(_) => command.stdin(Stdio::null()),
    };
    command
}

/// Kills the command at random moments. `check` looks at the folder after each kill, and runs it once
/// more to its end.
fn kill_at_random(program: &Program, arguments: &[&str], mut check: impl FnMut()) {
    let began = Instant::now();
    assert!(silent(program, arguments).status().unwrap().success());
    let (whole, mut moments) = (began.elapsed(), Moments::new());
    check();
    let mut killed = 0;
    for _ in 0..kills() {
        let moment = moments.before(whole);
        let mut child = silent(program, arguments).spawn().unwrap();
        sleep(moment);
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        check();
    }
    println!(
        "{}: {killed} of {} were killed within {whole:?}",
        arguments[0],
        kills()
    );
}

/// The calls that change what a folder holds, and those around them.
const CALLS: [&str; 12] = [
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "fsync",
    "flock",
    "fchmod",
];

/// Kills the command at each of [`CALLS`], from the first to the last. Does nothing without strace.
fn kill_at_calls(program: &Program, arguments: &[&str], mut check: impl FnMut()) {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: there is no strace, so nothing was killed at a call");
        return;
    }
    let mut killed = 0;
    for call in CALLS {
        let mut number = 1;
        while !killed_at(program, arguments, call, number) {
            check();
            (killed, number) = (killed + 1, number + 1);
            assert!(number < 500, "{call}: the program never came to its end");
        }
        check();
    }
    println!("{}: killed at each of {killed} calls", arguments[0]);
    assert!(killed > 4, "too few were killed");
}

/// Kills the command before it makes a call for the `number`-th time. True when it came to its end.
fn killed_at(program: &Program, arguments: &[&str], call: &str, number: u32) -> bool {
    let untraced = silent(program, arguments);
    let mut command = Command::new("strace");
    // A machine may not have every call.
    let inject = format!("inject=?{call}:signal=KILL:when={number}");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace=?{call}"),
    ]);
    command.args(["-e", &inject]).arg(untraced.get_program());
    command
        .args(untraced.get_args())
        .current_dir(program.folder.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    match File::open(program.path("in.txt")) {
        Ok(input) => command.stdin(input),
        Err(_) => command.stdin(Stdio::null()),
    };
    command.status().unwrap().success()
}

fn is_whole(path: &Path) -> bool {
    Record::read(path).is_ok()
}

#[test]
fn a_killed_generate_leaves_the_old_image_or_the_new_one() {
    let program = Program::new();
    let model = program.model().to_owned();
    let arguments = [
        "generate", "x", "--model", &model, "--device", "cpu", "--steps", "2", "-o", "out.png",
    ];
    let check = || {
        assert!(is_whole(&program.path("out.png")));
        program.run(&arguments).succeeded();
        assert_eq!(program.files(), ["out.png"]);
    };
    kill_at_random(&program, &arguments, check);
    kill_at_calls(&program, &arguments, check);
}

#[test]
fn a_killed_batch_goes_on_where_it_ended() {
    let program = Program::new();
    let model = program.model().to_owned();
    let lines: String = (0..4)
        .map(|n| format!("{{\"prompt\": \"{n}\", \"out\": \"{n}.png\"}}\n"))
        .collect();
    fs::write(program.path("in.jsonl"), lines).unwrap();
    let arguments = [
        "generate", "--batch", "in.jsonl", "--resume", "-o", "made", "--model", &model, "--device",
        "cpu", "--steps", "1", "--json",
    ];
    let made = program.path("made");
    let check = || {
        let finished = names(&made);
        let finished: Vec<_> = finished
            .iter()
            .filter(|name| !name.starts_with('.'))
            .collect();
        assert!(finished.iter().all(|name| is_whole(&made.join(name))));
        let run = program.run(&arguments).succeeded();
        let skipped = run.stdout.matches(r#""type":"skipped""#).count();
        assert_eq!(skipped, finished.len(), "{}", run.stdout);
        assert_eq!(names(&made), ["0.png", "1.png", "2.png", "3.png"]);
        for name in names(&made) {
            fs::remove_file(made.join(name)).unwrap();
        }
    };
    kill_at_random(&program, &arguments, check);
    kill_at_calls(&program, &arguments, check);
}

#[test]
fn a_killed_chat_keeps_every_turn_that_it_has_told_of() {
    let program = Program::new();
    let model = program.model().to_owned();
    fs::write(program.path("in.txt"), "one\ntwo\n").unwrap();
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
    let turns = || {
        let json = fs::read(program.path("talk.json")).unwrap_or(br#"{"turns": []}"#.to_vec());
        let session: Value = serde_json::from_slice(&json).expect("a whole session");
        session["turns"].as_array().expect("turns").clone()
    };
    let check = || {
        let before = turns();
        let pictures = before
            .iter()
            .map(|turn| turn["picture"].as_str().unwrap().to_owned());
        assert!(
            pictures
                .into_iter()
                .all(|picture| is_whole(&program.path(&picture)))
        );
        let ended = silent(&program, &arguments).status().unwrap();
        assert!(ended.success());
        assert_eq!(turns().len(), before.len() + 2);
        assert_eq!(turns()[..before.len()], before[..]);
        let strays = program
            .files()
            .into_iter()
            .filter(|name| name.starts_with('.'));
        assert_eq!(strays.collect::<Vec<_>>(), [""; 0]);
        for name in program.files() {
            fs::remove_file(program.path(&name)).unwrap();
        }
    };
    kill_at_random(&program, &arguments, check);
    kill_at_calls(&program, &arguments, check);
}

/// The names and the recorded hashes of a converted folder's files, from `x2i inspect`.
#[track_caller]
fn is_complete(program: &Program, folder: &str) {
    let report = program.run(&["inspect", folder, "--json"]).succeeded();
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let files = report["files"].as_object().unwrap();
    let is_recorded = |state: &Value| state.as_str().unwrap().ends_with("SHA-256 as recorded");
    assert!(
        files.len() == 5 && files.values().all(is_recorded),
        "{files:?}"
    );
}

const CONVERTED: [&str; 6] = [
    "align_net.gguf",
    "encoder.gguf",
    "flux.gguf",
    "model.json",
    "tokenizer.json",
    "vae.gguf",
];

#[test]
fn a_killed_conversion_leaves_a_whole_folder_or_none() {
    let program = Program::new();
    let model = program.model().to_owned();
    let arguments = ["convert", &model, "a.v1", "-q"];
    let folder = program.path("a.v1");
    let check = || {
        if folder.exists() {
            is_complete(&program, "a.v1");
            fs::remove_dir_all(&folder).unwrap();
        }
        program.run(&arguments).succeeded();
        assert_eq!(program.files(), ["a.v1"]);
        assert_eq!(names(&folder), CONVERTED);
        fs::remove_dir_all(&folder).unwrap();
    };
    kill_at_random(&program, &arguments, check);
    kill_at_calls(&program, &arguments, check);
}

#[test]
fn a_killed_replacement_leaves_one_of_the_two_models_and_all_that_is_not_theirs() {
    let program = Program::new();
    let model = program.model().to_owned();
    program.run(&["convert", &model, "a.v1", "-q"]).succeeded();
    let folder = program.path("a.v1");
    fs::write(folder.join("thesis.txt"), "mine").unwrap();
    let arguments = [
        "convert",
        &model,
        "a.v1",
        "--force",
        "--quantize",
        "q8_0",
        "-q",
    ];
    let other = ["convert", &model, "a.v1", "--force", "-q"];
    let mut expected = CONVERTED.to_vec();
    expected.insert(4, "thesis.txt");
    expected.sort();
    let check = || {
        assert_eq!(
            fs::read_to_string(folder.join("thesis.txt")).unwrap(),
            "mine"
        );
        // The next run of any command ends what was begun.
        is_complete(&program, "a.v1");
        assert_eq!(names(&folder), expected);
        program.run(&other).succeeded();
        is_complete(&program, "a.v1");
        assert_eq!(names(&folder), expected);
        assert_eq!(program.files(), ["a.v1"]);
    };
    kill_at_random(&program, &arguments, check);
    kill_at_calls(&program, &arguments, check);
}

#[test]
fn eight_at_once_on_one_output_leave_one_whole_image() {
    let program = Program::new();
    let model = program.model().to_owned();
    let seeds: Vec<String> = (0..8).map(|seed| seed.to_string()).collect();
    let children: Vec<_> = seeds
        .iter()
        .map(|seed| {
            let arguments = [
                "generate", "x", "--model", &model, "--device", "cpu", "--steps", "1", "--seed",
                seed,
            ];
            silent(&program, &arguments).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(is_whole(&program.path("out.png")));
    assert_eq!(program.files(), ["out.png"]);
}

/// Each paints what no other has finished, and a file is whole at any moment.
#[test]
fn eight_batches_that_resume_in_one_folder_leave_every_image_whole() {
    let program = Program::new();
    let model = program.model().to_owned();
    fs::write(program.path("in.jsonl"), "a\nb\nc\nd\n").unwrap();
    let arguments = [
        "generate", "--batch", "in.jsonl", "-o", "made", "--resume", "--model", &model, "--device",
        "cpu", "--steps", "1", "--seed", "7", "-q",
    ];
    let children: Vec<_> = (0..8)
        .map(|_| silent(&program, &arguments).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let made = program.path("made");
    let images = ["0001.png", "0002.png", "0003.png", "0004.png"];
    assert_eq!(names(&made), images);
    assert!(images.iter().all(|image| is_whole(&made.join(image))));
    assert_eq!(program.files(), ["made"]);
}

/// The first to end makes the folder; the others find it there and leave nothing.
#[test]
fn of_many_conversions_to_a_new_folder_one_makes_it() {
    let program = Program::new();
    let model = program.model().to_owned();
    let arguments = ["convert", &model, "a.v1", "-q"];
    let children: Vec<_> = (0..8)
        .map(|_| silent(&program, &arguments).spawn().unwrap())
        .collect();
    let ended = children
        .into_iter()
        .map(|mut child| child.wait().unwrap().success());
    assert_eq!(ended.filter(|success| *success).count(), 1);
    is_complete(&program, "a.v1");
    assert_eq!(names(&program.path("a.v1")), CONVERTED);
    assert_eq!(program.files(), ["a.v1"]);
}

/// Conversions into one folder take turns, and each is whole.
#[test]
fn eight_conversions_into_one_folder_leave_one_whole_model() {
    let program = Program::new();
    let model = program.model().to_owned();
    program.run(&["convert", &model, "a.v1", "-q"]).succeeded();
    let types = ["none", "f32", "f16", "q8_0", "q4_0", "none", "f16", "q8_0"];
    let children: Vec<_> = types
        .iter()
        .map(|quantize| {
            let arguments = [
                "convert",
                &model,
                "a.v1",
                "--force",
                "-q",
                "--quantize",
                quantize,
            ];
            silent(&program, &arguments).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    is_complete(&program, "a.v1");
    assert_eq!(names(&program.path("a.v1")), CONVERTED);
    assert_eq!(program.files(), ["a.v1"]);
}
