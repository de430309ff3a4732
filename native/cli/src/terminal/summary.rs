//! Prints the result of a finished image.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};
use x2i_core::Alternative;
use x2i_core::png::{Metadata, PartRecord};
use x2i_engine::{Output, Painted, host};

use super::display::Display;
use super::seconds::Seconds;
use super::text::{printable, printable_json};

/// Prints the result: one line, or one JSON object.
pub fn tell(display: Display, output: &Output, painted: &Painted, seconds: Seconds) -> Result<()> {
    let metadata = &painted.metadata;
    display.warn(doubt(painted));
    let line = match display {
        Display::Quiet => return Ok(()),
        Display::Json => {
            let mut event = json!({
                "type": "image",
                "path": output.shown(),
                "seed": metadata.seed,
                "width": metadata.width,
                "height": metadata.height,
                "steps": metadata.steps,
                "device": metadata.device.id,
                "seconds": seconds.total(),
                "phases": seconds,
                "peak_memory": host::peak_memory(),
                "prompt_tokens": {
                    "read": painted.prompt_tokens.read,
                    "left": painted.prompt_tokens.left,
                },
            });
            if metadata.cache.is_some() {
                event["skipped_steps"] = painted.skipped_steps.into();
            }
            if let Some(answer) = &painted.answer {
                event["answer"] = answer.text.as_str().into();
                event["certainty"] = share(answer.certainty).into();
                if let Some(name) = &answer.unknown {
                    event["unknown"] = name.as_str().into();
                }
                if let Some(alternatives) = &answer.alternatives {
                    event["alternatives"] = alternatives.iter().map(alternative).collect();
                }
            }
            printable_json(&event.to_string())
        }
        Display::Bar | Display::Lines => {
            let answer = metadata
                .answer
                .as_ref()
                .map(|answer| format!("answer: {}\n", printable(answer)));
            format!(
                "{}{}",
                answer.unwrap_or_default(),
                summary(output, painted, seconds)
            )
        }
    };
    // If the image goes to standard output, nothing else may.
    match output {
        Output::Stdout => writeln!(std::io::stderr(), "{line}")?,
        Output::File(_) | Output::None => writeln!(std::io::stdout(), "{line}")?,
    }
    Ok(())
}

/// Another answer; with what it names, where something is unknown.
fn alternative(other: &Alternative) -> Value {
    let mut event = json!({"answer": other.text, "probability": share(other.probability)});
    if let Some(name) = &other.name {
        event["name"] = name.as_str().into();
    }
    event
}

/// What the LLM does not know and the nearest that it knows, or what it was not sure of and what else it could have
/// answered.
fn doubt(painted: &Painted) -> Option<String> {
    let answer = painted.answer.as_ref()?;
    let alternatives = answer.alternatives.as_ref()?;
    if let Some(ignorance) = answer.ignorance() {
        return Some(ignorance);
    }
    let texts = painted
        .metadata
        .prompt
        .iter()
        .filter_map(|part| match part {
            PartRecord::Text(text) => Some(text.as_str()),
            _ => None,
        });
    let prompt = texts.collect::<Vec<_>>().join(" ");
    let prompt = match prompt.trim() {
        "" => "the prompt".to_owned(),
        text => format!("\"{text}\""),
    };
    let mut warning = format!(
        "not sure what {prompt} is: painted \"{}\" ({:.2})",
        answer.text, answer.certainty
    );
    let others = alternatives
        .iter()
        .map(|other| format!("\"{}\" ({:.2})", other.text, other.probability));
    let others = others.collect::<Vec<_>>().join(", ");
    if !others.is_empty() {
        warning.push_str(&format!("; other readings: {others}"));
    }
    Some(warning)
}

/// A share of 1 in four digits after the point.
fn share(share: f32) -> f64 {
    (f64::from(share) * 1e4).round() / 1e4
}

/// Prints which images are skipped, since they are finished, and how many are left.
pub fn tell_skipped(display: Display, skipped: &[Output], left: usize) -> Result<()> {
    if skipped.is_empty() || display == Display::Quiet {
        return Ok(());
    }
    let mut out = std::io::stdout();
    for output in skipped {
        let path = output.shown();
        match display {
            Display::Json => writeln!(out, "{}", json!({"type": "skipped", "path": path}))?,
            _ => writeln!(out, "{path}: skipped, it is finished")?,
        }
    }
    if display != Display::Json {
        let count = skipped.len();
        writeln!(out, "{count} of {} images are finished", count + left)?;
    }
    Ok(())
}

/// The summary of an image in one line.
pub fn summary(output: &Output, painted: &Painted, seconds: Seconds) -> String {
    let Metadata {
        width,
        height,
        steps,
        seed,
        device,
        ..
    } = &painted.metadata;
    let mut steps = match steps {
        1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    if painted.skipped_steps > 0 {
        steps.push_str(&format!(" ({} skipped)", painted.skipped_steps));
    }
    format!(
        "{}: {width}x{height}, seed {seed}, {steps}, {:.1} s on {}",
        printable(&output.shown()),
        seconds.total(),
        device.id
    )
}
