//! A1111's text of an image's settings (`parameters`), written and read.

use serde_json::{Map, Value};
use x2i_core::png::{Metadata, PartRecord};

/// The settings of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Infotext {
    pub(super) prompt: String,
    pub(super) steps: usize,
    pub(super) guidance: Option<f32>,
    pub(super) seed: u64,
    pub(super) size: (usize, usize),
    pub(super) model: String,
    pub(super) strength: Option<f64>,
}

impl Infotext {
    /// The settings that an image's record has.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let texts = metadata.prompt.iter().filter_map(|part| match part {
            PartRecord::Text(text) => Some(text.as_str()),
            _ => None,
        });
        Self {
            prompt: texts.collect::<Vec<_>>().join(" "),
            steps: metadata.steps,
            guidance: Some(metadata.guidance),
            seed: metadata.seed,
            size: (metadata.width, metadata.height),
            model: metadata.model.name.clone(),
            strength: metadata.init.as_ref().map(|init| init.strength),
        }
    }

    /// The text. There is no negative prompt, and no classifier-free guidance: its scale is 1.
    pub(super) fn text(&self) -> String {
        let mut pairs = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", "Euler".into()),
            ("Schedule type", "Simple".into()),
            ("CFG scale", "1".into()),
        ];
        pairs.extend(
            self.guidance
                .map(|guidance| ("Distilled CFG Scale", guidance.to_string())),
        );
        pairs.push(("Seed", self.seed.to_string()));
        pairs.push(("Size", format!("{}x{}", self.size.0, self.size.1)));
        pairs.push(("Model", quoted(&self.model)));
        pairs.extend(
            self.strength
                .map(|strength| ("Denoising strength", strength.to_string())),
        );
        pairs.push(("Version", concat!("x2i ", env!("CARGO_PKG_VERSION")).into()));
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        format!("{}\n{}", self.prompt, pairs.join(", "))
    }
}

/// A value with commas is a JSON text.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n', '"']) {
        true => Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

/// A1111's text as fields: the prompts, and the pairs of its last line.
pub(super) fn parse(text: &str) -> Map<String, Value> {
    let mut lines: Vec<_> = text.trim().lines().collect();
    let last = lines.last().copied().unwrap_or_default();
    let pairs = pairs(last);
    if pairs.len() >= 3 {
        lines.pop();
    }
    let negative = lines
        .iter()
        .position(|line| line.starts_with("Negative prompt:"));
    let (prompt, negative) = lines.split_at(negative.unwrap_or(lines.len()));
    let negative = negative.join("\n");
    let negative = negative
        .strip_prefix("Negative prompt:")
        .unwrap_or_default()
        .trim();
    let mut fields = Map::from_iter([
        ("Prompt".to_owned(), Value::from(prompt.join("\n").trim())),
        ("Negative prompt".to_owned(), Value::from(negative)),
    ]);
    if pairs.len() >= 3 {
        fields.extend(
            pairs
                .into_iter()
                .map(|(name, value)| (name, Value::from(value))),
        );
    }
    fields
}

/// `A: 1, B: "x, y"` as pairs.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = vec![];
    let mut rest = line;
    while let Some((name, after)) = rest.split_once(": ") {
        let end = match after.starts_with('"') {
            true => closing(after).unwrap_or(after.len()),
            false => after.find(',').unwrap_or(after.len()),
        };
        let (value, next) = after.split_at(end);
        let text = serde_json::from_str(value)
            .ok()
            .filter(|_| value.starts_with('"'));
        pairs.push((
            name.trim().to_owned(),
            text.unwrap_or_else(|| value.trim().to_owned()),
        ));
        rest = next.trim_start_matches(',').trim_start();
    }
    pairs
}

/// Behind the closing quote of the text that begins with one.
fn closing(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return Some(at + 1),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let info = Infotext {
            prompt: "a cat,\non a mat".into(),
            steps: 4,
            guidance: Some(3.5),
            seed: u64::MAX,
            size: (64, 128),
            model: "a, \"b\"".into(),
            strength: Some(0.75),
        };
        let fields = parse(&info.text());
        let text = |name: &str| fields[name].as_str().unwrap();
        assert_eq!(
            (text("Prompt"), text("Steps"), text("Size")),
            ("a cat,\non a mat", "4", "64x128")
        );
        assert_eq!(
            (text("Seed"), text("Model")),
            ("18446744073709551615", "a, \"b\"")
        );
        assert_eq!(
            (text("Distilled CFG Scale"), text("Denoising strength")),
            ("3.5", "0.75")
        );
    }

    #[test]
    fn the_web_uis_text_is_read() {
        let text = "a (cat:1.2)\nsitting\nNegative prompt: dog,\nbird\nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 5, Lora hashes: \"x: 1, y: 2\", Version: v1.10.1";
        let fields = parse(text);
        assert_eq!(fields["Prompt"], "a (cat:1.2)\nsitting");
        assert_eq!(fields["Negative prompt"], "dog,\nbird");
        assert_eq!(
            (&fields["Seed"], &fields["Lora hashes"]),
            (&"5".into(), &"x: 1, y: 2".into())
        );
        assert_eq!(parse("just: words")["Prompt"], "just: words");
    }
}
