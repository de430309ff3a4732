//! LoRAs that a prompt names: `<lora:NAME:SCALE>`.

use crate::http::jobs::LoraBody;

/// A prompt without its LoRAs, and them.
pub fn loras(prompt: &str) -> (String, Vec<LoraBody>) {
    let (mut kept, mut loras) = (String::new(), vec![]);
    let mut rest = prompt;
    while let Some(at) = rest.find("<lora:") {
        let (before, tag) = rest.split_at(at);
        kept.push_str(before);
        let Some(end) = tag.find('>') else {
            rest = tag; // without an end it is text
            break;
        };
        loras.push(lora(&tag["<lora:".len()..end]));
        rest = &tag[end + 1..];
    }
    kept.push_str(rest);
    (kept.split_whitespace().collect::<Vec<_>>().join(" "), loras)
}

/// `NAME`, or `NAME:SCALE`; a second scale, of a text encoder, is not X2I's.
fn lora(tag: &str) -> LoraBody {
    let mut words = tag.split(':');
    LoraBody {
        name: words.next().unwrap_or_default().trim().to_owned(),
        scale: words.next().and_then(|scale| scale.trim().parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loras_are_taken_out_of_a_prompt() {
        let (prompt, found) = loras("a cat <lora:ink:0.8> on a <lora:mat>mat <lora:te:1:0.5>");
        assert_eq!(prompt, "a cat on a mat");
        let found: Vec<_> = found
            .iter()
            .map(|lora| (lora.name.as_str(), lora.scale))
            .collect();
        assert_eq!(
            found,
            [("ink", Some(0.8)), ("mat", None), ("te", Some(1.0))]
        );
        assert_eq!(loras("a < b <lora:x").0, "a < b <lora:x");
    }
}
