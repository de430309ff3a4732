//! `x2i generate`: plan, load, paint, write.

use std::io::Write;

use anyhow::{Context, Result, bail};
use serde_json::json;
use x2i_core::png::{self, DeviceRecord, Metadata, ModelRecord, Versions};
use x2i_core::vae::Tiling;
use x2i_core::{InputBits, LoadOptions, Memory, ModelConfig, Painting, Pipeline, model};

use crate::adapters::Adapters;
use crate::cli::{ByteSize, GenerateArgs, MemoryChoice};
use crate::device::{self, DeviceChoice, DeviceKind, OpenDevice};
use crate::hashes::{Hashes, ModelHashes};
use crate::host;
use crate::job::{self, Job, Replay};
use crate::output::Output;
use crate::progress::{Display, Interrupt, Reporter, Seconds};
use crate::source::Model;

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
    let model = Model::find(args.model.as_deref().or(recorded_place))?;
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
    let mut hashes = ModelHashes::begin(&model, &config)?;
    let device = open_device(args, replay.as_ref(), &mut warnings)?;
    if device.entry.kind == DeviceKind::Cpu
        && let Some(memory) = host::memory()
    {
        check_memory(&jobs, &config, memory.available)?;
    }
    let display = Display::choose(args.quiet, args.json);
    warn(display, &warnings);

    let mut reporter = Reporter::new(display, interrupt, device.health.clone());
    reporter.begin_picture(1, jobs.len());
    let options = adapters.added_to_options(load_options(args, &device));
    let loaded = device.guard(|| {
        let mut on_progress = async |progress| reporter.hear(progress);
        pollster::block_on(Pipeline::load_with(
            &options,
            &model,
            &device.device,
            &mut on_progress,
        ))
    });
    let pipeline = loaded.inspect_err(|_| reporter.clear())?;
    for (index, job) in jobs.iter().enumerate() {
        reporter.begin_picture(index + 1, jobs.len());
        let painted = device.guard(|| {
            let mut on_progress = async |progress| reporter.hear(progress);
            pollster::block_on(pipeline.generate(&job.request, &mut on_progress))
        });
        let seconds = reporter.end_picture();
        let painting = painted?;
        let hashes = hashes.get()?;
        if let (0, Some(replay)) = (index, &replay) {
            warn(display, &changed_files(replay, hashes));
        }
        let metadata = metadata(&model, &config, hashes, &device, job, &painting);
        let metadata = adapters.recorded_in(metadata);
        let png = png::encode(&painting.image, &metadata)?;
        job.output.write(&png).context("-o")?;
        tell(display, job, &metadata, seconds)?;
    }
    Ok(())
}

/// What the flags ask for, and the memory that is free where they leave it to us.
fn load_options(args: &GenerateArgs, device: &OpenDevice) -> LoadOptions {
    let in_host_memory = device.entry.kind == DeviceKind::Cpu || device.entry.software;
    let free = match in_host_memory {
        true => host::memory().map(|memory| memory.available),
        false => device.entry.memory,
    };
    LoadOptions {
        memory: match (args.memory, free) {
            (MemoryChoice::Low, _) => Memory::Low,
            (MemoryChoice::Auto, Some(free)) => Memory::Fit(free),
            (MemoryChoice::High, _) => Memory::High,
            // An unknown amount of memory is taken for enough, but a limit counts.
            (MemoryChoice::Auto, None) => {
                let limit = args.max_device_memory;
                limit.map_or(Memory::High, |ByteSize(limit)| Memory::Fit(limit))
            }
        },
        max_device_memory: args.max_device_memory.map(|ByteSize(bytes)| bytes),
        input_bits: match args.exact {
            true => InputBits::Sixteen,
            false => InputBits::AsWeights,
        },
        ..LoadOptions::default()
    }
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
fn check_memory(jobs: &[Job], config: &ModelConfig, available: u64) -> Result<()> {
    for Job { request, .. } in jobs {
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
    let (None, Some(replay)) = (args.device, replay) else {
        return Ok(device::acquire(args.device.unwrap_or_default())?);
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

fn warn(display: Display, warnings: &[String]) {
    if display == Display::Quiet {
        return;
    }
    for warning in warnings {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
}

fn metadata(
    model: &Model,
    config: &ModelConfig,
    hashes: &Hashes,
    device: &OpenDevice,
    job: &Job,
    painting: &Painting,
) -> Metadata {
    let model = ModelRecord {
        name: config.name.clone(),
        place: model.place(),
        files: hashes.clone(),
    };
    let device = DeviceRecord {
        id: device.entry.id.clone(),
        name: device.entry.name.clone(),
    };
    Metadata::new(
        model,
        job.parts.clone(),
        &job.request,
        device,
        painting.answer.clone(),
    )
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
            let steps = if *steps == 1 {
                "1 step".to_owned()
            } else {
                format!("{steps} steps")
            };
            format!(
                "{}{}: {width}x{height}, seed {seed}, {steps}, {:.1} s on {}",
                answer.unwrap_or_default(),
                job.output.shown(),
                seconds.total(),
                metadata.device.id
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

/// A model's text on a terminal: one line, without control characters.
fn printable(text: &str) -> String {
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
