//! `x2i generate`: plan, load, paint, write.

use std::io::Write;

use anyhow::{Context, Result, bail};
use serde_json::json;
use x2i_core::png::{self, Metadata, Versions};
use x2i_core::vae::Tiling;
use x2i_core::{ModelConfig, Request, model};

use crate::adapters::Adapters;
use crate::flags::{EngineArgs, GenerateArgs};
use x2i_engine::device::{self, DeviceChoice, DeviceKind, OpenDevice};
use crate::engine::Engine;
use x2i_engine::models::hashes::Hashes;
use x2i_engine::host;
use crate::job::{self, Job, Replay};
use x2i_engine::output::Output;
use crate::progress::{Display, Interrupt, Reporter, Seconds};
use x2i_engine::models::Model;

/// Runs `x2i generate`.
///
/// # Errors
/// Whatever a flag, a file, the model, the device or the disk does;
/// [`x2i_core::Error::Cancelled`] on Ctrl-C.
pub fn run(args: &GenerateArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let replay = args.from.as_deref().map(Replay::read).transpose()?;
    let recorded_place = replay
        .as_ref()
        .map(|replay| replay.metadata.model.place.as_str());
    let model = Model::find(args.engine.model.as_deref().or(recorded_place))?;
    let config = pollster::block_on(model::read_config(&model))?;
    let mut warnings = Vec::new();
    if let Some(replay) = &replay {
        check_model(replay, &config)?;
    }
    let adapters = Adapters::open(&args.adapters, replay.as_ref())?;
    let mut jobs = job::plan(args, &config, replay.as_ref())?;
    for job in &mut jobs {
        job.request = adapters.added_to(job.request.clone());
        job.request.validate()?;
    }
    warnings.extend(adapters.warnings());
    check_outputs(args, &jobs)?;
    let device = open_device(args, replay.as_ref(), &mut warnings)?;
    if device.entry.kind == DeviceKind::Cpu
        && let Some(memory) = host::memory()
    {
        for Job { request, .. } in &jobs {
            check_memory(request, &config, memory.available)?;
        }
    }
    let display = Display::choose(args.quiet, args.json);
    warn(display, &warnings);

    let mut reporter = Reporter::new(display, interrupt, device.health.clone());
    reporter.begin_picture(1, jobs.len());
    let recorded_exact = replay.as_ref().is_some_and(|r| r.metadata.device.exact);
    let engine_args = EngineArgs {
        exact: args.engine.exact || recorded_exact,
        ..args.engine.clone()
    };
    let mut engine = Engine::load(
        &engine_args,
        &adapters,
        model,
        config,
        device,
        &mut reporter,
    )?;
    for (index, job) in jobs.iter().enumerate() {
        reporter.begin_picture(index + 1, jobs.len());
        let painted = engine.paint(&job.request, &mut reporter);
        let seconds = reporter.end_picture();
        let painting = painted?;
        if let (0, Some(replay)) = (index, &replay) {
            warn(display, &changed_files(replay, engine.hashes()?));
        }
        let metadata = engine.metadata(job.parts.clone(), &job.request, &painting)?;
        let metadata = adapters.recorded_in(metadata);
        let png = png::encode(&painting.image, &metadata)?;
        job.output.write(&png).context("-o")?;
        tell(display, job, &metadata, seconds)?;
    }
    Ok(())
}

/// A picture is repeated by the model that made it.
fn check_model(replay: &Replay, config: &ModelConfig) -> Result<()> {
    let recorded = &replay.metadata.model.name;
    if *recorded != config.name {
        bail!(
            "--from: {} was made by the model `{recorded}`, this is `{}`; give the folder of `{recorded}` with --model",
            replay.name,
            config.name
        );
    }
    Ok(())
}

/// Before the long work: every file can be written, and standard output has one use.
fn check_outputs(args: &GenerateArgs, jobs: &[Job]) -> Result<()> {
    if args.json && jobs.iter().any(|job| job.output == Output::Stdout) {
        bail!("-o: the picture and --json can't both go to standard output");
    }
    jobs.iter()
        .try_for_each(|job| job.output.check())
        .context("-o")
}

/// Before the long work: decoding fits into memory, where a failed allocation would end the process.
pub(crate) fn check_memory(request: &Request, config: &ModelConfig, available: u64) -> Result<()> {
    let levels = &config.vae.config.block_out_channels;
    // The encoder, which has no bands, comes before the decoder and has gone by then.
    let tiling = match request.init {
        Some(_) => Tiling::Whole,
        None => Tiling::of(request.width, request.height),
    };
    let needed = vae_memory(request.width, request.height, levels, tiling);
    if needed > available {
        bail!(
            "--size: {}x{} needs about {} to decode, {} are available; ask for a smaller picture",
            request.width,
            request.height,
            host::human_bytes(needed),
            host::human_bytes(available)
        );
    }
    Ok(())
}

/// Bytes that the VAE holds at its peak: copies of the finest level's input, which has the channels
/// of the level below.
fn vae_memory(width: usize, height: usize, block_out_channels: &[usize], tiling: Tiling) -> u64 {
    // Measured, all in all, with 32 channels: 1.3 for 2048x2048 in bands, 3.4 when it was whole.
    let copies = match tiling {
        Tiling::Whole => 4,
        Tiling::Bands { .. } => 2,
    };
    let channels = block_out_channels
        .iter()
        .take(2)
        .max()
        .copied()
        .unwrap_or(0);
    (width * height * channels * size_of::<f32>()) as u64 * copies
}

/// The device of the flag; for a replay the recorded one, where it is there.
fn open_device(
    args: &GenerateArgs,
    replay: Option<&Replay>,
    warnings: &mut Vec<String>,
) -> Result<OpenDevice> {
    let (None, Some(replay)) = (args.engine.device, replay) else {
        return Ok(device::acquire(args.engine.device.unwrap_or_default())?);
    };
    let recorded = &replay.metadata.device;
    let choice = recorded.id.parse().unwrap_or(DeviceChoice::Auto);
    let opened = match device::acquire(choice) {
        Ok(opened) => opened,
        Err(_) => device::acquire(DeviceChoice::Auto)?,
    };
    if (&opened.entry.id, &opened.entry.name) != (&recorded.id, &recorded.name) {
        warnings.push(format!(
            "{} was made on {} ({}), this is {} ({}): pixels may differ slightly",
            replay.name, recorded.id, recorded.name, opened.entry.id, opened.entry.name
        ));
    }
    let (versions, current) = (&replay.metadata.versions, Versions::current());
    if *versions != current {
        warnings.push(format!(
            "{} was made by x2i {} with burn {}, this is x2i {} with burn {}: pixels may differ",
            replay.name, versions.x2i, versions.burn, current.x2i, current.burn
        ));
    }
    Ok(opened)
}

/// What differs between the model that made a picture and this one of the same name.
fn changed_files(replay: &Replay, hashes: &Hashes) -> Vec<String> {
    let recorded = &replay.metadata.model.files;
    let changed: Vec<&str> = recorded
        .iter()
        .filter(|(file, hash)| hashes.get(*file) != Some(hash))
        .map(|(file, _)| file.as_str())
        .collect();
    if changed.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} was made with other files of the model `{}`: {} changed since",
        replay.name,
        replay.metadata.model.name,
        changed.join(", ")
    )]
}

/// Prints them, a line each; nothing where little shall be said.
pub fn warn(display: Display, warnings: &[String]) {
    if display == Display::Quiet {
        return;
    }
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
}

/// Says what was made: a line for people, an object for scripts.
fn tell(display: Display, job: &Job, metadata: &Metadata, seconds: Seconds) -> Result<()> {
    let Metadata {
        width,
        height,
        steps,
        seed,
        ..
    } = metadata;
    let line = match display {
        Display::Quiet => return Ok(()),
        Display::Json => {
            let mut event = json!({
                "type": "image",
                "path": job.output.shown(),
                "seed": seed,
                "width": width,
                "height": height,
                "steps": steps,
                "device": metadata.device.id,
                "seconds": seconds.total(),
                "phases": seconds,
                "peak_memory": host::peak_memory(),
            });
            if let Some(answer) = &metadata.answer {
                event["answer"] = answer.as_str().into();
            }
            event.to_string()
        }
        Display::Bar | Display::Lines => {
            let answer = metadata
                .answer
                .as_ref()
                .map(|answer| format!("answer: {}\n", printable(answer)));
            format!(
                "{}{}",
                answer.unwrap_or_default(),
                summary(&job.output, metadata, seconds)
            )
        }
    };
    // Standard output belongs to the picture where it goes there.
    match job.output {
        Output::Stdout => writeln!(std::io::stderr(), "{line}")?,
        Output::File(_) => writeln!(std::io::stdout(), "{line}")?,
    }
    Ok(())
}

/// A picture in one line.
pub(crate) fn summary(output: &Output, metadata: &Metadata, seconds: Seconds) -> String {
    let Metadata {
        width,
        height,
        steps,
        seed,
        ..
    } = metadata;
    let steps = match steps {
        1 => "1 step".to_owned(),
        steps => format!("{steps} steps"),
    };
    format!(
        "{}: {width}x{height}, seed {seed}, {steps}, {:.1} s on {}",
        output.shown(),
        seconds.total(),
        metadata.device.id
    )
}

/// A model's text on a terminal: one line, without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_decoding_is_not_underestimated() {
        /// Peak of `x2i generate --size 2048x2048` with the embedded model, all in all.
        const MEASURED: u64 = 710_576 * 1024;
        let tiling = Tiling::of(2048, 2048);
        let estimate = vae_memory(2048, 2048, &[16, 32, 64, 64], tiling);
        assert!(
            (MEASURED..MEASURED * 3 / 2).contains(&estimate),
            "{estimate}"
        );
    }
}
