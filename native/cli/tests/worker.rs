//! `x2i worker`'s own sentences; what workers do is tested in native/serve/tests/nats.
#![cfg(feature = "serve")]

use std::process::Command;

/// What the program says when it refuses.
fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_x2i"))
        .arg("worker")
        .args(arguments)
        .env_remove("X2I_QUEUE")
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_worker_says_what_is_wrong_with_its_queue() {
    let said = refusal(&[]);
    assert!(said.contains("give --queue nats://HOST:PORT"), "{said}");
    let said = refusal(&["--queue", "http://127.0.0.1"]);
    assert!(said.contains("a NATS server is nats://HOST:PORT"), "{said}");
    let said = refusal(&["--queue", "nats://me:secret@127.0.0.1:1"]);
    assert!(said.contains("nats://127.0.0.1:1"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_worker_says_what_is_wrong_with_its_models_before_it_takes_jobs() {
    let queue = ["--queue", "nats://127.0.0.1:1"];
    let said = refusal(&[&queue[..], &["--model", "/no/such/folder"]].concat());
    assert!(said.contains("/no/such/folder"), "{said}");
}
