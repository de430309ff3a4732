//! Several devices on one command line: two software adapters, and a GPU with the CPU beside it.

mod program;

use std::path::Path;
use std::process::Command;

use program::{Program, Run, write_png};
use serde_json::Value;

/// Drivers of Mesa's software Vulkan.
const DRIVERS: [&str; 2] = [
    "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
    "/usr/share/vulkan/icd.d/lvp_icd.json",
];

/// A program that sees the software adapter twice: its driver is listed by two files.
struct TwoAdapters {
    program: Program,
    drivers: String,
}

impl TwoAdapters {
    fn new() -> Option<Self> {
        let driver = DRIVERS
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists());
        let Some(driver) = driver else {
            eprintln!("skipped: this machine has no lavapipe (Debian: mesa-vulkan-drivers)");
            return None;
        };
        let program = Program::new();
        let copies = ["in-first.json", "in-second.json"].map(|name| program.path(name));
        for copy in &copies {
            std::fs::copy(driver, copy).expect("a copy of the driver's file");
        }
        let drivers = copies.map(|path| path.display().to_string()).join(":");
        Some(Self { program, drivers })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program.command(arguments);
        command.env("VK_ICD_FILENAMES", &self.drivers);
        command.env("VK_DRIVER_FILES", &self.drivers);
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::new(
            self.command(arguments)
                .output()
                .expect("the program starts"),
        )
    }

    fn generate(&self, devices: &str, arguments: &[&str]) -> Run {
        let model = self.program.model();
        let begin = ["generate", "--model", model, "--device", devices];
        self.run(&[&begin[..], arguments].concat())
    }

    fn pixels(&self, name: &str) -> Vec<u8> {
        let image = image::open(self.program.path(name)).expect("an image");
        image.to_rgb8().into_raw()
    }
}

/// The events of one kind, of a run with `--json`.
fn events(run: &Run, kind: &str) -> Vec<Value> {
    let events = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    events
        .filter(|event: &Value| event["type"] == kind)
        .collect()
}

#[test]
fn images_are_spread_over_two_devices_and_told_in_order() {
    let Some(two) = TwoAdapters::new() else {
        return;
    };
    let common = ["--num-images", "4", "--seed", "3", "--steps", "2"];
    let run = |devices: &str, output: &str| {
        let own = ["--json", "a red apple", "-o", output];
        two.generate(devices, &[&common[..], &own[..]].concat())
            .succeeded()
    };
    run("wgpu:0", "one.png");
    let both = run("wgpu:0,wgpu:1", "two.png");
    let images = events(&both, "image");
    let told: Vec<(&str, u64)> = images
        .iter()
        .filter_map(|event| Some((event["path"].as_str()?, event["seed"].as_u64()?)))
        .collect();
    let expected = [
        ("two-1.png", 3),
        ("two-2.png", 4),
        ("two-3.png", 5),
        ("two-4.png", 6),
    ];
    assert_eq!(told, expected);
    let mut devices: Vec<&str> = images
        .iter()
        .filter_map(|event| event["device"].as_str())
        .collect();
    devices.sort_unstable();
    devices.dedup();
    assert_eq!(devices, ["wgpu:0", "wgpu:1"], "both paint");
    for number in 1..=4 {
        let [one, two] = ["one", "two"].map(|name| two.pixels(&format!("{name}-{number}.png")));
        assert!(one == two, "image {number}");
    }
}

#[test]
fn a_broken_image_of_a_batch_ends_all_devices_with_one_sentence() {
    let Some(two) = TwoAdapters::new() else {
        return;
    };
    write_png(&two.program.path("in.png"), 64, 64);
    let whole = std::fs::read(two.program.path("in.png")).expect("a PNG");
    std::fs::write(two.program.path("in-cut.png"), &whole[..whole.len() - 40])
        .expect("a part of it");
    let line = |image: &str| format!("{{\"prompt\": \"x\", \"images\": [\"{image}\"]}}\n");
    let batch = [
        line("in.png"),
        line("in-cut.png"),
        line("in.png"),
        line("in.png"),
    ]
    .concat();
    std::fs::write(two.program.path("in.jsonl"), batch).expect("a batch");
    let batch = ["--steps", "1", "--batch", "in.jsonl", "-o", "out/"];
    let run = two.generate("wgpu:0,wgpu:1", &batch);
    run.refused(&["--batch: in.jsonl line 2", "in-cut.png"]);
    for name in program::names(&two.program.path("out")) {
        assert!(name.ends_with(".png") && !name.starts_with('.'), "{name}");
        image::open(two.program.path("out").join(&name)).expect("a whole image");
    }
}

#[test]
fn a_model_that_is_too_large_for_a_gpu_is_split_with_the_cpu() {
    let Some(two) = TwoAdapters::new() else {
        return;
    };
    let shares = |limit: &str| -> Option<Value> {
        let model = two.program.model();
        let flags = [
            "--device",
            "wgpu:0,cpu",
            "--max-device-memory",
            limit,
            "--json",
        ];
        let run = two.run(&[&["doctor", "--model", model][..], &flags[..]].concat());
        let facts: Value = serde_json::from_str(&run.stdout).ok()?;
        Some(facts["shares"].clone())
    };
    let is_split = |shares: &Value| {
        let blocks = &shares["shares"][1]["single_blocks"];
        shares["stays"] == true && shares["streamed_blocks"] == 0 && blocks[0] != blocks[1]
    };
    let whole = shares("1G").expect("it fits")["shares"][0]["bytes"].as_f64();
    let whole = whole.expect("a number");
    // The activations of its tokens are beside the weights.
    let limits = (0..80).map(|n| format!("{:.0},1G", 4.0 * whole * 0.97_f64.powi(n)));
    let mut limits = limits.filter(|limit| shares(limit).is_some_and(|shares| is_split(&shares)));
    let limit = limits.next().expect("a limit that splits the model");
    let flags = [
        "--max-device-memory",
        &limit,
        "--steps",
        "1",
        "--json",
        "x",
        "-o",
        "a.png",
    ];
    let run = two.generate("wgpu:0,cpu", &flags).succeeded();
    assert_eq!(events(&run, "image")[0]["device"], "wgpu:0,cpu");
    let again = [
        "generate",
        "--from",
        "a.png",
        "--max-device-memory",
        &limit,
        "-o",
        "b.png",
    ];
    let again = two.run(&again).succeeded();
    assert!(
        !again.stderr.contains("pixels may differ"),
        "{}",
        again.stderr
    );
    assert!(two.pixels("a.png") == two.pixels("b.png"));
}

#[test]
fn lists_that_can_not_be_used_are_refused() {
    let program = Program::new();
    let refused = |device: &str, words: &[&str]| {
        let run = program.run(&[
            "generate",
            "--model",
            program.model(),
            "--device",
            device,
            "x",
        ]);
        run.refused(words);
    };
    refused(
        "cpu,cpu",
        &["--device", "cpu is named twice; give each device once"],
    );
    refused("cpu,", &["--device", "has an empty entry"]);
    refused("cpu,tpu", &["--device", "this machine has cpu"]);
    refused("cpu,wgpu:99", &["device wgpu:99: is not there"]);
    let limits = ["--device", "cpu", "--max-device-memory", "1G,2G", "x"];
    let run = program.run(&[&["generate", "--model", program.model()][..], &limits[..]].concat());
    run.refused(&["--max-device-memory: 2 sizes for 1 device; give one for all, or one for each"]);
    assert!(program.files().is_empty(), "{:?}", program.files());
}
