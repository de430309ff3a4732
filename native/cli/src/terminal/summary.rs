//! Prints the result of a finished image.

use std::io::Write;

use anyhow::Result;
use serde_json::json;
use x2i_core::png::Metadata;
use x2i_engine::{Output, Painted, host};

use super::display::Display;
use super::seconds::Seconds;
use super::text::{printable, printable_json};

/// Prints the result: one line, or one JSON object.
pub fn tell(display: Display, output: &Output, painted: &Painted, seconds: Seconds) -> Result<()> {
    let metadata = &painted.metadata;
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
            if let Some(answer) = &metadata.answer {
                event["answer"] = answer.as_str().into();
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
