//! A weight file that another program cuts while a model is in use.
#![cfg(unix)]

use std::fs::{self, OpenOptions};
use std::path::Path;

use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{Engine, EngineOptions, JobSpec, MemoryPolicy, Model, Result, ignore_progress};

/// The embedded model as a folder.
const EMOJI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/models/emoji");

fn paint(engine: &mut Engine) -> Result<()> {
    let job = JobSpec::text("a red apple").job(engine.model())?;
    engine.paint(&job, &mut ignore_progress).map(drop)
}

/// Streamed components are read for every image; quantized weights are read in place even when they stay.
#[test]
fn an_image_from_a_file_that_is_cut_is_refused()
-> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for file in fs::read_dir(EMOJI)? {
        let file = file?.path();
        if file.is_file() {
            fs::copy(
                &file,
                folder.path().join(file.file_name().unwrap_or_default()),
            )?;
        }
    }
    let model = Model::open(&folder.path().display().to_string())?;
    let options = EngineOptions {
        memory: MemoryPolicy::Low,
        ..EngineOptions::default()
    };
    let device = device::acquire(DeviceChoice::Cpu)?;
    let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
    paint(&mut engine)?;
    cut(&folder.path().join("flux.gguf"))?;
    let message = paint(&mut engine).unwrap_err().to_string();
    assert!(message.contains("flux.gguf: was cut while"), "{message}");
    Ok(())
}

fn cut(file: &Path) -> std::io::Result<()> {
    let half = file.metadata()?.len() / 2;
    OpenOptions::new().write(true).open(file)?.set_len(half)
}
