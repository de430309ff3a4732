//! The program on good input: pictures, metadata, replays, progress, and stopping.

mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use program::{Program, write_png};
use serde_json::Value;

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_another_picture() {
    let program = Program::new();
    for (name, seed) in [("a.png", "7"), ("b.png", "7"), ("c.png", "8")] {
        program
            .generate(&["a red apple", "--seed", seed, "-o", name])
            .succeeded();
    }
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("a.png"), bytes("b.png"));
    assert_ne!(bytes("a.png"), bytes("c.png"));
    assert_eq!(program.files(), ["a.png", "b.png", "c.png"]);
}

#[test]
fn a_picture_repeats_itself_bit_for_bit() {
    let program = Program::new();
    write_png(&program.path("in cat.png"), 56, 84);
    let made = [
        "une pomme \"rouge\"\n红苹果",
        "--image",
        "in cat.png",
        "--size",
        "48x80",
        "--steps",
        "3",
    ];
    program
        .generate(&[&made[..], &["--guidance", "2.25", "--answer"]].concat())
        .succeeded();
    // Nothing but the PNG: neither a model nor a device.
    program
        .run(&["generate", "--from", "out.png", "-o", "again.png"])
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("out.png"), bytes("again.png"));
    program
        .run(&[
            "generate",
            "--from",
            "out.png",
            "--seed",
            "1",
            "-o",
            "other.png",
        ])
        .succeeded();
    assert_ne!(bytes("out.png"), bytes("other.png"));
}

#[test]
fn a_cached_picture_is_repeated_with_its_threshold_and_without_it_when_asked() {
    let program = Program::new();
    let generate = |arguments: &[&str]| {
        let quietly = [&["generate", "--device", "cpu"][..], arguments].concat();
        program.run(&quietly).succeeded().stdout
    };
    let made = [
        "a red apple",
        "--model",
        "emoji",
        "--seed",
        "7",
        "--steps",
        "8",
    ];
    generate(&[&made[..], &["-o", "plain.png"]].concat());
    let said = generate(&[&made[..], &["--cache", "0.3", "-o", "cached.png"]].concat());
    assert!(said.contains(" skipped)"), "{said}");
    generate(&["--from", "cached.png", "-o", "again.png"]);
    generate(&["--from", "cached.png", "--cache", "off", "-o", "off.png"]);
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("cached.png"), bytes("again.png"));
    assert_eq!(bytes("plain.png"), bytes("off.png"));
    assert_ne!(bytes("plain.png"), bytes("cached.png"));
    let inspect = |image| program.run(&["inspect", image]).succeeded().stdout;
    let has_row = |text: &str| {
        text.lines()
            .any(|line| line.split_whitespace().eq(["cache", "0.3"]))
    };
    assert!(has_row(&inspect("cached.png")), "{}", inspect("cached.png"));
    assert!(
        !inspect("plain.png").contains("cache"),
        "{}",
        inspect("plain.png")
    );
    let json = generate(&["--from", "cached.png", "--json", "-o", "json.png"]);
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert!(last["skipped_steps"].as_u64() > Some(0), "{last}");
}

#[test]
fn an_exact_picture_is_repeated_exactly() {
    let program = Program::new();
    // The built-in model is quantized; with the test's own one the flag changes nothing.
    let emoji = ["generate", "--model", "emoji", "--device", "cpu"];
    let made = ["a red apple", "--seed", "7", "-o"];
    for outputs in [&["usual.png"][..], &["exact.png", "--exact"]] {
        program
            .run(&[&emoji[..], &made, outputs].concat())
            .succeeded();
    }
    program
        .run(&["generate", "--from", "exact.png", "-o", "again.png"])
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert_eq!(bytes("exact.png"), bytes("again.png"));
    assert_ne!(bytes("exact.png"), bytes("usual.png"));
    let inspected = program.run(&["inspect", "exact.png"]).succeeded();
    assert!(inspected.stdout.contains(", exact"), "{}", inspected.stdout);
}

#[test]
fn a_changed_input_picture_is_noticed_on_replay() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 56);
    program
        .generate(&["a cat", "--image", "in.png"])
        .succeeded();
    write_png(&program.path("in.png"), 56, 84);
    program
        .run(&["generate", "--from", "out.png"])
        .refused(&["--from", "in.png", "SHA-256"]);
}

#[test]
fn several_pictures_take_following_seeds() {
    let program = Program::new();
    program
        .generate(&["x", "--seed", "7", "--num-images", "2", "-o", "a.png"])
        .succeeded();
    assert_eq!(program.files(), ["a-1.png", "a-2.png"]);
    program
        .generate(&["x", "--seed", "8", "-o", "b.png"])
        .succeeded();
    assert_eq!(
        fs::read(program.path("a-2.png")).unwrap(),
        fs::read(program.path("b.png")).unwrap()
    );
    program
        .generate(&["x", "--seed", "8", "-o", "new/"])
        .succeeded();
    assert_eq!(
        fs::read(program.path("new/8.png")).unwrap(),
        fs::read(program.path("b.png")).unwrap()
    );
}

#[test]
fn prompts_come_from_arguments_files_and_standard_input() {
    let program = Program::new();
    fs::write(program.path("in.txt"), "a red apple\n").unwrap();
    let generate = |arguments: &[&str], name: &str| {
        program
            .generate(&[arguments, &["--seed", "1", "--quiet", "-o", name]].concat())
            .succeeded();
        fs::read(program.path(name)).unwrap()
    };
    let expected = generate(&["a red apple"], "a.png");
    for (index, arguments) in [&["@in.txt"][..], &["in.txt"], &["--prompt-file", "in.txt"]]
        .iter()
        .enumerate()
    {
        assert_eq!(generate(arguments, &format!("{index}.png")), expected);
    }
    let mut command = program.command(&[
        "generate",
        "-",
        "--model",
        program.model(),
        "--seed",
        "1",
        "--device",
        "cpu",
    ]);
    command
        .args(["-q", "-o", "-"])
        .stdin(fs::File::open(program.path("in.txt")).unwrap());
    assert_eq!(command.output().unwrap().stdout, expected);
}

#[test]
fn json_is_one_object_a_line_and_quiet_is_silent() {
    let program = Program::new();
    let run = program
        .generate(&["x", "--json", "--seed", "5", "--steps", "2"])
        .succeeded();
    assert_eq!(run.stderr, "");
    let events: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (last, progress) = events.split_last().unwrap();
    assert!(progress.iter().all(|event| event["type"] == "progress"));
    assert!(
        progress
            .iter()
            .any(|event| event["phase"] == "denoise" && event["step"] == 2 && event["steps"] == 2)
    );
    assert_eq!(
        (&last["type"], &last["path"], &last["seed"]),
        (&"image".into(), &"out.png".into(), &5.into())
    );
    assert!(last["seconds"].as_f64().unwrap() > 0.0);
    let run = program.generate(&["x", "--quiet"]).succeeded();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn a_line_a_phase_and_step_where_there_is_no_terminal() {
    let program = Program::new();
    let run = program
        .generate(&["x", "--steps", "2", "--seed", "3"])
        .succeeded();
    let lines: Vec<&str> = run
        .stderr
        .lines()
        .map(|line| line.split(',').next().unwrap_or(""))
        .collect();
    assert_eq!(
        lines,
        [
            "model loaded",
            "prompt read",
            "step 1/2",
            "step 2/2",
            "decoded"
        ]
    );
    assert!(
        run.stdout.starts_with("out.png: 64x64, seed 3, 2 steps, "),
        "{}",
        run.stdout
    );
}

#[test]
fn a_batch_loads_once_and_gives_what_single_runs_give() {
    let program = Program::new();
    let lines = r#"{"prompt": "a red apple", "seed": 4, "out": "apple.png"}

{"prompt": "einen \"blauen\" Hund", "seed": 5, "out": "sub.png", "answer": true, "size": "48x64", "steps": 2}
"#;
    fs::write(program.path("in.jsonl"), lines).unwrap();
    let run = program
        .generate(&["--batch", "in.jsonl", "-o", "made", "--json"])
        .succeeded();
    let loads = run
        .stdout
        .lines()
        .filter(|line| line.contains(r#""phase":"load","done":0"#))
        .count();
    assert_eq!(loads, 1);
    program
        .generate(&["a red apple", "--seed", "4", "-o", "a.png"])
        .succeeded();
    program
        .generate(&[
            "einen \"blauen\" Hund",
            "--seed",
            "5",
            "--answer",
            "--size",
            "48x64",
            "--steps",
            "2",
            "-o",
            "b.png",
        ])
        .succeeded();
    for (batch, single) in [("made/apple.png", "a.png"), ("made/sub.png", "b.png")] {
        assert_eq!(
            fs::read(program.path(batch)).unwrap(),
            fs::read(program.path(single)).unwrap()
        );
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_stops_within_a_block_and_leaves_no_file() {
    let program = Program::new();
    let model = program.model();
    let mut command = program.command(&[
        "generate", "x", "--model", model, "--device", "cpu", "--steps", "1000", "--json",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let painting = lines.by_ref().any(|line| line.unwrap().contains("denoise"));
    assert!(painting);
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let events_after = lines.count();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "cancelled\n");
    assert!(events_after < 1000, "{events_after} events after Ctrl-C");
    assert_eq!(program.files(), [""; 0]);
}

#[test]
fn a_converted_model_paints_the_same_picture_and_its_files_are_recorded() {
    let program = Program::new();
    program
        .run(&["convert", program.model(), "small"])
        .succeeded();
    for (model, name) in [(program.model(), "a.png"), ("small", "b.png")] {
        let device = ["--device", "cpu", "--seed", "1", "-o", name];
        program
            .run(&[&["generate", "a cat", "--model", model], &device[..]].concat())
            .succeeded();
    }
    let pixels = |name| {
        image::open(program.path(name))
            .unwrap()
            .into_rgb8()
            .into_raw()
    };
    assert_eq!(pixels("a.png"), pixels("b.png"));
    let report = program
        .run(&["inspect", "small", "--json"])
        .succeeded()
        .stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    let files = report["files"].as_object().unwrap();
    assert_eq!(files.len(), 5);
    assert!(
        files
            .values()
            .all(|state| state.as_str().unwrap().ends_with("SHA-256 as recorded")),
        "{files:?}"
    );

    program
        .run(&["convert", program.model(), "small"])
        .refused(&["small", "--force"]);
    program
        .run(&[
            "convert",
            program.model(),
            "small",
            "--force",
            "--quantize",
            "q8_0",
        ])
        .succeeded();
    program
        .run(&[
            "generate", "a cat", "--model", "small", "--device", "cpu", "-o", "c.png",
        ])
        .succeeded();
    assert_eq!(program.files(), ["a.png", "b.png", "c.png", "small"]);
}

#[test]
fn pictures_weights_and_models_are_inspected() {
    let program = Program::new();
    program
        .generate(&["a red apple", "--seed", "9"])
        .succeeded();
    write_png(&program.path("in.png"), 3, 4);
    let goldens = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/goldens/pipeline_tiny"
    );
    let safetensors = format!("{goldens}/flux/vae/diffusion_pytorch_model.safetensors");
    let pickle = format!("{goldens}/proj/diffusion_pytorch_model.bin");
    let cases: [(&str, &[&str]); 5] = [
        (
            "out.png",
            &[
                "PNG, 64x64",
                "a red apple",
                "seed",
                "9",
                "x2i generate --from out.png",
            ],
        ),
        ("in.png", &["PNG, 3x4", "no x2i metadata"]),
        (&safetensors, &["safetensors", "tensors", "F32"]),
        (&pickle, &["PyTorch", "tensors"]),
        (program.model(), &["model `tiny`", "FLUX dev", "Qwen2.5-VL"]),
    ];
    for (path, words) in cases {
        let text = program.run(&["inspect", path]).succeeded().stdout;
        for word in words {
            assert!(text.contains(word), "`{word}` is not in {text}");
        }
        let json = program.run(&["inspect", path, "--json"]).succeeded().stdout;
        assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
    }
}

#[test]
fn doctor_says_what_auto_takes_and_what_runs() {
    let program = Program::new();
    let text = program
        .run(&["doctor", "--model", program.model()])
        .succeeded()
        .stdout;
    assert!(
        text.contains("auto takes this") && text.contains("runs tiny"),
        "{text}"
    );
    let json = program
        .run(&["doctor", "--model", program.model(), "--json"])
        .succeeded()
        .stdout;
    let facts: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(facts["devices"][0]["device"]["id"], "cpu");
    assert_eq!(facts["devices"][0]["verdict"]["can_run"], true);
    let precisions = facts["model"]["precisions"].as_array().unwrap();
    let bytes = |name: &str, key: &str| {
        let of = precisions.iter().find(|of| of["quantize"] == name);
        of.and_then(|of| of[key].as_u64()).expect(name)
    };
    assert_eq!(
        facts["model"]["loaded_on_cpu"],
        bytes("none", "loaded_on_cpu")
    );
    assert!(bytes("q8_0", "file_bytes") < bytes("f16", "file_bytes"));
    assert!(bytes("f16", "file_bytes") < bytes("f32", "file_bytes"));
}

#[test]
fn doctor_names_all_that_a_folder_lacks() {
    let program = Program::new();
    fs::create_dir_all(program.path("in/mllm")).unwrap();
    fs::write(program.path("in/mllm/config.json"), "{}").unwrap();
    let run = program
        .run(&["doctor", "--model", "in"])
        .refused(&["--model", "missing"]);
    for line in [
        "missing: the multimodal LLM: mllm/model.safetensors: file not found",
        "missing: AlignNet: proj/diffusion_pytorch_model.safetensors: file not found",
        "missing: the transformer: flux/",
    ] {
        assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
    }
}
