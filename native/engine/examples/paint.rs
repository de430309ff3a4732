//! Paints one image with the embedded model: `cargo run --release --example paint`.

use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{Engine, EngineOptions, JobSpec, Model, Output, Result, ignore_progress};

fn main() -> Result<()> {
    let model = Model::open("emoji")?;
    let job = JobSpec::text("a red apple on a blue background").job(&model)?;
    let device = device::acquire(DeviceChoice::Auto)?;
    let options = EngineOptions::default();
    let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
    let painted = engine.paint(&job, &mut ignore_progress)?;
    Output::File("apple.png".into()).write(&painted.png()?)
}
