//! `x2i inspect`: prints the facts of an image, a weight file or a model folder.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use x2i_core::png::{Metadata, PartRecord};
use x2i_core::weights::{WeightFile, WeightSource};
use x2i_core::{Conditioning, ModelConfig, model};

use crate::flags::InspectArgs;
use crate::terminal::table::{columns, row};
use crate::terminal::{Display, Interrupt};
use crate::terminal::{printable, printable_json, printable_lines};
use crate::weights_report::{self as report, FileReport, PartReport, TensorReport};
use x2i_engine::Format;
use x2i_engine::files::{hash_file, io_error, open_regular};
use x2i_engine::format::{self, Facts};
use x2i_engine::host::human_bytes;
use x2i_engine::models::{EMBEDDED_NAME, EmbeddedSource, FolderSource, MappedFile, ModelFiles};

/// The number of tensors that are listed without `--tensors`.
const LARGEST: usize = 5;

/// Runs `x2i inspect`.
///
/// # Errors
/// When the path does not exist or is none of these.
pub fn run(args: &InspectArgs) -> Result<()> {
    let path = &args.path;
    Interrupt::listen()?; // hashing a large model takes a while
    let text = if path.is_dir() {
        let folder = FolderSource::open(path)?;
        Display::Lines.warn(folder.warning());
        inspect_model(&ModelFiles::Folder(folder), args.json)?
    } else if path == Path::new(EMBEDDED_NAME)
        && !path.exists()
        && let Some(embedded) = EmbeddedSource::new()
    {
        inspect_model(&ModelFiles::Embedded(embedded), args.json)?
    } else if let Some(format) = image_format(path)? {
        inspect_image(path, format, args.json)?
    } else {
        inspect_weights(path, args)?
    };
    let text = match args.json {
        true => printable_json(&text),
        false => printable_lines(&text),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn image_format(path: &Path) -> Result<Option<Format>> {
    let failed = |error| io_error(&path.display().to_string(), error);
    let mut start = Vec::new();
    let (_, file, _) = open_regular(path)?;
    file.take(16).read_to_end(&mut start).map_err(failed)?;
    Ok(Format::sniff(&start))
}

fn inspect_image(path: &Path, format: Format, json: bool) -> Result<String> {
    let name = path.display().to_string();
    let (_, file, _) = open_regular(path)?;
    let Facts {
        width,
        height,
        color,
        metadata,
        ..
    } = format::read_facts(&name, file)?;
    if json {
        let facts = json!({"type": format.name().to_lowercase(), "width": width, "height": height, "color": color, "x2i": metadata});
        return Ok(format!("{facts:#}\n"));
    }
    let (kind, name) = (format.name(), printable(&name));
    let mut text = format!("{name}: {kind}, {width}x{height}, {color}\n");
    match metadata {
        None => text.push_str(
            "  has no x2i metadata: x2i did not generate it, or another program removed it\n",
        ),
        Some(metadata) => {
            text.push_str(&columns(&metadata_rows(&metadata)));
            let _ = writeln!(text, "replay it with: x2i generate --from {name}");
        }
    }
    Ok(text)
}

fn metadata_rows(metadata: &Metadata) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = metadata.prompt.iter().map(part_row).collect();
    if let Some(answer) = &metadata.answer {
        rows.push(row(["answer", &answer.escape_debug().to_string()]));
    }
    let conditioning = match metadata.conditioning {
        Conditioning::Prompt => "the prompt",
        Conditioning::Answer => "the LLM's answer",
    };
    if !metadata.background.is_default() {
        rows.push(row(["background", &metadata.background.to_string()]));
    }
    rows.extend([
        row(["conditioning", conditioning]),
        row(["seed", &metadata.seed.to_string()]),
        row(["size", &format!("{}x{}", metadata.width, metadata.height)]),
        row([
            "steps",
            &format!("{}, {}", metadata.steps, metadata.sampler),
        ]),
        row(["guidance", &metadata.guidance.to_string()]),
    ]);
    let cache = metadata.cache.map(|threshold| threshold.to_string());
    rows.extend(cache.map(|threshold| row(["cache", &threshold])));
    rows.extend([
        row([
            "model",
            &format!("{} ({})", metadata.model.name, metadata.model.place),
        ]),
        row([
            "device",
            &format!(
                "{} ({}){}{}",
                metadata.device.id,
                metadata.device.name,
                if metadata.device.exact { ", exact" } else { "" },
                match &metadata.device.precision {
                    Some(precision) => format!(", {precision}"),
                    None => String::new(),
                }
            ),
        ]),
        row([
            "made by",
            &format!(
                "x2i {}, burn {}",
                metadata.versions.x2i, metadata.versions.burn
            ),
        ]),
    ]);
    rows.extend(
        metadata
            .model
            .files
            .iter()
            .map(|(file, sha256)| row(["file", &format!("{file} (sha256 {sha256})")])),
    );
    rows
}

fn part_row(part: &PartRecord) -> Vec<String> {
    match part {
        PartRecord::Text(text) => row(["prompt", &text.escape_debug().to_string()]),
        PartRecord::Image { file, sha256 } => row(["image", &format!("{file} (sha256 {sha256})")]),
        PartRecord::Video { file, sha256, fps } => row([
            "video",
            &format!("{file} (sha256 {sha256}), {fps} frames per second"),
        ]),
        PartRecord::Audio { file, sha256 } => row(["audio", &format!("{file} (sha256 {sha256})")]),
    }
}

fn inspect_weights(path: &Path, args: &InspectArgs) -> Result<String> {
    let source: Arc<dyn WeightSource> = Arc::new(MappedFile::open(path)?);
    let length = source.len();
    let file = pollster::block_on(WeightFile::open(source)).context("inspect")?;
    let report = report::file_report(&file);
    let mut tensors = report::tensors(&file);
    if !args.tensors {
        tensors.truncate(LARGEST);
    }
    if args.json {
        let key = if args.tensors { "tensors" } else { "largest" };
        let facts =
            json!({"type": "weights", "file_bytes": length, "report": report, key: tensors});
        return Ok(format!("{facts:#}\n"));
    }
    let name = printable(&path.display().to_string());
    let FileReport {
        format,
        tensors: count,
        parameters,
        ..
    } = report;
    let mut text = format!(
        "{name}: {format}, {count} tensors, {}, {}\n",
        millions(parameters),
        human_bytes(length)
    );
    let types = report.types.iter();
    let types = types.map(|(stored, of)| {
        row([
            stored,
            &format!("{} tensors", of.tensors),
            &human_bytes(of.bytes),
        ])
    });
    text.push_str(&columns(&types.collect::<Vec<_>>()));
    let metadata = report
        .metadata
        .iter()
        .map(|(key, value)| row([key, &short(value)]));
    text.push_str(&columns(&metadata.collect::<Vec<_>>()));
    text.push_str(if args.tensors {
        "tensors, the largest first:\n"
    } else {
        "the largest tensors (all: --tensors):\n"
    });
    let tensors = tensors.iter().map(
        |TensorReport {
             name,
             shape,
             stored,
             bytes,
         }| { row([name, &format!("{shape:?}"), stored, &human_bytes(*bytes)]) },
    );
    text.push_str(&columns(&tensors.collect::<Vec<_>>()));
    Ok(text)
}

fn inspect_model(model: &ModelFiles, json: bool) -> Result<String> {
    let config = pollster::block_on(model::read_config(model))?;
    let parts = report::parts(model, &config)?;
    let files = file_states(model, &config)?;
    if json {
        let states: serde_json::Map<_, _> = files
            .iter()
            .map(|(file, state)| (file.clone(), json!(state)))
            .collect();
        let facts = json!({"type": "model", "place": model.place(), "config": config, "parts": parts, "files": states});
        return Ok(format!("{facts:#}\n"));
    }
    let total = |of: fn(&PartReport) -> u64| parts.iter().map(of).sum::<u64>();
    let mut text = format!(
        "{}: model `{}`, {}, {} in files, loaded {} on the CPU, {} on a GPU\n",
        printable(&model.place()),
        printable(&config.name),
        millions(total(|part| part.parameters)),
        human_bytes(total(|part| part.bytes)),
        human_bytes(total(|part| part.on_cpu)),
        human_bytes(total(|part| part.on_gpu)),
    );
    let rows = parts.iter().map(|part| {
        row([
            part.part,
            &part.what,
            &millions(part.parameters),
            &human_bytes(part.bytes),
            &part.files.join(", "),
        ])
    });
    text.push_str(&columns(&rows.collect::<Vec<_>>()));
    let defaults = &config.defaults;
    text.push_str(&columns(&[
        row(["licence", config.license.as_deref().unwrap_or("not stated")]),
        row(["reads", &defaults.modalities.join(", ")]),
        row([
            "defaults",
            &format!(
                "{}x{}, {} steps, guidance {}, conditioned by the {}",
                defaults.width,
                defaults.height,
                defaults.steps,
                defaults.guidance,
                match defaults.conditioning {
                    Conditioning::Prompt => "prompt",
                    Conditioning::Answer => "answer",
                }
            ),
        ]),
    ]));
    if files.is_empty() {
        text.push_str("files are not recorded (no model.json); `x2i convert` records them\n");
    } else {
        text.push_str("files against model.json:\n");
        let rows = files.iter().map(|(file, state)| row([file, state]));
        text.push_str(&columns(&rows.collect::<Vec<_>>()));
    }
    Ok(text)
}

/// Compares every recorded file with `model.json`.
fn file_states(model: &ModelFiles, config: &ModelConfig) -> Result<Vec<(String, String)>> {
    let state = |file: &String| -> Result<String> {
        let record = &config.files[file];
        let ModelFiles::Folder(folder) = model else {
            return Ok(format!("{}, embedded", human_bytes(record.bytes)));
        };
        let path = folder.path(file);
        Ok(match path.metadata() {
            Err(_) => "is missing".into(),
            Ok(found) if found.len() != record.bytes => {
                format!("has {} bytes, not {}", found.len(), record.bytes)
            }
            Ok(_) if hash_file(&path)? != record.sha256 => {
                "has another SHA-256: changed or damaged".into()
            }
            Ok(_) => format!("{}, SHA-256 as recorded", human_bytes(record.bytes)),
        })
    };
    config
        .files
        .keys()
        .map(|file| Ok((file.clone(), state(file)?)))
        .collect()
}

/// `12.4 M parameters`.
pub fn millions(parameters: u64) -> String {
    match parameters {
        0..1_000_000 => format!("{parameters} parameters"),
        1_000_000..1_000_000_000 => format!("{:.1} M parameters", parameters as f64 / 1e6),
        _ => format!("{:.1} B parameters", parameters as f64 / 1e9),
    }
}

/// Shortens a value to one line.
fn short(value: &str) -> String {
    const LENGTH: usize = 72;
    let line: String = value
        .chars()
        .take(LENGTH)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if value.chars().count() > LENGTH {
        format!("{line}...")
    } else {
        line
    }
}
