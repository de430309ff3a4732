//! Runs the house rules with `cargo test --test tidy` too; they are a package of their own (`tests/tidy`).

use std::process::Command;

#[test]
fn the_house_rules_hold() {
    let cargo = std::env::var("CARGO").expect("cargo runs the tests");
    let output = Command::new(cargo)
        .args(["test", "--release", "--package", "x2i-tidy"])
        .output()
        .expect("cargo starts");
    let report = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "\n{report}\n{complaint}");
}
