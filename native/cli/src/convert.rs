//! `x2i convert`: converts a Hugging Face style folder to `model.json` and GGUF files.
//!
//! Only a slice of one tensor is in memory at a time, and files are read instead of mapped, so that a
//! model of any size takes little memory. The new folder is written under a temporary name, read back
//! and compared, then put in place ([`x2i_engine::files::Stage`]), so that the destination is always complete, or is
//! completed when it is opened. Not here: downloads, and merging LoRAs.

mod place;
pub(crate) mod plan;
mod rule;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use x2i_core::config::FileRecord;
use x2i_core::model::{self, ModelSource};
use x2i_core::weights::Component;
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::{Error, ModelConfig};

use self::plan::Part;
use crate::flags::{ConvertArgs, verify};
use crate::terminal::{Checking, Display, Interrupt, printable};
use crate::weights_report::components;
use x2i_engine::files::hex;
use x2i_engine::host::human_bytes;
use x2i_engine::models::{self, Access, FolderSource, ModelFiles, Verify};

/// Runs `x2i convert`.
///
/// # Errors
/// When the source is incomplete or broken, the destination can't be written, or the result does not
/// read back as the same model.
pub fn run(args: &ConvertArgs) -> Result<()> {
    convert(args, Interrupt::listen()?)
}

/// The same for a command that already listens for Ctrl-C.
pub(crate) fn convert(args: &ConvertArgs, interrupt: Interrupt) -> Result<()> {
    let source = FolderSource::open(&args.source)?.with_access(Access::Read);
    let mut config = pollster::block_on(model::read_config(&source))?;
    let stage = place::stage(args)?;
    let checking = Checking::new(Display::choose(args.quiet, false), interrupt.clone());
    check(&source, verify(args.verify), &checking)?;
    Display::choose(args.quiet, false).warn(std::mem::take(&mut config.warnings));
    let converter = Converter {
        args,
        source: &source,
        folder: stage.path(),
        interrupt: interrupt.clone(),
    };
    converter.convert(&mut config)?;
    compare(&source, stage.path(), &config, interrupt)?;
    place::put_in_place(stage, &args.destination)?;
    if !args.quiet {
        let bytes = config.files.values().map(|record| record.bytes).sum();
        let name = printable(&args.destination.display().to_string());
        writeln!(
            io::stdout(),
            "{name}: model `{}`, {}, read back and compared",
            printable(&config.name),
            human_bytes(bytes)
        )?;
    }
    Ok(())
}

/// Fails with the first thing that would keep `generate` from using a folder, but for its numbers: all
/// of them are looked at when they are written.
fn check(folder: &FolderSource, verify: Verify, checking: &Checking) -> Result<()> {
    let files = ModelFiles::Folder(folder.clone());
    let problems = models::check_files(&files, verify, &|checked| checking.hear(checked));
    let first = problems.into_iter().next();
    first.map_or(Ok(()), |error| Err(error.into()))
}

struct Converter<'a> {
    args: &'a ConvertArgs,
    source: &'a FolderSource,
    folder: &'a Path,
    interrupt: Interrupt,
}

impl Converter<'_> {
    /// Writes all files and records them in the config.
    fn convert(&self, config: &mut ModelConfig) -> Result<()> {
        let mut files = BTreeMap::new();
        let mut align_config = None;
        for part in plan::parts(self.source, config, self.args)? {
            let file = format!("{}.gguf", part.name);
            let record = self.write_part(&file, &part, &config.name)?;
            files.insert(file, record);
            if part.component == Component::AlignNet {
                let mut opened = part.weights.files().iter();
                align_config = opened.find_map(|file| file.config().cloned());
            }
        }
        if let (true, Some(found)) = (config.align_net.config.is_null(), align_config) {
            config.align_net.config = found;
        }
        let tokenizer = pollster::block_on(model::tokenizer_json(self.source, &config.encoder))?;
        files.insert(
            "tokenizer.json".into(),
            self.write_file("tokenizer.json", &tokenizer)?,
        );
        config.encoder.weights = vec!["encoder.gguf".into()];
        config.align_net.weights = vec!["align_net.gguf".into()];
        config.flux.weights = vec!["flux.gguf".into()];
        config.vae.weights = vec!["vae.gguf".into()];
        config.encoder.tokenizer = "tokenizer.json".into();
        config.files = files;
        let mut json = serde_json::to_string_pretty(config)?;
        json.push('\n');
        self.write_file("model.json", json.as_bytes())?;
        Ok(())
    }

    /// Writes one component, tensor by tensor.
    fn write_part(&self, file: &str, part: &Part, model: &str) -> Result<FileRecord> {
        let Part {
            component,
            weights,
            tensors,
            ..
        } = part;
        let writer = GgufWriter::new(plan::metadata(*component, model), tensors.clone())?;
        let bar = self.bar(file, writer.file_len());
        let path = self.folder.join(file);
        let out = File::create(&path).with_context(|| path.display().to_string())?;
        let shown = self.args.destination.join(file).display().to_string();
        let mut body = writer.start(
            shown.as_str(),
            HashingWriter::new(BufWriter::with_capacity(1 << 20, out)),
        )?;
        for planned in tensors {
            store::store(weights, planned, |bytes| {
                if self.interrupt.is_set() {
                    bar.finish_and_clear();
                    return Err(Error::Cancelled.into());
                }
                bar.inc(bytes.len() as u64);
                Ok(body.write_part(bytes)?)
            })?;
        }
        let record = body.finish()?.finish().with_context(|| shown.clone())?;
        bar.finish_and_clear();
        if !self.args.quiet {
            let (count, size) = (tensors.len(), human_bytes(record.bytes));
            let ignored = match weights.ignored().len() {
                0 => String::new(),
                n => format!(", {n} tensors of other components ignored"),
            };
            writeln!(
                io::stderr(),
                "{file}: {}, {count} tensors, {size}{ignored}",
                part.name
            )?;
        }
        Ok(record)
    }

    fn write_file(&self, file: &str, bytes: &[u8]) -> Result<FileRecord> {
        let path = self.folder.join(file);
        fs::write(&path, bytes)
            .with_context(|| self.args.destination.join(file).display().to_string())?;
        Ok(FileRecord {
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        })
    }

    fn bar(&self, file: &str, bytes: u64) -> ProgressBar {
        let target = match Display::choose(self.args.quiet, false) {
            Display::Bar => ProgressDrawTarget::stderr(),
            _ => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target).with_prefix(file.to_owned());
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>14} {bar:28.cyan/dim} {bytes}/{total_bytes}")
        {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar
    }
}

/// Opens the new folder and compares names, shapes and configs with the source.
fn compare(
    source: &FolderSource,
    folder: &Path,
    config: &ModelConfig,
    interrupt: Interrupt,
) -> Result<()> {
    let written = FolderSource::open(folder)?;
    let read = pollster::block_on(model::read_config(&written))?;
    if read != *config {
        bail!("convert: model.json does not read back as it was written; please report this");
    }
    let checking = Checking::new(Display::Quiet, interrupt);
    check(&written, Verify::WhenNew, &checking)?;
    let original = pollster::block_on(model::read_config(source))?;
    for ((part, component, files), (_, _, originals)) in
        components(&read).into_iter().zip(components(&original))
    {
        let shapes = |source: &dyn ModelSource,
                      files: &[String]|
         -> Result<BTreeMap<String, Option<Vec<usize>>>> {
            let weights = pollster::block_on(model::open_weights(source, component, files))?;
            Ok(weights
                .names()
                .map(|name| (name.to_owned(), weights.shape(name)))
                .collect())
        };
        if shapes(&written, files)? != shapes(source, originals)? {
            bail!(
                "convert: {part}.gguf does not hold the tensors of the source; please report this"
            );
        }
    }
    Ok(())
}

/// Counts and hashes the bytes that pass through.
struct HashingWriter<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    fn finish(mut self) -> io::Result<FileRecord> {
        self.out.flush()?;
        Ok(FileRecord {
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        })
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
