//! Paints several images on one engine that owns a thread, shows their progress, and cancels the
//! last: `cargo run --release --example several`.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;

use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::{
    Engine, EngineOptions, Error, JobSpec, Model, Output, Progress, Result, Settings,
    ignore_progress,
};

const PROMPTS: [&str; 3] = ["a cat", "蓝色背景上的红苹果", "a turtle"];

fn main() -> Result<()> {
    let model = Model::open("emoji")?;
    // Models and jobs are `Send`: what a server receives is handed to the thread of the device.
    let (jobs, queue) = mpsc::channel();
    for (prompt, seed) in PROMPTS.into_iter().zip(1..) {
        let spec = JobSpec {
            settings: Settings {
                seed: Some(seed),
                ..Settings::default()
            },
            ..JobSpec::text(prompt)
        };
        let output = Output::File(format!("{seed}.png").into());
        let job = spec.job(&model)?.with_output(output);
        // The queue's other end lives until all jobs are done.
        let _ = jobs.send(job);
    }
    drop(jobs);
    let worker = thread::spawn(move || -> Result<()> {
        let device = device::acquire(DeviceChoice::Auto)?;
        let options = EngineOptions::default();
        let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
        for job in queue {
            let seed = job.request().seed;
            let last = seed == PROMPTS.len() as u64;
            let painted = engine.paint(&job, &mut |progress: Progress| {
                println!(
                    "image {seed}: {:?} {} of {}",
                    progress.phase, progress.done, progress.total
                );
                // Cancels within one block of the transformer.
                match last && progress.steps.is_some_and(|steps| steps.done == 1) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            match painted {
                Ok(painted) => job.output().write(&painted.png()?)?,
                Err(Error::Cancelled) => println!("image {seed}: cancelled"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    worker.join().expect("the worker does not panic")
}
