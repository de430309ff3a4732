//! `x2i train` as a user runs it: on a small model, killed and gone on, and in several processes.

#[path = "../../train/tests/run/model.rs"]
mod model;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

const X2I: &str = env!("CARGO_BIN_EXE_x2i");

/// A model, captions, and space for runs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        model::make(&folder.path().join("model"));
        let captions = [
            "a red apple",
            "a blue house",
            "the sea",
            "a cat",
            "two birds",
            "a tree",
        ];
        model::captions(&folder.path().join("captions.jsonl"), &captions);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `program train align` with the settings of all runs here, then `more`.
    fn train(&self, mut command: Command, out: &str, more: &[&str]) -> Command {
        command
            .args(["train", "align", "--device", "cpu", "--width", "32"])
            .args(["--height", "32", "--warmup", "1"])
            .arg("--model")
            .arg(self.path("model"))
            .arg("--data")
            .arg(self.path("captions.jsonl"))
            .arg("--out")
            .arg(self.path(out))
            .args(more);
        command
    }

    fn x2i(&self, out: &str, more: &[&str]) -> Command {
        self.train(Command::new(X2I), out, more)
    }

    /// The losses of a run's updates.
    fn losses(&self, out: &str) -> Vec<f64> {
        let log = fs::read_to_string(self.path(out).join("log.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter_map(|line: Value| line["loss"].as_f64())
            .collect()
    }
}

fn output(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_dry_run_says_what_is_needed_and_writes_nothing() {
    let place = Place::new();
    let output = output(place.x2i("run", &["--dry-run"]));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["transformer", "T5 and CLIP", "optimizer", "epochs", "all"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!place.path("run").exists());
}

#[test]
fn flags_replace_the_keys_of_a_file_and_a_wrong_one_is_one_line() {
    let place = Place::new();
    let config = place.path("run.toml");
    fs::write(
        &config,
        "updates = 5\nsample-prompts = ['a red apple']\nsample-steps = 1\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let output = output(place.x2i("run", &["--config", config, "--updates", "2", "--json"]));
    let events: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        ["begun", "samples", "update", "update", "saved", "samples"]
    );
    fs::write(place.path("run.toml"), "lerning-rate = 1\n").unwrap();
    let refused = place.x2i("other", &["--config", config]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        text.contains("unknown key `lerning-rate`; perhaps `learning-rate`"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// The numbers of a safetensors file's tensors, in its order.
fn numbers(path: &Path) -> Vec<f32> {
    let bytes = bytes(path);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let numbers = bytes[8 + header..].as_chunks().0.iter();
    numbers.map(|number| f32::from_le_bytes(*number)).collect()
}

/// A run on samples with answers, and a text of their own for the teacher. `--teacher` is a folder of FLUX.
fn answered(place: &Place, out: &str, more: &[&str]) -> Command {
    let mut command = place.x2i(out, &["--answer-key", "answer", "--teacher-key", "long"]);
    command
        .args(["--conditioning", "answer", "--teacher-tokens", "5"])
        .args(["--batch", "2", "--updates", "1", "--teacher"])
        .arg(place.path("model/flux"))
        .args(more);
    command
}

/// Two samples: `a`, which is answered with each of these.
fn answers(place: &Place, answers: [&str; 2]) {
    let lines = answers.map(|answer| {
        let line = json!({"caption": "a", "long": "a red apple", "answer": answer});
        line.to_string() + "\n"
    });
    fs::write(place.path("captions.jsonl"), lines.concat()).unwrap();
}

#[test]
fn scales_of_layers_are_taken_out_and_put_into_the_mix_again() {
    let place = Place::new();
    answers(&place, ["a", "an apple"]);
    // Rates of 0 change nothing.
    let still = [
        "--tokens",
        "image",
        "--start",
        "model",
        "--learning-rate",
        "0",
    ];
    let run = |out: &str, scales: &str| {
        let mut command = answered(&place, out, &still);
        command.args(["--weight-decay", "0", "--layer-scales", scales]);
        output(command);
        numbers(
            &place
                .path(out)
                .join("proj/diffusion_pytorch_model.safetensors"),
        )
    };
    let (scaled, plain) = (run("scaled", "true"), run("plain", "false"));
    assert_eq!(scaled.len(), plain.len());
    for (scaled, plain) in scaled.iter().zip(&plain) {
        assert!(
            (scaled - plain).abs() <= 1e-6 * plain.abs(),
            "{scaled} {plain}"
        );
    }
    let (one, other) = (place.losses("scaled"), place.losses("plain"));
    assert!((one[0] / other[0] - 1.0).abs() < 1e-4, "{one:?} {other:?}");
}

#[test]
fn samples_without_an_answer_and_texts_of_other_lengths_are_refused() {
    let place = Place::new();
    let refused = |out: &str, more: &[&str]| {
        let refused = answered(&place, out, more).output().unwrap();
        assert!(!refused.status.success());
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    answers(&place, ["a", "an apple"]);
    let text = refused("all", &[]);
    assert!(text.contains("set `tokens` to \"image\""), "{text}");
    answers(&place, [" ", " "]);
    let text = refused("image", &["--tokens", "image"]);
    assert!(text.contains("has no text in its field `answer`"), "{text}");
}

#[test]
fn a_run_that_is_killed_at_any_moment_gives_the_curve_of_one_that_is_not() {
    let kills: u64 = std::env::var("X2I_KILLS").map_or(8, |count| count.parse().unwrap());
    let place = Place::new();
    let more = ["--updates", "40", "--checkpoint-every", "3", "--keep", "2"];
    output(place.x2i("whole", &more));
    let expected = place.losses("whole");
    assert_eq!(expected.len(), 40);
    let mut killed = 0;
    for kill in 0..kills {
        let mut process = place.x2i("parts", &more).spawn().unwrap();
        // Moments that differ: during the start, an update, a checkpoint.
        sleep(Duration::from_millis(150 + kill * 7919 % 600));
        if process.try_wait().unwrap().is_none() {
            process.kill().unwrap();
            killed += 1;
        }
        process.wait().unwrap();
        if place.path("parts/log.jsonl").exists() && place.losses("parts").len() == 40 {
            fs::remove_dir_all(place.path("parts")).unwrap();
        }
    }
    assert!(killed > 0, "no process was killed while it ran");
    output(place.x2i("parts", &more));
    assert_eq!(place.losses("parts"), expected);
    let model = "checkpoints/40/model.safetensors";
    let same = bytes(&place.path("parts").join(model)) == bytes(&place.path("whole").join(model));
    assert!(same);
}

#[cfg(feature = "mpi")]
mod several {
    use super::*;

    fn mpirun(count: usize) -> Command {
        let mut command = Command::new("mpirun");
        command
            .args([
                "--allow-run-as-root",
                "--oversubscribe",
                "-n",
                &count.to_string(),
            ])
            .arg(X2I)
            .env("RAYON_NUM_THREADS", "1");
        command
    }

    #[test]
    fn two_processes_give_what_one_with_two_micro_batches_gives() {
        let place = Place::new();
        let more = ["--updates", "3", "--json"];
        output(place.x2i("one", &[&more[..], &["--accumulation", "2"]].concat()));
        output(place.train(mpirun(2), "two", &[&more[..], &["--mpi"]].concat()));
        let (one, two) = (place.losses("one"), place.losses("two"));
        assert_eq!(one.len(), 3);
        for (one, two) in one.iter().zip(&two) {
            assert!((one / two - 1.0).abs() < 1e-6, "{one} {two}");
        }
        let model = |run: &str| numbers(&place.path(run).join("checkpoints/3/model.safetensors"));
        for (one, two) in model("one").iter().zip(model("two")) {
            assert!((one - two).abs() < 1e-5, "{one} {two}");
        }
    }

    #[test]
    fn another_number_of_processes_goes_on() {
        let place = Place::new();
        let run = |count: usize, updates: &str| {
            output(place.train(mpirun(count), "run", &["--mpi", "--updates", updates]));
            place.losses("run").len()
        };
        assert_eq!(run(4, "2"), 2);
        assert_eq!(run(2, "4"), 4);
    }

    #[test]
    fn one_process_that_fails_ends_all_with_a_sentence() {
        let place = Place::new();
        let more = [
            "--mpi",
            "--updates",
            "100",
            "--learning-rate",
            "1e30",
            "--nan-limit",
            "2",
        ];
        let failed = place.train(mpirun(2), "run", &more).output().unwrap();
        assert!(!failed.status.success());
        let text = String::from_utf8_lossy(&failed.stderr);
        assert!(text.contains("numbers that are not finite"), "{text}");
    }
}
