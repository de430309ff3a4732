//! FLUX with one double and one single block for `stack.html`: loaded once, run many times.
//!
//! Weights, sizes and inputs come from `make_stack.py`, which writes the same graph as ONNX.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use x2i_core::config::FluxConfig;
use x2i_core::flux::{Attentions, Flux, FluxInput, latents};
use x2i_core::nn::rope::Rope;
use x2i_core::weights::{Component, MemorySource, Weights};
use x2i_web::device;

/// `stack.json`.
#[derive(Deserialize)]
struct Facts {
    config: FluxConfig,
    text_tokens: usize,
    /// Image tokens along either side.
    side: usize,
    sigma: f32,
}

/// The transformer on its device.
#[wasm_bindgen]
pub struct Stack {
    flux: Flux,
    rope: Rope,
    device: Device,
    facts: Facts,
}

fn error(error: impl std::fmt::Display) -> JsValue {
    JsError::new(&error.to_string()).into()
}

#[wasm_bindgen]
impl Stack {
    /// Reads a file of weights onto `cpu` or `webgpu`.
    ///
    /// # Errors
    /// When the files do not fit together or there is no such device.
    pub async fn load(weights: Vec<u8>, facts: &str, device: &str) -> Result<Stack, JsValue> {
        let facts: Facts = serde_json::from_str(facts).map_err(error)?;
        let device = device::open(device.parse()?).await?.device;
        let source = Arc::new(MemorySource::new("weights", weights));
        let weights = Weights::open("stack", Component::Flux, vec![source])
            .await
            .map_err(error)?;
        let flux = Flux::load(&facts.config, &weights.scope(&device))
            .await
            .map_err(error)?;
        let ids = [
            latents::text_ids(facts.text_tokens),
            latents::image_ids(facts.side, facts.side),
        ]
        .concat();
        Ok(Self {
            rope: flux.rope(&ids),
            flux,
            device,
            facts,
        })
    }

    /// One forward pass, until its numbers are on the host.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn forward(
        &self,
        img: Vec<f32>,
        txt: Vec<f32>,
        vec: Vec<f32>,
    ) -> Result<Vec<f32>, JsValue> {
        let Facts {
            config,
            text_tokens,
            side,
            sigma,
        } = &self.facts;
        let tensor = |values, shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values, shape), &self.device)
        };
        let pooled = config.pooled_projection_dim;
        let conditions = self.flux.embed(
            tensor(txt, [1, *text_tokens, config.joint_attention_dim]),
            tensor(vec, [1, 1, pooled]).reshape([1, pooled]),
            &[0.0],
        );
        let input = FluxInput {
            img: tensor(img, [1, side * side, config.in_channels]),
            conditions: &conditions,
            sigma: &[*sigma],
            rope: &self.rope,
            attentions: Attentions::Dropped,
        };
        let velocity = self
            .flux
            .forward(input, &mut async |_| Ok(()))
            .await
            .map_err(error)?;
        let data = velocity.into_data_async().await.map_err(error)?;
        data.try_to_vec()
            .map_err(|reason| error(format!("{reason:?}")))
    }
}
