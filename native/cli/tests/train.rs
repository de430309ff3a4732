//! `x2i train` as a user runs it: on a small model, killed and gone on, and in several processes.

#[path = "../../train/tests/run/model.rs"]
mod model;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use program::{Run, names, write_png};
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

    /// `x2i train lora` on one picture.
    fn lora(&self, out: &str, device: &str, more: &[&str]) -> Command {
        let pictures = self.path("pictures");
        fs::create_dir_all(&pictures).unwrap();
        write_png(&pictures.join("a.png"), 40, 40);
        fs::write(pictures.join("a.txt"), "a red apple").unwrap();
        let mut command = Command::new(X2I);
        command
            .args(["train", "lora", "--device", device, "--width", "32"])
            .args(["--height", "32", "--warmup", "1", "--rank", "4"])
            .args(["--learning-rate", "0.01", "--validate-every", "1000"])
            .arg("--model")
            .arg(self.path("model"))
            .arg("--data")
            .arg(pictures)
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
    for part in [
        "transformer",
        "T5 and CLIP",
        "optimizer",
        "epochs",
        "weights and optimizer",
    ] {
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
fn samples_without_an_answer_are_left_out_and_texts_of_other_lengths_refused() {
    let place = Place::new();
    let refused = |out: &str, more: &[&str]| {
        let refused = answered(&place, out, more).output().unwrap();
        assert!(!refused.status.success());
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    answers(&place, ["a", "an apple"]);
    let text = refused("all", &[]);
    assert!(text.contains("set `tokens` to \"image\""), "{text}");
    // One of two is left out, and told of by its name; the run goes on.
    answers(&place, [" ", "an apple"]);
    output(answered(&place, "one", &["--tokens", "image"]));
    let log = fs::read_to_string(place.path("one/log.jsonl")).unwrap();
    assert_eq!(
        log.matches("has no text in its field `answer`; it is left out")
            .count(),
        1,
        "{log}"
    );
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

#[test]
fn nets_are_trained_and_steer_a_picture_by_its_edges() {
    let place = Place::new();
    let paint = |name: &str, more: &[&str]| {
        let mut command = Command::new(X2I);
        command
            .args(["generate", "a red apple", "--device", "cpu", "--steps", "1"])
            .args(["--size", "32x32", "--model"])
            .arg(place.path("model"))
            .arg("-o")
            .arg(place.path(name))
            .args(more);
        output(command);
        pixels(&place.path(name))
    };
    // What it learns is what the model paints from other noise.
    fs::create_dir(place.path("pictures")).unwrap();
    for seed in ["2", "3"] {
        paint(&format!("pictures/{seed}.png"), &["--seed", seed]);
    }
    let train = |more: &[&str]| {
        let mut command = Command::new(X2I);
        command
            .args(["train", "control", "--device", "cpu", "--width", "32"])
            .args(["--height", "32", "--hint", "edges", "--updates", "3"])
            .args(["--warmup", "0", "--learning-rate", "0.05"])
            .args(["--control-channels", "8,8,8,16,16", "--control-time", "16"])
            .arg("--model")
            .arg(place.path("model"))
            .arg("--data")
            .arg(place.path("pictures"))
            .arg("--out")
            .arg(place.path("run"))
            .args(more);
        command
    };
    let dry = output(train(&["--dry-run"]));
    assert!(
        String::from_utf8(dry.stdout)
            .unwrap()
            .contains("parameters and gradients")
    );
    let refused = train(&["--rank", "4"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.lines().count() == 1,
        "{text}"
    );
    assert!(
        text.contains("`rank` is a key of `lora`, not of `control`"),
        "{text}"
    );
    let hint = place.path("pictures/2.png");
    let samples = [
        "--sample-prompts",
        "a red apple",
        "--sample-steps",
        "1",
        "--sample-hints",
    ];
    output(train(&[&samples[..], &[hint.to_str().unwrap()]].concat()));
    assert!(place.path("run/samples/000003-0.png").exists());
    let weights = place.path("run/control/diffusion_pytorch_model.safetensors");
    let (hint, weights) = (hint.to_str().unwrap(), weights.to_str().unwrap());
    let control = ["--control", hint, "--control-weights", weights];
    let seed = ["--seed", "1"];
    let control = [&seed[..], &control].concat();
    let plain = paint("plain.png", &seed);
    let own = paint("own.png", &control);
    let source = paint(
        "source.png",
        &[&control[..], &["--control-hint", "source"]].concat(),
    );
    let edges = paint(
        "edges.png",
        &[&control[..], &["--control-hint", "edges"]].concat(),
    );
    assert!(plain != edges && source != edges);
    // The weights say what they were trained on.
    assert!(own == edges);
    // The picture's record has the hint.
    let image = place.path("edges.png");
    let mut again = Command::new(X2I);
    again.args(["generate", "--device", "cpu", "--model"]);
    again.arg(place.path("model")).arg("--from").arg(&image);
    again.arg("-o").arg(place.path("again.png"));
    output(again);
    assert!(pixels(&place.path("again.png")) == edges);
}

/// The compressed pixels of a PNG file, without its record.
fn pixels(path: &Path) -> Vec<u8> {
    let bytes = bytes(path);
    let (mut at, mut pixels) = (8, vec![]);
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if &bytes[at + 4..at + 8] == b"IDAT" {
            pixels.extend_from_slice(&bytes[at + 8..at + 8 + length]);
        }
        at += length + 12;
    }
    assert!(!pixels.is_empty());
    pixels
}

/// A command whose files may not be longer than `blocks` of 512 bytes.
#[cfg(target_os = "linux")]
fn limited(blocks: u64, command: &Command) -> Run {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    Run::new(shell.output().unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_from_it() {
    let place = Place::new();
    let run = |out: &str, updates: &str| {
        place.lora(
            out,
            "cpu",
            &["--updates", updates, "--checkpoint-every", "1"],
        )
    };
    output(run("whole", "4"));
    output(run("run", "2"));
    let checkpoints = place.path("run/checkpoints");
    let files = ["model.safetensors", "optimizer.safetensors", "state.json"];
    let last = || files.map(|file| bytes(&checkpoints.join("2").join(file)));
    let (old, lora) = (last(), bytes(&place.path("run/lora.safetensors")));
    let blocks = |bytes: &Vec<u8>| bytes.len() as u64 / 512;
    // The settings, the parameters, the optimizer's states after them.
    for (most, file) in [
        (0, "config.toml"),
        (blocks(&old[0]) - 1, "model.safetensors"),
        (blocks(&old[1]) - 1, "optimizer.safetensors"),
    ] {
        limited(most, &run("run", "4")).refused(&[file, "is larger than"]);
        assert_eq!(names(&checkpoints), ["1", "2"], "{file}");
        assert!(last() == old, "{file}");
        assert!(bytes(&place.path("run/lora.safetensors")) == lora, "{file}");
    }
    // All updates are made, and only the LoRA does not fit.
    limited(blocks(&lora) - 1, &run("run", "2")).refused(&["lora.safetensors", "is larger than"]);
    assert!(bytes(&place.path("run/lora.safetensors")) == lora);
    output(run("run", "4"));
    assert_eq!(place.losses("run"), place.losses("whole"));
    let [run, whole] = ["run", "whole"].map(|run| bytes(&place.path(run).join("lora.safetensors")));
    assert!(run == whole);
}

#[test]
fn a_lora_has_the_same_losses_on_the_gpu() {
    let place = Place::new();
    let more = ["--updates", "3", "--batch", "2"];
    let gpu = place.lora("gpu", "wgpu:0", &more).output().unwrap();
    let errors = String::from_utf8_lossy(&gpu.stderr);
    if !gpu.status.success() && errors.contains("wgpu:0: is not there") {
        eprintln!("skipped: this machine has no GPU, not even an emulated one");
        return;
    }
    assert!(gpu.status.success(), "{errors}");
    output(place.lora("cpu", "cpu", &more));
    let (cpu, gpu) = (place.losses("cpu"), place.losses("gpu"));
    assert_eq!((cpu.len(), gpu.len()), (3, 3));
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!((cpu - gpu).abs() < 1e-4 * cpu.abs(), "{cpu} {gpu}");
    }
    assert!(cpu[2] != cpu[0]);
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
    fn loras_and_nets_learn_in_two_processes_too() {
        let place = Place::new();
        let pictures = place.path("pictures");
        fs::create_dir(&pictures).unwrap();
        for (number, caption) in (0..).zip(["a red apple", "the sea", "a cat", "a tree"]) {
            write_png(&pictures.join(format!("{number}.png")), 32 + 8 * number, 40);
            fs::write(pictures.join(format!("{number}.txt")), caption).unwrap();
        }
        for (kind, own) in [
            ("lora", ["--rank", "4"]),
            ("control", ["--control-channels", "8,8,8,16,16"]),
        ] {
            let run = |mut command: Command, out: &str, more: &[&str]| {
                command
                    .args(["train", kind, "--device", "cpu", "--width", "32"])
                    .args(["--height", "32", "--warmup", "0", "--updates", "3"])
                    .args(["--learning-rate", "0.01"])
                    .args(own)
                    .arg("--model")
                    .arg(place.path("model"))
                    .arg("--data")
                    .arg(&pictures)
                    .arg("--out")
                    .arg(place.path(out))
                    .args(more);
                output(command);
                place.losses(out)
            };
            let (one, two) = (format!("{kind}-one"), format!("{kind}-two"));
            let one = run(Command::new(X2I), &one, &["--accumulation", "2"]);
            let two = run(mpirun(2), &two, &["--mpi"]);
            assert_eq!((one.len(), two.len()), (3, 3), "{kind}");
            for (one, two) in one.iter().zip(&two) {
                assert!((one / two - 1.0).abs() < 1e-6, "{kind}: {one} {two}");
            }
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
