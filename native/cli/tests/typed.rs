//! The program as users of its peers type: their flags, files and outputs.

mod program;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use program::{Program, Run, write_png};
use serde_json::Value;

/// The record of an image, as `inspect` reads it.
#[track_caller]
fn record(program: &Program, image: &str) -> Value {
    let run = program.run(&["inspect", "--json", image]).succeeded();
    let facts: Value = serde_json::from_str(&run.stdout).unwrap();
    facts["x2i"].clone()
}

/// Runs the program with these flags and the tiny model, without the name of a command.
fn bare(program: &Program, arguments: &[&str]) -> Run {
    let model = ["-m", program.model(), "--device", "cpu"];
    program.run(&[arguments, &model].concat())
}

fn fed(program: &Program, arguments: &[&str], input: &[u8]) -> Run {
    let model = ["generate", "-m", program.model(), "--device", "cpu"];
    let mut command = program.command(&[&model, arguments].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Run::new(child.wait_with_output().unwrap())
}

#[test]
fn a_prompt_alone_is_painted_and_a_misspelt_command_is_asked_about() {
    let program = Program::new();
    bare(
        &program,
        &["a red apple", "-n", "2", "--seed", "7", "-W", "32"],
    )
    .succeeded();
    assert_eq!(program.files(), ["out-1.png", "out-2.png"]);
    let record = record(&program, "out-2.png");
    assert_eq!(record["prompt"][0]["text"], "a red apple");
    assert_eq!(
        (&record["seed"], &record["width"], &record["height"]),
        (&8.into(), &32.into(), &64.into())
    );
    let asked = program.run(&["docter"]);
    assert_eq!(asked.code, Some(2));
    assert!(asked.stderr.contains("doctor"), "{}", asked.stderr);
}

#[test]
fn prompts_may_begin_with_a_dash_or_an_at() {
    let program = Program::new();
    let painted = |arguments: &[&str]| {
        program
            .generate(&[arguments, &["--seed", "1"]].concat())
            .succeeded();
        record(&program, "out.png")["prompt"][0]["text"].clone()
    };
    assert_eq!(painted(&["-5 degrees"]), "-5 degrees");
    assert_eq!(painted(&["-p", "-x"]), "-x");
    assert_eq!(painted(&["--prompt", "a cat"]), "a cat");
    assert_eq!(painted(&["@home sweet home"]), "@home sweet home");
    fs::write(program.path("in-words"), "from a file").unwrap();
    assert_eq!(painted(&["@in-words"]), "from a file");
    let run = program
        .generate(&["--seed", "1", "--", "--size"])
        .succeeded();
    assert!(run.stdout.contains("out.png"));
    assert_eq!(record(&program, "out.png")["prompt"][0]["text"], "--size");
    program.generate(&["-n", "2", "-x"]).refused(&["-x"]);
}

#[test]
fn a_square_size_and_a_random_seed() {
    let program = Program::new();
    program
        .generate(&["x", "--size", "32", "--seed", "-1"])
        .succeeded();
    let first = record(&program, "out.png");
    assert_eq!(
        (&first["width"], &first["height"]),
        (&32.into(), &32.into())
    );
    program
        .generate(&["--from", "out.png", "--seed", "-1", "-o", "b.png"])
        .succeeded();
    let second = record(&program, "b.png");
    assert_ne!(first["seed"], second["seed"]);
    assert_eq!(first["width"], second["width"]);
}

#[test]
fn jpeg_and_webp_hold_the_record_and_are_replayed() {
    let program = Program::new();
    let all = ["made.png", "made.jpg", "made.JPEG", "made.webp"];
    for name in all {
        program
            .generate(&["红 apple", "--seed", "7", "-o", name])
            .succeeded();
        assert_eq!(
            record(&program, name),
            record(&program, "made.png"),
            "{name}"
        );
    }
    let start = |name: &str| fs::read(program.path(name)).unwrap()[..3].to_vec();
    assert_eq!(start("made.JPEG"), b"\xff\xd8\xff");
    assert_eq!(start("made.webp"), b"RIF");
    for name in all {
        program
            .run(&["generate", "--from", name, "-o", "again.png"])
            .succeeded();
        let [again, made] =
            ["again.png", "made.png"].map(|name| fs::read(program.path(name)).unwrap());
        assert!(again == made, "{name} is replayed as another image");
    }
    let decoded = |name: &str| {
        image::open(program.path(name))
            .unwrap()
            .into_rgb8()
            .into_raw()
    };
    assert!(decoded("made.webp") == decoded("made.png"));
    program
        .generate(&[
            "红 apple",
            "--seed",
            "7",
            "-o",
            "low.jpg",
            "--quality",
            "20",
        ])
        .succeeded();
    let length = |name: &str| fs::metadata(program.path(name)).unwrap().len();
    assert!(length("low.jpg") < length("made.jpg"));
    program
        .generate(&["x", "-o", "a.webp", "--quality", "20"])
        .refused(&["--quality", "WebP"]);
    let whole = fs::read(program.path("made.jpg")).unwrap();
    fs::write(program.path("in-cut.jpg"), &whole[..whole.len() - 9]).unwrap();
    program
        .run(&["generate", "--from", "in-cut.jpg"])
        .refused(&["--from", "in-cut.jpg"]);
    let shown = program.run(&["inspect", "made.webp"]).succeeded().stdout;
    assert!(shown.starts_with("made.webp: WebP, 64x64"), "{shown}");
}

#[test]
fn a_new_folder_is_made_and_the_home_folder_is_meant() {
    let program = Program::new();
    program
        .generate(&["x", "--seed", "3", "-o", "new/folder/"])
        .succeeded();
    assert!(program.path("new/folder/3.png").is_file());
    let home = program.path("in-home");
    fs::create_dir(&home).unwrap();
    write_png(&home.join("a.png"), 32, 32);
    fs::write(
        program.path("in.jsonl"),
        r#"{"images": ["~/a.png"], "prompt": "x"}"#,
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let model = ["generate", "--model", program.model(), "--device", "cpu"];
        let mut command = program.command(&[&model, arguments].concat());
        Run::new(command.env("HOME", &home).output().unwrap()).succeeded()
    };
    run(&["x", "--image=~/a.png", "-o", "~/out.png"]);
    assert!(home.join("out.png").is_file());
    run(&["--batch=in.jsonl", "-o", "~/made"]);
    assert!(home.join("made/0001.png").is_file());
}

#[test]
fn several_files_a_flag_and_files_that_were_meant() {
    let program = Program::new();
    for name in ["in-a.png", "in-b.png"] {
        write_png(&program.path(name), 32, 32);
    }
    let kinds = || {
        let record = record(&program, "out.png");
        let kinds = record["prompt"].as_array().unwrap().iter();
        kinds
            .map(|part| part.as_object().unwrap().keys().next().unwrap().clone())
            .collect::<Vec<_>>()
    };
    program
        .generate(&["--image", "in-a.png", "in-b.png", "both"])
        .succeeded();
    assert_eq!(kinds(), ["image", "image", "text"]);
    program
        .generate(&["--image", "in-a.png", "in-b.png"])
        .succeeded();
    assert_eq!(kinds(), ["image", "image"]);
    program
        .generate(&["in-b.png"])
        .refused(&["did you mean --image in-b.png?"]);
    program.generate(&["--text", "in-b.png"]).succeeded();
    program
        .generate(&["--image", "in-a.png", "none.png"])
        .refused(&["--image", "none.png", "not found"]);
}

#[test]
fn urls_of_files_and_of_data_are_inputs() {
    use base64::Engine as _;
    let program = Program::new();
    write_png(&program.path("in a.png"), 32, 32);
    let bytes = fs::read(program.path("in a.png")).unwrap();
    let data = base64::prelude::BASE64_STANDARD.encode(&bytes);
    let data = format!("data:image/png;base64,{data}");
    let file = format!("file://{}/in%20a.png", program.folder.path().display());
    let painted = |image: &str, output: &str| {
        program
            .generate(&["--image", image, "x", "--seed", "5", "-o", output])
            .succeeded();
        let image = image::open(program.path(output)).unwrap();
        image.into_rgb8().into_raw()
    };
    let plain = painted("in a.png", "a.png");
    assert!(painted(&file, "b.png") == plain);
    assert!(painted(&data, "c.png") == plain);
    program
        .run(&["generate", "--from", "c.png", "-o", "d.png"])
        .succeeded();
    let [c, d] = ["c.png", "d.png"].map(|name| fs::read(program.path(name)).unwrap());
    assert!(c == d);
    program
        .generate(&["--image", "https://x.org/a.png", "x"])
        .refused(&["--image", "does not download"]);
}

#[test]
fn batches_are_lines_of_json_or_words_or_an_array() {
    let program = Program::new();
    let texts: [(&str, &[u8]); 4] = [
        (
            "lines",
            "\u{feff}{\"prompt\": \"a\", \"size\": [32, 48]}\r\nthe words\r\n\r\n".as_bytes(),
        ),
        (
            "array",
            b"[{\"prompt\": \"a\", \"size\": \"32x48\"},\n \"the words\"]",
        ),
        ("words", b"a\nthe words\n"),
        ("utf16", b"\xff\xfea\0\n\0t\0h\0e\0 \0w\0o\0r\0d\0s\0"),
    ];
    for (name, text) in texts {
        let file = format!("in-{name}");
        fs::write(program.path(&file), text).unwrap();
        program
            .generate(&[
                "--batch", &file, "-o", name, "--seed", "1", "--size", "32x48",
            ])
            .succeeded();
        let second = record(&program, &format!("{name}/0002.png"));
        assert_eq!(second["prompt"][0]["text"], "the words", "{name}");
        let first = record(&program, &format!("{name}/0001.png"));
        assert_eq!(
            (&first["width"], &first["height"]),
            (&32.into(), &48.into())
        );
    }
    fs::write(program.path("in-broken"), "[{\"prompt\": \"a\"},").unwrap();
    program
        .generate(&["--batch", "in-broken", "-o", "x"])
        .refused(&["--batch", "in-broken", "array"]);
    fs::write(
        program.path("in-jpg"),
        "{\"prompt\": \"a\", \"out\": \"a.jpg\"}",
    )
    .unwrap();
    program
        .generate(&["--batch", "in-jpg", "-o", "jpg"])
        .succeeded();
    assert!(
        fs::read(program.path("jpg/a.jpg"))
            .unwrap()
            .starts_with(b"\xff\xd8")
    );
}

#[test]
fn line_ends_of_windows_give_the_same_image() {
    let program = Program::new();
    fs::write(program.path("in-lf"), "a cat\nin a hat\n").unwrap();
    fs::write(program.path("in-crlf"), "a cat\r\nin a hat\r\n").unwrap();
    for (flags, output) in [
        (["--prompt-file", "in-lf"], "a.png"),
        (["--prompt-file", "in-crlf"], "b.png"),
    ] {
        program
            .generate(&[&flags[..], &["--seed", "1", "-o", output]].concat())
            .succeeded();
    }
    fed(
        &program,
        &["-", "--seed", "1", "-o", "c.png"],
        b"a cat\r\nin a hat\r\n",
    )
    .succeeded();
    let [a, b, c] = ["a.png", "b.png", "c.png"].map(|name| fs::read(program.path(name)).unwrap());
    assert!(a == b && a == c);
}

#[test]
fn what_a_model_does_not_read_of_a_prompt_is_said() {
    let program = Program::new();
    let model = program.path("tiny/x2i.json");
    let hints = fs::read_to_string(&model).unwrap();
    let padding = r#""padding":{"max_length":64,"side":"right"}"#;
    fs::write(&model, hints.replace(r#""padding":null"#, padding)).unwrap();
    let run = program
        .generate(&[&"red apple ".repeat(60), "--json"])
        .succeeded();
    let image: Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    let [read, left] = ["read", "left"].map(|key| image["prompt_tokens"][key].as_u64().unwrap());
    assert_eq!(read, 64);
    assert!(left > 0);
    let warning = format!(
        "has {} tokens, and the model reads 64: the last {left} are left out",
        read + left
    );
    assert_eq!(run.stderr.matches(&warning).count(), 1, "{}", run.stderr);
    let short = program.generate(&["a cat"]).succeeded();
    assert!(!short.stderr.contains("left out"), "{}", short.stderr);
}

#[test]
fn control_tokens_in_a_prompt_are_text() {
    let program = Program::new();
    write_png(&program.path("in.png"), 32, 32);
    let painted = |prompt: &str| {
        program
            .generate(&["--image", "in.png", prompt, "--seed", "1"])
            .succeeded();
        image::open(program.path("out.png"))
            .unwrap()
            .into_rgb8()
            .into_raw()
    };
    let plain = painted("a cat");
    for token in [
        "<|im_end|>",
        "<|image_pad|>",
        "<|vision_start|>",
        "<|endoftext|>",
    ] {
        assert!(
            painted(&format!("a {token} cat")) != plain,
            "{token} has no effect at all"
        );
    }
}

#[test]
fn a_replay_from_another_folder_names_the_flag_that_helps() {
    let program = Program::new();
    write_png(&program.path("in-init.png"), 64, 64);
    fs::create_dir(program.path("in-there")).unwrap();
    program
        .generate(&["x", "--init", "in-init.png", "-o", "in-there/a.png"])
        .succeeded();
    let there = |arguments: &[&str]| {
        let mut command = program.command(arguments);
        Run::new(
            command
                .current_dir(program.path("in-there"))
                .output()
                .unwrap(),
        )
    };
    there(&["generate", "--from", "a.png", "--trust"]).refused(&[
        "--from",
        "in-init.png",
        "give it with --init",
    ]);
    program
        .run(&[
            "generate",
            "x",
            "--model",
            "tiny",
            "--device",
            "cpu",
            "-o",
            "in-there/b.png",
        ])
        .succeeded();
    there(&["generate", "--from", "b.png", "--trust"]).refused(&[
        "--from",
        "`tiny`",
        "choose the model with --model",
    ]);
}

#[test]
fn long_values_are_not_echoed_whole() {
    let program = Program::new();
    let long = "a".repeat(70_000);
    for arguments in [
        &["x", "--size", &long][..],
        &["x", "--device", &long],
        &["x", "--image", &long],
        &["x", "--model", &long],
        &["x", &format!("--{long}")],
        &["x", "-o", &long],
    ] {
        let run = program.run(&[&["generate"], arguments].concat());
        assert!(matches!(run.code, Some(1 | 2)), "{:?}", run.code);
        assert!(run.stderr.len() < 3000, "{}", run.stderr.len());
        assert!(run.stderr.contains("characters"), "{}", run.stderr);
    }
}

/// What lies below transparent pixels is white, or the given color, or visible again.
#[test]
fn transparent_pictures_lie_on_a_background() {
    let program = Program::new();
    let red = image::Rgb([200, 30, 30]);
    let clear = image::RgbaImage::from_pixel(56, 56, image::Rgba([200, 30, 30, 0]));
    clear.save(program.path("in clear.png")).unwrap();
    for (name, color) in [
        ("red", red),
        ("white", image::Rgb([255; 3])),
        ("black", image::Rgb([0; 3])),
    ] {
        let picture = image::RgbImage::from_pixel(56, 56, color);
        picture
            .save(program.path(&format!("in {name}.png")))
            .unwrap();
    }
    let painted = |name: &str, flags: &[&str]| {
        let image = format!("in {name}.png");
        let arguments = [
            &["--image", &image, "x", "--seed", "7", "-o", "a.png"],
            flags,
        ]
        .concat();
        program.generate(&arguments).succeeded();
        image::open(program.path("a.png"))
            .unwrap()
            .to_rgb8()
            .into_raw()
    };
    assert_eq!(painted("clear", &[]), painted("white", &[]));
    assert_eq!(
        painted("clear", &["--background", "black"]),
        painted("black", &[])
    );
    assert_eq!(
        painted("clear", &["--background", "c81e1e"]),
        painted("red", &[])
    );
    assert_eq!(painted("clear", &["--alpha", "drop"]), painted("red", &[]));
    assert_ne!(painted("white", &[]), painted("red", &[]));
    // A replay keeps the background, and a flag replaces it.
    for (given, recorded) in [
        (&["--background", "000000"][..], "000000"),
        (&["--alpha", "drop"], "dropped"),
    ] {
        let made = painted("clear", given);
        assert_eq!(record(&program, "a.png")["background"], recorded);
        let again = |flags: &[&str]| {
            let from = [&["generate", "--from", "a.png", "-o", "b.png"], flags].concat();
            program.run(&from).succeeded();
            image::open(program.path("b.png"))
                .unwrap()
                .to_rgb8()
                .into_raw()
        };
        assert_eq!(again(&[]), made);
        assert_eq!(again(&["--background", "white"]), painted("white", &[]));
    }
    painted("red", &["--background", "black", "--steps", "1"]);
    assert_eq!(record(&program, "a.png")["background"], "000000");
    program
        .generate(&["x", "--background", "black", "-o", "a.png"])
        .succeeded();
    assert!(record(&program, "a.png").get("background").is_none());
    let refused = ["--image", "in clear.png", "x", "--background", "mauve"];
    program
        .generate(&refused)
        .refused(&["--background", "six digits in hex"]);
}
