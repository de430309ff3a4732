//! LoRAs of image-to-image: a source and an instruction say what is painted.

use super::*;

/// A flat picture of 40 x 40 pixels.
fn picture(path: PathBuf, colour: [u8; 3]) {
    let mut png = vec![];
    let mut encoder = png::Encoder::new(&mut png, 40, 40);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&colour.repeat(40 * 40)).unwrap();
    writer.finish().unwrap();
    fs::write(path, png).unwrap();
}

/// A file of pairs: source, target, instruction.
fn pairs(path: PathBuf, pairs: &[[&str; 3]]) {
    let lines = pairs.iter().map(|[source, target, instruction]| {
        serde_json::json!({"source": source, "target": target, "instruction": instruction})
            .to_string()
            + "\n"
    });
    fs::write(path, lines.collect::<String>()).unwrap();
}

impl Place {
    fn with_pairs() -> Self {
        let place = Self::new();
        picture(place.path("gray.png"), [128; 3]);
        picture(place.path("red.png"), [200, 30, 30]);
        picture(place.path("blue.png"), [30, 30, 200]);
        pairs(
            place.path("red.jsonl"),
            &[["gray.png", "red.png", "make it red"]],
        );
        pairs(
            place.path("blue.jsonl"),
            &[["gray.png", "blue.png", "make it red"]],
        );
        place
    }

    /// A LoRA's run on `data` of so many updates; its losses.
    fn edit(&self, out: &str, data: &str, more: &str, most: usize) -> Result<Vec<f64>> {
        let more = format!("width = 32\nheight = 32\n{more}");
        let data = self.path(data);
        Ok(self.run_lora_on(&data, out, &more, most)?.1)
    }
}

#[test]
fn a_lora_of_pairs_learns_goes_on_and_is_read_by_inference() {
    let place = Place::with_pairs();
    let whole = place.edit("whole", "red.jsonl", "", usize::MAX).unwrap();
    assert_eq!(whole.len(), 6);
    let mut parts = place.edit("parts", "red.jsonl", "", 3).unwrap();
    parts.extend(place.edit("parts", "red.jsonl", "", usize::MAX).unwrap());
    assert_eq!(parts, whole);
    let validation = place.validation("whole");
    assert!(validation[1] < validation[0], "{validation:?}");
    place.generates_with(&place.path("whole/lora.safetensors"));
}

#[test]
fn the_source_the_instruction_and_the_target_all_count() {
    let place = Place::with_pairs();
    let first = |data: &str, out: &str, more: &str| place.edit(out, data, more, 1).unwrap()[0];
    let red = first("red.jsonl", "a", "");
    assert_ne!(first("blue.jsonl", "b", ""), red);
    pairs(
        place.path("other.jsonl"),
        &[["gray.png", "red.png", "make it blue"]],
    );
    assert_ne!(first("other.jsonl", "c", ""), red);
    pairs(
        place.path("same.jsonl"),
        &[["red.png", "red.png", "make it red"]],
    );
    assert_ne!(first("same.jsonl", "d", ""), red);
    // Without words the source is still there.
    let dropped = first("red.jsonl", "e", "caption-dropout = 1.0\n");
    assert_ne!(dropped, red);
    assert_ne!(first("same.jsonl", "f", "caption-dropout = 1.0\n"), dropped);
}

#[test]
fn a_cache_knows_pairs_by_all_of_their_content() {
    let place = Place::with_pairs();
    let cached = |out: &str, data: &str, cache: &str| {
        let more = format!("cache = {:?}\n", place.path(cache));
        place.edit(out, data, &more, 2).unwrap()
    };
    let red = cached("a", "red.jsonl", "cache");
    assert_eq!(cached("b", "red.jsonl", "cache"), red);
    // The same source and instruction, another target.
    let blue = cached("c", "blue.jsonl", "cache");
    assert_eq!(blue, cached("d", "blue.jsonl", "other"));
    assert_ne!(blue, red);
    // The same names, another source.
    picture(place.path("gray.png"), [40; 3]);
    let darker = cached("e", "red.jsonl", "cache");
    assert_eq!(darker, cached("f", "red.jsonl", "third"));
    assert_ne!(darker, red);
}

#[test]
fn pairs_are_refused_where_the_model_sees_nothing_and_a_broken_source_is_told_of() {
    let place = Place::with_pairs();
    fs::write(place.path("gray.png"), b"nothing").unwrap();
    let error = place.edit("a", "red.jsonl", "", 1).unwrap_err();
    assert!(error.to_string().contains("sample 1: "), "{error}");
    let hints = r#"{"defaults": {"modalities": ["text"]}}"#;
    fs::write(place.path("model/x2i.json"), hints).unwrap();
    let error = place.edit("b", "red.jsonl", "", 1).unwrap_err();
    assert!(matches!(error, Error::Modality { .. }), "{error}");
    assert!(!place.path("b").exists());
}
