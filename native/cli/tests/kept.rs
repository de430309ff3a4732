//! Files that are not x2i's stay, and what a stranger's file names is not opened.

mod program;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use program::{Program, names, write_png};
use serde_json::{Value, json};
use x2i_core::png::{LoraRecord, Metadata, PartRecord, UsedFile, encode};
use x2i_engine::{Record, media};

#[test]
fn convert_replaces_only_the_files_of_the_old_model() {
    let program = Program::new();
    let force = ["convert", program.model(), "small", "--force", "-q"];
    program.run(&force).succeeded();
    fs::create_dir(program.path("small/notes")).unwrap();
    fs::write(program.path("small/notes/a.txt"), "mine").unwrap();
    fs::write(program.path("small/thesis.txt"), "mine").unwrap();
    program.run(&force).succeeded();
    let expected = [
        "align_net.gguf",
        "encoder.gguf",
        "flux.gguf",
        "model.json",
        "notes",
        "thesis.txt",
        "tokenizer.json",
        "vae.gguf",
    ];
    assert_eq!(names(&program.path("small")), expected);
    assert_eq!(
        fs::read_to_string(program.path("small/notes/a.txt")).unwrap(),
        "mine"
    );

    // A file that the old model.json does not list is the user's, whatever its name.
    let path = program.path("small/model.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["files"].as_object_mut().unwrap().remove("vae.gguf");
    fs::write(&path, config.to_string()).unwrap();
    program.run(&force).refused(&["small/vae.gguf", "--force"]);
    // Another program's model.json does not make a model folder.
    fs::write(&path, r#"{"modelTopology": {}, "files": {}}"#).unwrap();
    program
        .run(&force)
        .refused(&["small", "model.json", "--force"]);
    assert_eq!(names(&program.path("small")), expected);
}

#[test]
fn a_killed_replacement_is_ended_by_the_next_run_which_says_so() {
    let program = Program::new();
    let convert = |folder: &str, quantize: &str| {
        let arguments = [
            "convert",
            program.model(),
            folder,
            "-q",
            "--quantize",
            quantize,
        ];
        program.run(&arguments).succeeded();
    };
    let generate = |model: &str, output: &str| {
        let arguments = ["generate", "x", "--seed", "1", "--device", "cpu", "--model"];
        let run = program.run(&[&arguments[..], &[model, "-o", output]].concat());
        run.succeeded().stderr
    };
    convert("old", "none");
    convert("new", "q8_0");
    generate("new", "a.png");
    fs::rename(
        program.path("new"),
        program.path("old/.x2i-convert-finished"),
    )
    .unwrap();
    let half = "old/.x2i-convert-finished/flux.gguf";
    fs::rename(program.path(half), program.path("old/flux.gguf")).unwrap();
    let said = generate("old", "b.png");
    assert!(said.contains("old: a conversion was killed"), "{said}");
    assert!(!generate("old", "c.png").contains("killed"));
    let pixels = |name| image::open(program.path(name)).unwrap().into_rgb8();
    assert_eq!(pixels("a.png"), pixels("b.png"));
    assert_eq!(names(&program.path("old")).len(), 6);
}

#[test]
fn what_killed_runs_left_is_removed_and_nothing_else() {
    let program = Program::new();
    for folder in [".x2i-convert-abc", ".x2i-convert-mine"] {
        fs::create_dir(program.path(folder)).unwrap();
        fs::write(program.path(folder).join("flux.gguf"), "half").unwrap();
    }
    fs::write(program.path(".x2i-convert-mine/thesis.txt"), "mine").unwrap();
    fs::write(program.path(".x2i-abcdef.tmp"), "half").unwrap();
    program
        .run(&["convert", program.model(), "small", "-q"])
        .succeeded();
    assert_eq!(program.files(), [".x2i-convert-mine", "small"]);
    fs::write(program.path(".x2i-abcdef.tmp"), "half").unwrap();
    program.generate(&["x"]).succeeded();
    assert_eq!(program.files(), [".x2i-convert-mine", "out.png", "small"]);
    assert_eq!(names(&program.path(".x2i-convert-mine")), ["thesis.txt"]);
}

#[test]
fn a_batch_replaces_images_of_x2i_and_nothing_else() {
    let program = Program::new();
    fs::create_dir(program.path("made")).unwrap();
    write_png(&program.path("made/photo.png"), 8, 8);
    fs::write(program.path("made/.bashrc"), "alias a=b").unwrap();
    let batch = |line: &str| {
        fs::write(program.path("in.jsonl"), line).unwrap();
        program.generate(&["--batch", "in.jsonl", "-o", "made"])
    };
    for (out, word) in [
        ("photo.png", "not an image of x2i"),
        (".bashrc", "not an image of x2i"),
        ("a.gif", ".png"),
        ("model.json", ".png"),
        ("../x.png", "inside the folder"),
    ] {
        let line = json!({"prompt": "x", "out": out}).to_string();
        batch(&line).refused(&["--batch", "line 1", "out", out, word]);
    }
    assert_eq!(names(&program.path("made")), [".bashrc", "photo.png"]);
    batch(r#"{"prompt": "x", "step": 9}"#).refused(&["line 1", "`step`", "`steps`"]);
    batch(r#"{"prompt": "x", "lora": "a.safetensors"}"#).refused(&["line 1", "`lora`"]);
    batch(r#"{"prompt": "x", "out": "a.png"}"#).succeeded();
    batch(r#"{"prompt": "y", "out": "a.png"}"#).succeeded();
}

#[test]
#[cfg(unix)]
fn an_image_keeps_the_permissions_of_the_one_that_it_replaces() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new();
    let path = program.path("out.png");
    program.generate(&["x"]).succeeded();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    program.generate(&["y"]).succeeded();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_batch_skips_images_of_the_same_request() {
    let program = Program::new();
    write_png(&program.path("in.png"), 56, 56);
    let lines = |second: &str| {
        let first = r#"{"prompt": "a cat", "images": ["in.png"], "out": "cat.png"}"#;
        let third = r#"{"prompt": "a hat", "seed": 7, "out": "hat.png"}"#;
        let text = format!("{first}\n{second}\n{third}\n");
        fs::write(program.path("in.jsonl"), text).unwrap();
    };
    let resume = |more: &[&str]| {
        let batch = ["--batch", "in.jsonl", "-o", "made", "--resume", "--json"];
        let run = program.generate(&[&batch, more].concat()).succeeded();
        let of_kind = |kind: &str| {
            let events = run
                .stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            let events = events.filter(move |event: &Value| event["type"] == kind);
            let paths = events.map(|event| event["path"].as_str().unwrap().to_owned());
            paths.collect::<Vec<_>>()
        };
        (of_kind("skipped"), of_kind("image"))
    };
    let paths = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .map(|name| format!("made/{name}.png"))
            .collect()
    };
    lines(r#"{"prompt": "a dog", "out": "dog.png"}"#);
    assert_eq!(resume(&[]), (vec![], paths(&["cat", "dog", "hat"])));
    assert_eq!(resume(&[]), (paths(&["cat", "dog", "hat"]), vec![]));
    fs::remove_file(program.path("made/cat.png")).unwrap();
    assert_eq!(resume(&[]), (paths(&["dog", "hat"]), paths(&["cat"])));
    lines(r#"{"prompt": "a fox", "out": "dog.png"}"#);
    assert_eq!(resume(&[]), (paths(&["cat", "hat"]), paths(&["dog"])));
    write_png(&program.path("in.png"), 56, 84);
    assert_eq!(resume(&[]), (paths(&["dog", "hat"]), paths(&["cat"])));
    assert_eq!(
        resume(&["--cache", "0.1"]),
        (vec![], paths(&["cat", "dog", "hat"])),
        "an image without a cache is another one"
    );
    assert_eq!(resume(&[]), (vec![], paths(&["cat", "dog", "hat"])));
    // The seed of a flag is a part of the request, and a line's own seed has precedence.
    assert_eq!(
        resume(&["--seed", "3"]),
        (paths(&["hat"]), paths(&["cat", "dog"]))
    );
    assert_eq!(resume(&["--steps", "2"]).0, paths(&[]));
    let run = program.generate(&[
        "--batch", "in.jsonl", "-o", "made", "--resume", "--steps", "2",
    ]);
    assert!(
        run.succeeded()
            .stdout
            .ends_with("3 of 3 images are finished\n")
    );
}

/// A chat that waits for its next line, and holds its session.
#[test]
fn the_second_chat_of_a_session_is_refused() {
    let program = Program::new();
    let model = program.model().to_owned();
    let chat = [
        "chat",
        "--session",
        "talk.json",
        "--model",
        &model,
        "--device",
        "cpu",
        "-q",
    ];
    let mut first = program
        .command(&chat)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let mut said = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("talk-001.png")));
    program
        .run(&chat)
        .refused(&["--session", "talk.json", "another chat"]);
    stdin.write_all(b"two\n").unwrap();
    drop(stdin);
    assert!(said.any(|line| line.unwrap().starts_with("talk-002.png")));
    assert!(first.wait().unwrap().success());
    program.run(&chat).succeeded();
    assert_eq!(
        program.files(),
        ["talk-001.png", "talk-002.png", "talk.json"]
    );
}

#[test]
fn of_many_chats_on_one_session_no_turn_is_lost() {
    let program = Program::new();
    let model = program.model().to_owned();
    fs::write(program.path("in.txt"), "one\ntwo\n").unwrap();
    let children: Vec<_> = (0..6)
        .map(|_| {
            let chat = [
                "chat",
                "--session",
                "talk.json",
                "--model",
                &model,
                "--device",
                "cpu",
            ];
            let input = fs::File::open(program.path("in.txt")).unwrap();
            let mut command = program.command(&chat);
            command
                .stdin(input)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let ended = children
        .into_iter()
        .map(|mut child| child.wait().unwrap().success());
    let talked = ended.filter(|ended| *ended).count();
    let session = fs::read(program.path("talk.json")).unwrap();
    let session: Value = serde_json::from_slice(&session).unwrap();
    assert!(talked >= 1);
    assert_eq!(session["turns"].as_array().unwrap().len(), 2 * talked);
}

#[test]
fn a_chat_saves_over_sessions_only() {
    let program = Program::new();
    fs::write(program.path(".bashrc"), "alias a=b").unwrap();
    let model = program.model().to_owned();
    fs::write(program.path("in.txt"), "one\n/save .bashrc\n").unwrap();
    let mut command = program.command(&["chat", "--model", &model, "--device", "cpu", "-q"]);
    command.stdin(fs::File::open(program.path("in.txt")).unwrap());
    let run = program::Run::new(command.output().unwrap());
    run.refused(&[".bashrc", "not replaced"]);
    assert_eq!(
        fs::read_to_string(program.path(".bashrc")).unwrap(),
        "alias a=b"
    );
}

/// An image whose record is changed by `change`.
fn stranger(program: &Program, path: &Path, change: impl FnOnce(&mut Metadata)) {
    if !program.path("in-made.png").exists() {
        program
            .generate(&["x", "--seed", "1", "-o", "in-made.png"])
            .succeeded();
    }
    let made = program.path("in-made.png");
    let mut metadata = Record::read(&made).unwrap().metadata().clone();
    change(&mut metadata);
    let image = media::image::read(&made).unwrap().value;
    fs::write(path, encode(&image, &metadata).unwrap()).unwrap();
}

fn lora(file: &str) -> impl FnOnce(&mut Metadata) {
    let weights = UsedFile {
        file: file.to_owned(),
        sha256: "00".into(),
    };
    |metadata| {
        metadata.loras = vec![LoraRecord {
            config: None,
            weights,
            scale: 1.0,
        }]
    }
}

#[test]
fn a_record_reaches_its_own_folder_and_the_current_one() {
    let program = Program::new();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.png");
    write_png(&secret, 56, 56);
    let secret = secret.to_str().unwrap().to_owned();
    program
        .generate(&["x", "--image", &secret, "--seed", "1"])
        .succeeded();
    let replay = ["generate", "--from", "out.png", "-o", "b.png"];
    let words = ["--from", "secret.png", "--image", "--trust"];
    program.run(&replay).refused(&words);
    program
        .run(&[&replay[..], &["--trust"]].concat())
        .succeeded();
    let bytes = |name| fs::read(program.path(name)).unwrap();
    assert!(bytes("out.png") == bytes("b.png"));
    program
        .run(&[&replay[..], &["--image", &secret]].concat())
        .succeeded();

    let path = program.path("in.png");
    let refused = |words: &[&str]| {
        let replay = ["generate", "--from", "in.png"];
        program.run(&replay).refused(words);
    };
    let place = outside.path().to_str().unwrap().to_owned();
    stranger(&program, &path, |metadata| metadata.model.place = place);
    refused(&["--from", "--model", "--trust"]);
    stranger(&program, &path, lora("../secret.safetensors"));
    refused(&["--from", "../secret.safetensors", "--lora", "--trust"]);
}

#[test]
fn a_record_is_not_more_work_than_it_may_ask_for() {
    let program = Program::new();
    let path = program.path("in.png");
    stranger(&program, &path, |metadata| {
        (metadata.width, metadata.height, metadata.steps) = (8192, 8192, 1000);
    });
    let replay = ["generate", "--from", "in.png"];
    program
        .run(&replay)
        .refused(&["--from", "8192x8192", "1000 steps", "--trust"]);
    stranger(&program, &path, |metadata| metadata.steps = 1001);
    program.run(&replay).refused(&["1001", "1000"]);
    let fps = |fps| {
        let file = "in.gif".to_owned();
        let sha256 = "00".into();
        PartRecord::Video { file, sha256, fps }
    };
    stranger(&program, &path, |metadata| metadata.prompt = vec![fps(1e9)]);
    program.run(&replay).refused(&["--video-fps", "1000"]);
}

/// Of what is no regular file nothing is read, and nobody waits for a pipe.
#[test]
#[cfg(unix)]
fn pipes_and_devices_are_refused_at_once() {
    let program = Program::new();
    let pipe = program.path("in.pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let path = program.path("in.png");
    for (file, trust) in [("in.pipe", &[][..]), ("/dev/zero", &["--trust"])] {
        let replay = [&["generate", "--from", "in.png"], trust].concat();
        stranger(&program, &path, lora(file));
        program
            .run(&replay)
            .refused(&["--from", file, "regular file", "--lora"]);
        let image = || PartRecord::Image {
            file: file.to_owned(),
            sha256: "00".into(),
        };
        stranger(&program, &path, |metadata| metadata.prompt.push(image()));
        program
            .run(&replay)
            .refused(&["--from", file, "regular file", "--image"]);
    }
    program
        .run(&["generate", "--from", "in.pipe"])
        .refused(&["--from", "regular file"]);
    program
        .run(&["inspect", "in.pipe"])
        .refused(&["in.pipe", "regular file"]);
    program
        .run(&["inspect", "/dev/zero"])
        .refused(&["/dev/zero", "regular file"]);
    let chat = [
        "chat",
        "--model",
        program.model(),
        "--device",
        "cpu",
        "--session",
    ];
    program
        .run(&[&chat[..], &["in.pipe"]].concat())
        .refused(&["in.pipe", "regular file"]);
    program
        .generate(&["x", "--lora", "in.pipe"])
        .refused(&["--lora", "in.pipe", "regular file"]);
    fs::write(
        program.path("in.jsonl"),
        r#"{"prompt": "x", "images": ["in.pipe"]}"#,
    )
    .unwrap();
    program
        .generate(&["--batch", "in.jsonl", "-o", "made"])
        .refused(&["line 1", "in.pipe", "regular file"]);
}

/// What follows the header of an image is not decoded before its hash is known.
#[test]
fn a_recorded_file_is_hashed_before_it_is_decoded() {
    let program = Program::new();
    fs::write(program.path("in-bomb.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    let path = program.path("in.png");
    stranger(&program, &path, |metadata| {
        metadata.prompt.push(PartRecord::Image {
            file: "in-bomb.png".into(),
            sha256: "00".into(),
        });
    });
    program
        .run(&["generate", "--from", "in.png"])
        .refused(&["--from", "in-bomb.png", "SHA-256"]);
}

/// The most memory that a run had, in bytes.
#[cfg(target_os = "linux")]
fn peak(program: &Program, lines: usize) -> u64 {
    let line = r#"{"prompt": "x", "images": ["in-large.png"], "out": "NAME.png"}"#;
    let name = |n: usize| line.replace("NAME", &n.to_string());
    let text: Vec<String> = (0..lines).map(name).collect();
    fs::write(program.path("in.jsonl"), text.join("\n")).unwrap();
    let batch = [
        "--batch", "in.jsonl", "-o", "in-made", "--json", "--steps", "1",
    ];
    let run = program.generate(&batch).succeeded();
    let last: Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    last["peak_memory"].as_u64().unwrap()
}

/// Each image takes 27 MB as RGB.
#[test]
#[cfg(target_os = "linux")]
fn a_batch_takes_the_memory_of_one_line() {
    const DECODED: u64 = 3000 * 3000 * 3;
    let program = Program::new();
    // The LLM reads the image in small.
    let hints = program.path("tiny/x2i.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&hints).unwrap()).unwrap();
    config["defaults"]["input_image_size"] = json!([56, 56]);
    fs::write(hints, config.to_string()).unwrap();
    write_png(&program.path("in-large.png"), 3000, 3000);
    let (few, many) = (peak(&program, 2), peak(&program, 8));
    assert!(many < few + DECODED, "{} MB more", (many - few) >> 20);
}
