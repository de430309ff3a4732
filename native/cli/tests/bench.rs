//! `x2i bench train` on the sizes of a test, without another runtime.

mod program;

use program::Program;
use serde_json::Value;

#[test]
fn bench_train_measures_both_steps_and_types_of_weights_give_one_gradient() {
    let program = Program::new();
    let arguments = ["bench", "train", "--small", "--size", "32", "--runs", "1"];
    let more = [
        "--quantize",
        "f32,q8_0",
        "--threads",
        "1",
        "--weights",
        "files",
        "--json",
    ];
    let printed = program
        .run(&[&arguments[..], &more].concat())
        .succeeded()
        .stdout;
    let steps: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(steps.len(), 2, "{printed}");
    for step in steps {
        let sides = step["sides"].as_array().expect("sides");
        // Each type with one block recorded, and with all.
        assert_eq!(sides.len(), 4, "{step}");
        for (side, most) in sides.iter().zip([1e-2, 1e-2, 5e-2, 5e-2]) {
            assert!(
                side["error"].as_f64().is_some_and(|error| error < most),
                "{side}"
            );
            assert!(
                side["passes"][0]["peak"].as_u64() > Some(1_000_000),
                "{side}"
            );
        }
        let gradient = |side: usize| sides[side]["error"].as_f64().expect("an error");
        assert!(
            (gradient(0) - gradient(1)).abs() < 1e-5,
            "blocks that run again give what they gave: {step}"
        );
    }
}
