//! `x2i chat` as a person meets it, in a pseudo-terminal, and as a script does, through a pipe.

mod program;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use program::{Program, write_gif, write_png};
use serde_json::Value;

impl Program {
    /// `x2i chat` on the CPU with the tiny model, told `lines` through a pipe.
    fn chat(&self, arguments: &[&str], lines: &str) -> program::Run {
        let chat = ["chat", "--model", self.model(), "--device", "cpu", "-q"];
        let mut child = self
            .command(&[&chat, arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that refuses its flags does not read.
        let _ = stdin.write_all(lines.as_bytes());
        drop(stdin);
        program::Run::new(child.wait_with_output().expect("the program ends"))
    }

    fn session(&self, name: &str) -> Value {
        let json = fs::read(self.path(name)).expect("a session file");
        serde_json::from_slice(&json).expect("JSON")
    }
}

#[test]
fn every_turn_is_answered_and_painted_and_the_file_goes_on() {
    let program = Program::new();
    let first = program
        .chat(&["--session", "talk.json", "--seed", "7"], "a red apple\n")
        .succeeded();
    let lines: Vec<&str> = first.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", first.stdout);
    assert!(
        lines[1].starts_with("talk-001.png: 64x64, seed 7"),
        "{lines:?}"
    );
    program
        .chat(&["--session", "talk.json"], "/seed 9\nnow a blue one\n")
        .succeeded();
    assert_eq!(
        program.files(),
        ["talk-001.png", "talk-002.png", "talk.json"]
    );
    let turns = program.session("talk.json")["turns"].clone();
    assert_eq!(turns[1]["seed"], 9);
    assert_eq!(turns[0]["answer"], lines[0]);
    assert_eq!(turns[1]["parts"][0]["text"], "now a blue one");
}

/// The same words and seed paint another picture after other turns, and the same one after the same.
#[test]
fn the_model_is_shown_the_earlier_turns() {
    let program = Program::new();
    for (name, before) in [("a", "one\n"), ("b", "one\n"), ("c", "two, and more\n")] {
        let session = format!("{name}.json");
        let lines = format!("{before}and a cat\n");
        program
            .chat(&["--session", &session, "--seed", "1"], &lines)
            .succeeded();
    }
    let picture = |name: &str| image::open(program.path(name)).unwrap().to_rgb8();
    assert_eq!(picture("a-002.png"), picture("b-002.png"));
    assert_ne!(picture("a-002.png"), picture("c-002.png"));
}

#[test]
fn undo_forgets_a_turn_but_keeps_its_picture() {
    let program = Program::new();
    let lines = "one\ntwo\n/undo\nthree\n/save\n";
    program.chat(&["--session", "talk.json"], lines).succeeded();
    let turns = program.session("talk.json")["turns"].clone();
    assert_eq!(turns.as_array().map(Vec::len), Some(2));
    assert_eq!(turns[1]["picture"], "talk-003.png");
    assert!(program.path("talk-002.png").exists());
}

#[test]
fn pictures_are_shown_and_found_again_when_the_conversation_goes_on() {
    let program = Program::new();
    write_png(&program.path("in cat.png"), 56, 84);
    let lines = "/image in cat.png\nthe same cat\n";
    program.chat(&["--session", "talk.json"], lines).succeeded();
    program
        .chat(&["--session", "talk.json"], "again\n")
        .succeeded();
    write_png(&program.path("in cat.png"), 28, 28);
    program
        .chat(&["--session", "talk.json"], "again\n")
        .refused(&["in cat.png", "not the file of this conversation"]);
}

#[test]
fn videos_are_shown_too_and_sounds_to_models_that_hear() {
    let program = Program::new();
    write_gif(&program.path("in.gif"), 10);
    fs::write(program.path("in.wav"), wav()).unwrap();
    let lines = "/video in.gif\nits last frame\n";
    let said = ["--session", "talk.json"];
    program.chat(&said, lines).succeeded();
    let shown = program.session("talk.json")["turns"][0]["parts"][0].clone();
    assert!(shown["video"]["fps"].is_number(), "{shown}");
    program.chat(&said, "and again\n").succeeded();
    let refused = program.chat(&[], "/audio in.wav\na cat\n");
    refused.refused(&["audio", "MiniCPM-o"]);
}

/// A tenth of a second of silence at 16 kHz, 16 bits.
fn wav() -> Vec<u8> {
    const SAMPLES: u32 = 1600;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + 2 * SAMPLES).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend([16_000u32, 32_000].map(u32::to_le_bytes).as_flattened());
    file.extend(b"\x02\0\x10\0data");
    file.extend((2 * SAMPLES).to_le_bytes());
    file.resize(file.len() + 2 * SAMPLES as usize, 0);
    file
}

#[test]
fn a_script_stops_at_the_first_line_that_fails() {
    let program = Program::new();
    program
        .chat(&[], "/image none.png\na cat\n")
        .refused(&["none.png"]);
    program
        .chat(&[], "/paint\na cat\n")
        .refused(&["/paint", "/help"]);
    program
        .chat(&["--steps", "0"], "a cat\n")
        .refused(&["--steps"]);
    fs::write(program.path("in.json"), "{}").unwrap();
    program
        .chat(&["--session", "in.json"], "a cat\n")
        .refused(&["in.json", "not a session file"]);
    assert_eq!(program.files(), [] as [&str; 0]);
}

#[cfg(unix)]
mod terminal {
    use std::time::Duration;

    use expectrl::session::OsSession;
    use expectrl::{ControlCode, Eof, Expect, Session};

    use super::*;

    fn open(program: &Program, arguments: &[&str]) -> OsSession {
        let chat = [
            "chat",
            "--model",
            program.model(),
            "--device",
            "cpu",
            "--seed",
            "7",
        ];
        let mut session = Session::spawn(program.command(&[&chat, arguments].concat()))
            .expect("a pseudo-terminal");
        session.set_expect_timeout(Some(Duration::from_secs(120)));
        session
    }

    #[track_caller]
    fn sees(session: &mut OsSession, text: &str) {
        if let Err(error) = session.expect(text) {
            panic!("`{text}` was not seen: {error}");
        }
    }

    #[test]
    fn a_person_talks_errs_and_ends() {
        let program = Program::new();
        let mut session = open(&program, &[]);
        sees(&mut session, "seed 7; say what to paint");
        sees(&mut session, "> ");
        session.send("a red apple\r").unwrap();
        sees(&mut session, "chat-001.png: 64x64, seed 7");
        session.send("/image none.png\r").unwrap();
        sees(&mut session, "none.png: file not found");
        session.send("/help\r").unwrap();
        sees(&mut session, "/undo");
        session.send("/save talk.json\r").unwrap();
        sees(&mut session, "saved to talk.json");
        session.send("/quit\r").unwrap();
        sees_end(session);
        assert_eq!(program.files(), ["chat-001.png", "talk.json"]);
    }

    /// The arrow key brings the last line back.
    #[test]
    fn lines_are_edited_and_remembered() {
        let program = Program::new();
        let mut session = open(&program, &["--session", "talk.json"]);
        sees(&mut session, "> ");
        session.send("a catt\x7f\r").unwrap();
        sees(&mut session, "talk-001.png");
        session.send("\x1b[A\r").unwrap();
        sees(&mut session, "talk-002.png");
        session.send("/quit\r").unwrap();
        sees_end(session);
        let turns = program.session("talk.json")["turns"].clone();
        assert_eq!(turns[0]["parts"][0]["text"], "a cat");
        assert_eq!(turns[1]["parts"][0]["text"], "a cat");
    }

    #[test]
    fn control_c_twice_ends_and_once_does_not() {
        let program = Program::new();
        let mut session = open(&program, &[]);
        press_control_c(&mut session);
        sees(&mut session, "Ctrl-C again, or /quit, ends");
        session.send("/seed 3\r").unwrap();
        sees(&mut session, "\nseed 3");
        press_control_c(&mut session);
        sees(&mut session, "Ctrl-C again, or /quit, ends");
        press_control_c(&mut session);
        sees_end(session);
    }

    /// Waits for the prompt, which the editor prints when it has the keyboard, and presses Ctrl-C.
    #[track_caller]
    fn press_control_c(session: &mut OsSession) {
        sees(session, "> ");
        session.send(ControlCode::EndOfText).unwrap();
    }

    #[track_caller]
    fn sees_end(mut session: OsSession) {
        session.expect(Eof).expect("the program ends");
    }
}
