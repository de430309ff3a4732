//! Any keys and shapes as a LoRA file, with any config beside it. What fits a small transformer is
//! loaded with it, and run.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use libfuzzer_sys::fuzz_target;
use x2i_core::flux::{Flux, FluxInput};
use x2i_core::weights::{MemorySource, Weights};
use x2i_core::{Lora, LoraConfig, Result};
use x2i_fuzz::adapter::{self, Adapter};

thread_local! {
    static TRANSFORMER: RefCell<Weights> = RefCell::new(adapter::transformer());
}

fuzz_target!(|text: &str| {
    let Some(adapter) = Adapter::of(text) else {
        return;
    };
    drop(pollster::block_on(apply(&adapter)));
});

async fn apply(adapter: &Adapter) -> Result<()> {
    let config = match &adapter.config {
        Some(json) => Some(LoraConfig::parse("adapter_config.json", json.as_bytes())?),
        None => None,
    };
    let source = MemorySource::new("lora", adapter.file());
    let lora = Lora::open_with(Arc::new(source), 0.5, config.as_ref()).await?;
    let sizes = adapter::config();
    drop(lora.warnings(|layer| sizes.has_layer(layer)));
    TRANSFORMER.with_borrow_mut(|transformer| transformer.adapt(&[Arc::new(lora)]))?;
    TRANSFORMER.with_borrow(|transformer| pollster::block_on(run(transformer)))
}

/// One step of the changed transformer, of two tokens of each stream.
async fn run(weights: &Weights) -> Result<()> {
    let device = Device::flex();
    weights.device_len("", &device);
    let flux = Flux::load(&adapter::config(), &weights.scope(&device)).await?;
    let conditions = flux.embed(
        Tensor::ones([1, 2, 8], &device),
        Tensor::ones([1, 8], &device),
        &[1.0],
    );
    let input = FluxInput {
        img: Tensor::ones([1, 2, 4], &device),
        conditions: &conditions,
        sigma: &[0.5],
        rope: &flux.rope(&[[0.0; 3]; 4]),
    };
    let velocity = flux.forward(input, &mut async |_| Ok(())).await?;
    assert_eq!(velocity.dims(), [1, 2, 4]);
    Ok(())
}
