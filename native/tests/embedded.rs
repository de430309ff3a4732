//! The model inside the binary paints what it is asked for, in every language.
#![cfg(feature = "embedded-model")]

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

#[test]
fn a_red_apple_on_a_blue_background_in_eight_languages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (language, prompt) in APPLES {
        let path = folder.path().join(format!("{language}.png"));
        let output = Command::new(env!("CARGO_BIN_EXE_x2i"))
            .args(["generate", prompt, "--seed", "7", "--device", "cpu", "-o"])
            .arg(&path)
            .output()
            .expect("the program starts");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language}: {message}");
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
