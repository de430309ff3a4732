//! Criterion benches of the embedded model: loading it, and generating one image on the CPU.
//!
//! `cargo bench --bench generate`; prompt to PNG with start-up is `x2i bench`.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::ops::ControlFlow;

use burn::tensor::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use x2i_core::{Pipeline, Prompt, Request, Result};
use x2i_engine::models::EmbeddedSource;

fn load(source: &EmbeddedSource) -> Result<Pipeline> {
    pollster::block_on(Pipeline::load(source, &Device::flex(), &mut async |_| {
        ControlFlow::Continue(())
    }))
}

fn embedded_model(criterion: &mut Criterion) {
    let Some(source) = EmbeddedSource::new() else {
        eprintln!("skipped: this build has no embedded model");
        return;
    };
    let pipeline = load(&source).expect("the embedded model loads");
    let mut group = criterion.benchmark_group("emoji");
    group.sample_size(10);
    group.bench_function("load", |bencher| {
        bencher.iter(|| load(black_box(&source)).map(|_| ()))
    });
    let request = Request::new(
        Prompt::text("a red apple on a blue background"),
        pipeline.config(),
    );
    group.bench_function("paint", |bencher| {
        bencher.iter(|| {
            let mut on_progress = async |_| ControlFlow::Continue(());
            let painted = pipeline.generate(black_box(&request), &mut on_progress);
            pollster::block_on(painted).map(|painting| painting.image)
        });
    });
    group.finish();
}

criterion_group!(benches, embedded_model);
criterion_main!(benches);
