//! The model inside the binary paints what it is asked for, in every language, shown and spoken.
#![cfg(feature = "embedded-model")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A red apple on a blue background, as each language says it.
const APPLES: [(&str, &str); 8] = [
    ("en", "a red apple on a blue background"),
    ("zh", "蓝色背景上的红苹果"),
    ("de", "roter Apfel auf blauem Hintergrund"),
    ("fr", "pomme rouge sur fond bleu"),
    ("ja", "青の背景に赤リンゴ"),
    ("es", "manzana roja sobre fondo azul"),
    ("ru", "красное яблоко на синем фоне"),
    ("vi", "táo đỏ trên nền xanh dương"),
];

/// The training data's blue, and how far a decoded pixel may be from it.
const BLUE: [u8; 3] = [70, 120, 220];
const TOLERANCE: u8 = 40;

/// Paints on the CPU with seed 7; gives what the program prints.
fn generate(arguments: &[&str], output: &Path) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_x2i"))
        .args(["generate", "--seed", "7", "--device", "cpu"])
        .args(arguments)
        .arg("-o")
        .arg(output)
        .output()
        .expect("the program starts");
    let message = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {message}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn what_was_painted_is_seen_and_changed_in_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [apple, changed] = ["apple.png", "changed.png"].map(|name| folder.path().join(name));
    generate(&["a red apple on a blue background"], &apple);
    let apple = apple.to_str().expect("UTF-8");
    let seen = generate(&["--image", apple], &changed);
    let same = "answer: red apple on a blue background, noto style";
    assert!(seen.contains(same), "{seen}");
    let words = "in openmoji style on a green background";
    let asked = generate(&["--image", apple, words], &changed);
    let other = "answer: red apple on a green background, openmoji style";
    assert!(asked.contains(other), "{asked}");
    let [red, green, blue] = image::open(&changed)
        .expect("a PNG")
        .to_rgb8()
        .get_pixel(2, 2)
        .0;
    assert!(green > red && green > blue, "{:?}", [red, green, blue]);
}

/// A metadata record promises its image on any machine with this device. At 512x512 the VAE's moments are sums of many
/// parts.
#[test]
fn the_number_of_threads_does_not_change_the_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let painted = ["1", "2", "3"].map(|threads| {
        let output = folder.path().join(format!("{threads}.png"));
        let run = Command::new(env!("CARGO_BIN_EXE_x2i"))
            .env("RAYON_NUM_THREADS", threads)
            .args([
                "generate",
                "a red apple",
                "--size",
                "512x512",
                "--seed",
                "5",
            ])
            .args(["--device", "cpu", "-q", "-o"])
            .arg(&output)
            .status();
        assert!(run.expect("the program starts").success());
        image::open(&output).expect("a PNG").to_rgb8().into_raw()
    });
    assert!(painted[0] == painted[1], "2 threads paint another image");
    assert!(painted[0] == painted[2], "3 threads paint another image");
}

/// espeak-ng's American voice says: a turtle on a yellow background, twemoji style.
#[test]
fn a_spoken_caption_is_heard() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clip = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../engine/tests/data/turtle.ogg"
    );
    let said = generate(&["--audio", clip], &folder.path().join("turtle.png"));
    let answer = "answer: turtle on a yellow background, twemoji style";
    assert!(said.contains(answer), "{said}");
}

#[test]
fn what_the_model_does_not_know_is_said_and_painted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("a.png");
    let run = |prompt: &str, flags: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_x2i"))
            .args(["generate", "--device", "cpu", prompt, "-o"])
            .arg(&output)
            .args(flags)
            .output()
            .expect("the program starts");
        assert!(run.status.success() && output.exists(), "{prompt}");
        [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let [_, warning] = run("asdf qwer zxcv", &[]);
    let begin = "warning: not sure what \"asdf qwer zxcv\" is: painted \"";
    assert!(warning.contains(begin), "{warning}");
    assert!(warning.contains("; other readings: \""), "{warning}");
    let [_, quiet] = run("asdf qwer zxcv", &["-q"]);
    assert_eq!(quiet, "");
    let event = |prompt| {
        let [told, _] = run(prompt, &["--json"]);
        let last = told.lines().next_back().expect("a line").to_owned();
        serde_json::from_str::<serde_json::Value>(&last).expect("JSON")
    };
    let unsure = event("asdf qwer zxcv");
    let certainty = unsure["certainty"].as_f64().expect("a number");
    assert!((0.0..0.8).contains(&certainty), "{unsure}");
    let others = unsure["alternatives"].as_array().expect("a list");
    assert!((1..=3).contains(&others.len()), "{unsure}");
    for other in others {
        assert!(
            other["answer"].is_string() && other["probability"].as_f64() < Some(1.0 - certainty)
        );
    }
    let sure = event("a red apple on a blue background");
    assert!(sure["certainty"].as_f64() > Some(0.9), "{sure}");
    assert_eq!(sure.get("alternatives"), None, "{sure}");
    let [_, silent] = run("a red apple on a blue background", &[]);
    assert!(!silent.contains("not sure"), "{silent}");
}

/// The embedded model with a prefix that its answers to red things begin with, so that it knows none of these.
#[test]
fn a_name_that_the_answer_calls_unknown_is_told_with_the_nearest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/models/emoji");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    let config = fs::read(emoji.join("model.json")).expect("model.json");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    for (name, _) in config["files"].as_object().expect("its files") {
        fs::copy(emoji.join(name), model.join(name)).expect("it is copied");
    }
    config["defaults"]["unknown"] = serde_json::json!({"prefix": "red ", "until": " on a "});
    fs::write(model.join("model.json"), config.to_string()).expect("it is written");
    let run = |prompt: &str, flags: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_x2i"))
            .args(["generate", "--device", "cpu", prompt, "--model"])
            .arg(&model)
            .arg("-o")
            .arg(folder.path().join("a.png"))
            .args(flags)
            .output()
            .expect("the program starts");
        [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let apple = "a red apple on a blue background";
    let [told, _] = run(apple, &["--json"]);
    let last = told.lines().next_back().expect("a line");
    let event: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(
        event["answer"],
        "red apple on a blue background, noto style"
    );
    assert_eq!(event["unknown"], "apple");
    let others = event["alternatives"].as_array().expect("a list");
    assert!((1..=3).contains(&others.len()), "{event}");
    let names = others.iter().map(|other| {
        let [answer, name] = ["answer", "name"].map(|key| other[key].as_str().expect("a text"));
        assert!(answer.starts_with(&format!("{name} on a ")), "{event}");
        assert!(!answer.starts_with("red ") && other["probability"].as_f64() > Some(0.0));
        name
    });
    let nearest = names.collect::<Vec<_>>().join(", ");
    let [_, warning] = run(apple, &[]);
    let expected = format!("warning: I know no apple. Nearest: {nearest}\n");
    assert!(warning.contains(&expected), "{warning}");
    let [known, silent] = run("a cat on a blue background", &["--json"]);
    assert!(
        !known.contains("unknown") && !silent.contains("I know no"),
        "{known}{silent}"
    );
}

#[test]
fn a_red_apple_on_a_blue_background_in_eight_languages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (language, prompt) in APPLES {
        let path = folder.path().join(format!("{language}.png"));
        generate(&[prompt], &path);
        let picture = image::open(&path).expect("a PNG").to_rgb8();
        let (width, height) = picture.dimensions();
        let corner = picture.get_pixel(2, 2).0;
        let blue = corner
            .iter()
            .zip(BLUE)
            .all(|(&found, wanted)| found.abs_diff(wanted) <= TOLERANCE);
        assert!(blue, "{language}: the corner is {corner:?}");
        let [red, green, blue] = picture.get_pixel(width / 2, height / 2).0;
        assert!(
            red > 150 && red > 2 * blue && red > green,
            "{language}: the middle is {:?}",
            [red, green, blue]
        );
    }
}
