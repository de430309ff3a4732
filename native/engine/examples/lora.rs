//! Paints with a LoRA: `cargo run --release --example lora -- style.safetensors 0.8`.

use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{
    AdapterSpec, Engine, EngineOptions, JobSpec, LoraSpec, Model, NamedFile, Output, Result,
    ignore_progress,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or("style.safetensors".into());
    let scale = arguments.next().and_then(|scale| scale.parse().ok());
    let adapters = AdapterSpec {
        loras: vec![LoraSpec {
            file: NamedFile::new(file),
            config: None,
            scale: scale.unwrap_or(1.0),
        }],
        ..AdapterSpec::default()
    };
    let model = Model::open("emoji")?.with_adapters(&adapters)?;
    for warning in model.warnings() {
        eprintln!("warning: {warning}");
    }
    let job = JobSpec::text("a red apple on a blue background").job(&model)?;
    let device = device::acquire(DeviceChoice::Auto)?;
    let options = EngineOptions::default();
    let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
    let painted = engine.paint(&job, &mut ignore_progress)?;
    Output::File("styled.png".into()).write(&painted.png()?)
}
