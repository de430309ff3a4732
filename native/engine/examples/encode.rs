//! Encodes a prompt to what FLUX expects from T5 (`txt`) and CLIP (`vec`), for samplers outside of
//! x2i: `cargo run --release --example encode`.

use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{Engine, EngineOptions, JobSpec, Model, Result, ignore_progress};

fn main() -> Result<()> {
    let model = Model::open("emoji")?;
    let job = JobSpec::text("a red apple on a blue background").job(&model)?;
    let device = device::acquire(DeviceChoice::Auto)?;
    let options = EngineOptions::default();
    let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
    let conditioned = engine.encode(&job, &mut ignore_progress)?;
    println!("txt {:?}", conditioned.txt.shape);
    println!("vec {:?}", conditioned.vec.shape);
    println!("answer {:?}", conditioned.answer);
    Ok(())
}
