//! Which kernels run on a GPU: `doctor --kernels`, and the environment that overrides them.

mod program;

use std::collections::BTreeSet;

use program::{Program, Run};
use serde_json::Value;

fn doctor(program: &Program, kernels: &str, arguments: &[&str]) -> Run {
    let mut command = program.command(&[&["doctor", "--kernels"], arguments].concat());
    command.env("X2I_KERNELS", kernels);
    Run::new(command.output().expect("x2i runs"))
}

/// The checks of the first GPU in f32; none where this machine has no GPU.
fn checks(program: &Program, kernels: &str) -> Vec<Value> {
    let run = doctor(program, kernels, &["--json"]).succeeded();
    let facts: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let checks = facts["devices"][1]["kernels"][0]["checks"].as_array();
    checks.cloned().unwrap_or_else(|| {
        println!("no GPU: its kernels were not tried");
        Vec::new()
    })
}

fn shaders(checks: &[Value]) -> BTreeSet<String> {
    let shaders = checks.iter().flat_map(|check| check["shaders"].as_array());
    let names = shaders.flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

#[test]
fn every_kernel_agrees_whatever_is_chosen() {
    let program = Program::new();
    for kernels in ["", "f32", "narrow", "wide", "f32,burn"] {
        for check in checks(&program, kernels) {
            assert_eq!(check["agrees"], true, "{kernels}: {check}");
        }
    }
}

#[test]
fn the_environment_chooses_the_kernels() {
    let program = Program::new();
    let [wide, narrow] = ["wide", "narrow"].map(|kernels| shaders(&checks(&program, kernels)));
    if wide.is_empty() {
        return;
    }
    assert!(
        wide.contains("qmatmul") && wide.contains("qmatvec"),
        "{wide:?}"
    );
    assert!(narrow.contains("qmatmul_direct"), "{narrow:?}");
    assert_eq!(shaders(&checks(&program, "burn")), BTreeSet::new());
}

#[test]
fn a_word_that_is_none_is_named() {
    let program = Program::new();
    if !checks(&program, "").is_empty() {
        let run = doctor(&program, "f32,fast", &[]).refused(&["--kernels"]);
        assert!(
            run.stdout.contains("X2I_KERNELS has `fast`"),
            "{}",
            run.stdout
        );
    }
}
