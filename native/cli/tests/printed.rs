//! What the program prints of names and texts that others made: no command reaches the terminal. And a
//! small main stack is enough.

#![cfg(unix)]

mod program;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use program::{Program, Run, write_png};

/// Clears a screen, rings, renames a window, turns the direction of reading.
const HOSTILE: &str = "\u{1b}[2J\u{7}\u{1b}]0;x\u{9b}31m\u{202e}";

#[track_caller]
fn is_harmless(run: &Run, what: &str) {
    for text in [&run.stdout, &run.stderr] {
        let found = text.chars().find(|&c| {
            c.is_control() && !matches!(c, '\n' | '\r') || matches!(c, '\u{202a}'..='\u{202e}')
        });
        assert_eq!(found, None, "{what}: {text:?}");
    }
}

#[test]
fn no_command_prints_what_a_terminal_obeys() {
    let program = Program::new();
    let name = |rest: &str| format!("in{HOSTILE}{rest}");
    let (png, jpg, weights) = (name(".png"), name(".jpg"), name(".gguf"));
    write_png(&program.path(&png), 32, 32);
    let prompt = format!("a cat {HOSTILE}");
    let model = name("-model");
    let run = |arguments: &[&str]| {
        let run = program.run(arguments);
        is_harmless(&run, &format!("{arguments:?}"));
        run
    };
    run(&["convert", program.model(), &model]).succeeded();
    let made = ["--model", &model, "--device", "cpu", "--seed", "1"];
    let generate = |arguments: &[&str]| run(&[&["generate"], &made[..], arguments].concat());
    generate(&["--image", &png, &prompt, "-o", &jpg]).succeeded();
    generate(&["--image", &png, &prompt, "--json", "-o", &jpg]).succeeded();
    generate(&["x", "--image", &name("none")]).refused(&["not found"]);
    generate(&["x", "--lora", &name("none")]).refused(&["not found"]);
    generate(&["x", "-o", &name("none/a.png")]).refused(&["not found"]);
    generate(&[&prompt, "--size", HOSTILE]).refused(&["--size"]);
    run(&["inspect", &jpg]).succeeded();
    run(&["inspect", "--json", &jpg]).succeeded();
    run(&["inspect", &model]).succeeded();
    run(&["inspect", "--json", &model]).succeeded();
    fs::copy(
        program.path(&model).join("flux.gguf"),
        program.path(&weights),
    )
    .unwrap();
    run(&["inspect", "--tensors", &weights]).succeeded();
    run(&["doctor", "--model", &model]).succeeded();
    run(&["doctor", "--json", "--model", &model]).succeeded();
    fs::remove_file(program.path(&model).join("vae.gguf")).unwrap();
    run(&["doctor", "--model", &model]).refused(&["--model"]);
    run(&["generate", "--from", &jpg, "-o", "again.png"]).refused(&["vae.gguf"]);
    run(&["generate", "--from", &png]).refused(&["no x2i metadata"]);
    let page = name(".html");
    let tiny = ["--model", program.model(), "--device", "cpu"];
    run(&[
        &[
            "gallery",
            "--task",
            "text2image",
            "--image",
            &png,
            "-o",
            &page,
        ],
        &tiny[..],
    ]
    .concat());
    run(&["generate", "x", "--batch", &page, "-o", "x"]);
    generate(&["--batch", &page, "-o", "x"]);
}

#[test]
fn a_chat_prints_no_commands_of_its_file() {
    let program = Program::new();
    let session = serde_json::json!({"format": 1, "model": "tiny", "turns": [{
        "parts": [{"text": format!("a{HOSTILE}")}],
        "answer": format!("b{HOSTILE}"),
        "picture": format!("c{HOSTILE}.png"),
        "seed": 7,
    }]});
    fs::write(program.path("in.json"), session.to_string()).unwrap();
    let arguments = [
        "chat",
        "--session",
        "in.json",
        "--model",
        program.model(),
        "--device",
        "cpu",
    ];
    let mut command = program.command(&arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = format!("/history\n/undo\n/save in{HOSTILE}.json\n/image {HOSTILE}\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let run = Run::new(child.wait_with_output().unwrap());
    is_harmless(&run, "chat");
    assert!(run.stdout.contains("> a\\u{1b}[2J"), "{}", run.stdout);
}

#[test]
fn a_long_prompt_is_inspected() {
    let program = Program::new();
    // Above the 65,535 characters that a padded column may have, with few tokens.
    let prompt = "\u{2028}".repeat(10) + &" ".repeat(84_000) + "x";
    fs::write(program.path("in.txt"), &prompt).unwrap();
    let made = program.generate(&["--prompt-file", "in.txt", "--steps", "1"]);
    if made.code != Some(0) {
        made.refused(&["tokens"]);
        let padding = r#""padding":{"max_length":64,"side":"right"}"#;
        let model = program.path("tiny/x2i.json");
        let hints = fs::read_to_string(&model).unwrap();
        fs::write(&model, hints.replace(r#""padding":null"#, padding)).unwrap();
        program
            .generate(&["--prompt-file", "in.txt", "--steps", "1"])
            .succeeded();
    }
    let shown = program.run(&["inspect", "out.png"]).succeeded().stdout;
    assert!(
        shown.contains("characters)") && shown.len() < 20_000,
        "{}",
        shown.len()
    );
}

/// Windows gives the main thread 1 MB.
#[test]
#[cfg(target_os = "linux")]
fn a_main_stack_of_256_kib_is_enough() {
    let program = Program::new();
    let x2i = env!("CARGO_BIN_EXE_x2i");
    let line = format!("ulimit -s 256; exec {x2i} generate x --model tiny --device cpu --seed 1");
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &line])
        .current_dir(program.folder.path());
    Run::new(command.output().unwrap()).succeeded();
    assert_eq!(program.files(), ["out.png"]);
}
