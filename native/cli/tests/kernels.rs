//! Which kernels run on a GPU and on the CPU: `doctor --kernels`, and the environment that overrides them.

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
fn every_variant_of_the_cpus_kernels_agrees_with_plain_rust() {
    let run = doctor(&Program::new(), "", &["--json"]).succeeded();
    let facts: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let (table, tried) = (&facts["cpu_variants"], &facts["cpu_kernels"]);
    let variants = tried.as_array().expect("a list");
    assert_eq!(variants[0]["variant"], "plain");
    for (variant, row) in variants.iter().zip(table.as_array().expect("a list")) {
        assert_eq!(variant["variant"], row["name"]);
        match variant["checks"].as_array() {
            None => {
                assert_eq!(row["here"], false);
                println!("not run: this machine has no {}", row["name"]);
            }
            Some(checks) => {
                let wrong = checks.iter().find(|check| check["agrees"] != true);
                assert_eq!(wrong, None, "{}", row["name"]);
                assert!(checks.len() > 10);
            }
        }
    }
}

#[test]
fn the_environment_chooses_the_cpus_variant() {
    let program = Program::new();
    let chosen = |kernels: &str| {
        let mut command = program.command(&["doctor", "--json"]);
        let output = command.env("X2I_KERNELS", kernels).output();
        let run = Run::new(output.expect("x2i runs")).succeeded();
        let facts: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let rows = facts["cpu_variants"].as_array().expect("a list").clone();
        let chosen = rows.iter().find(|row| row["chosen"] == true);
        let here = rows.iter().rfind(|row| row["here"] == true);
        [chosen, here].map(|row| row.expect("one is").clone())
    };
    assert_eq!(chosen("plain")[0]["name"], "plain");
    let [taken, last] = chosen("");
    assert_eq!(taken, last);
}

#[test]
fn a_word_that_is_none_is_named() {
    let program = Program::new();
    let run = doctor(&program, "f32,fast", &[]).refused(&["--kernels"]);
    assert!(
        run.stdout.contains("X2I_KERNELS has `fast`"),
        "{}",
        run.stdout
    );
}
