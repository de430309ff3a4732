//! One prompt through the model, every stage beside its golden.

use burn::tensor::Tensor;
use x2i_core::config::{EncoderConfig, GenerationConfig, Qwen2_5VlConfig};
use x2i_core::encoders::qwen2_5_vl::input::Inputs;
use x2i_core::encoders::qwen2_5_vl::patches::Patches;
use x2i_core::encoders::qwen2_5_vl::vision::WindowOrder;
use x2i_core::encoders::qwen2_5_vl::windows::Layout;
use x2i_core::encoders::sampling::Sampler;
use x2i_core::encoders::{EncodeOptions, Encoder, Family, Qwen2_5Vl};
use x2i_core::model;
use x2i_core::request::Conditioning;
use x2i_core::weights::Component;

use super::sub_case::SubCase;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// What `pixel_values` may differ by where the resize is bit-exact (the README's).
const PIXEL_TOLERANCE: f32 = 1e-5;

/// The model of the golden folder beside its numbers.
pub struct Model<'a> {
    pub case: &'a Case<'a>,
    pub qwen: Qwen2_5Vl,
    config: Qwen2_5VlConfig,
}

impl<'a> Model<'a> {
    pub async fn open(case: &'a Case<'a>) -> Fallible<Self> {
        let source = case.folder("");
        let part = model::read_encoder(&source, "").await?;
        let weights = model::open_weights(&source, Component::Qwen2_5Vl, &part.weights).await?;
        let tokenizer = model::read_tokenizer(&source, &part).await?;
        let scope = weights.scope(&case.device);
        let Encoder::Qwen2_5Vl(qwen) = Encoder::load(&part, tokenizer, &scope).await? else {
            return Err("config.json is of another family".into());
        };
        let EncoderConfig::Qwen2_5Vl(config) = part.config else {
            return Err("config.json is of another family".into());
        };
        let qwen = *qwen;
        Ok(Self { case, qwen, config })
    }

    /// The same config in the style of published files says the same.
    pub async fn published_config(&self, report: &mut Report) -> Outcome {
        let file = "config_published_style.json";
        if self.case.exists(file).await? {
            let published = Qwen2_5VlConfig::from_json(file, self.case.json(file).await?)?;
            report.equal(file, &published, &self.config);
        }
        Ok(())
    }

    pub async fn compare(&self, sub_case: &SubCase, report: &mut Report) -> Outcome {
        let name = sub_case.name;
        let options = EncodeOptions {
            conditioning: Conditioning::Prompt,
            prompt_format: sub_case.format,
            padding: sub_case.padding,
            input_image_size: sub_case.input_image_size,
            max_new_tokens: 1,
            seed: 0,
            certainty: None,
            unknown: None,
        };
        let inputs = self.qwen.prepare(&sub_case.prompt, &options)?;
        self.inputs(name, &inputs, report).await?;
        self.vision(name, &inputs.images, report).await?;
        self.answer(name, &inputs, sub_case.repetition_penalty, report)
            .await
    }

    /// Ids, mask, positions and pixels.
    pub async fn inputs(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let ids: Vec<i64> = inputs
            .sequence
            .ids
            .iter()
            .map(|&id| i64::from(id))
            .collect();
        let keep: Vec<i64> = inputs
            .sequence
            .keep
            .iter()
            .map(|&kept| i64::from(kept))
            .collect();
        let axes = (0..3).flat_map(|axis| {
            inputs
                .sequence
                .positions
                .tokens
                .iter()
                .map(move |position| position[axis])
        });
        self.exact(name, "input_ids", &ids, report).await?;
        self.exact(name, "attention_mask", &keep, report).await?;
        self.exact(name, "rope_position_ids", &axes.collect::<Vec<_>>(), report)
            .await?;
        self.exact(
            name,
            "rope_delta",
            &[inputs.sequence.positions.delta],
            report,
        )
        .await?;
        for (visuals, grid, pixels) in [
            (&inputs.images, "image_grid_thw", "pixel_values"),
            (&inputs.videos, "video_grid_thw", "pixel_values_videos"),
        ] {
            let grids = visuals
                .iter()
                .flat_map(|visual| [visual.grid.t, visual.grid.h, visual.grid.w]);
            self.exact(
                name,
                grid,
                &grids.map(|side| side as i64).collect::<Vec<_>>(),
                report,
            )
            .await?;
            let all: Vec<f32> = visuals
                .iter()
                .flat_map(|visual| visual.pixel_values.iter().copied())
                .collect();
            self.pixels(name, pixels, &all, report).await?;
        }
        if let [first, second] = inputs.images.as_slice() {
            self.pixels(name, "pixel_values_second", &second.pixel_values, report)
                .await?;
            if self.case.golden.contains("out.image1.pixel_values") && name == "image2" {
                let (golden, _) = self.case.golden.f32("out.image1.pixel_values").await?;
                report.close_within(
                    "image2.pixel_values_first",
                    &first.pixel_values,
                    &golden,
                    PIXEL_TOLERANCE,
                );
            }
        }
        Ok(())
    }

    /// Every stage of the vision tower.
    pub async fn vision(&self, name: &str, visuals: &[Patches], report: &mut Report) -> Outcome {
        let Some(tower) = self.qwen.vision().filter(|_| !visuals.is_empty()) else {
            return Ok(());
        };
        let vision = &self.config.vision_config;
        let grids: Vec<_> = visuals.iter().map(|visual| visual.grid).collect();
        let layout = Layout::new(&grids, vision);
        let index: Vec<i64> = layout
            .window_index
            .iter()
            .map(|&merged| merged as i64)
            .collect();
        let ends = layout.window_lengths.iter().scan(0, |end, &length| {
            *end += length as i64;
            Some(*end)
        });
        self.exact(name, "vit.window_index", &index, report).await?;
        self.exact(
            name,
            "vit.cu_window_seqlens",
            &std::iter::once(0).chain(ends).collect::<Vec<_>>(),
            report,
        )
        .await?;
        self.close(name, "vit.rope_freqs", &layout.rope_freqs, report)
            .await?;

        let order = WindowOrder::new(&layout, vision, &self.case.device);
        let embedded = tower.embed(self.qwen.pixel_tensor(visuals));
        self.close_tensor(name, "vit.patch_embed", embedded.clone(), report)
            .await?;
        let mut x = order.enter(embedded);
        for block in 0..tower.blocks() {
            x = tower.block(block, x, &order);
            self.close_tensor(name, &format!("vit.block.{block}"), x.clone(), report)
                .await?;
        }
        self.close_tensor(name, "vit.before_merger", x.clone(), report)
            .await?;
        let merged = tower.merge(x);
        self.close_tensor(name, "vit.merger", merged.clone(), report)
            .await?;
        self.close_tensor(name, "vit.features", order.leave(merged), report)
            .await
    }

    /// States of the prompt, then greedy tokens and the states of those fed back.
    pub async fn answer(
        &self,
        name: &str,
        inputs: &Inputs,
        repetition_penalty: f64,
        report: &mut Report,
    ) -> Outcome {
        let (mut decoding, states) = self.qwen.read(inputs, &mut async || Ok(())).await?;
        let mut logits = self.case.values(decoding.logits(&states)).await?;
        self.close_tensor(name, "hidden_states_in", states, report)
            .await?;
        self.close(name, "logits_first", &logits, report).await?;

        let golden_name = format!("out.{name}.generated_ids");
        let (golden, _) = self.case.golden.i64(&golden_name).await?;
        let config = GenerationConfig {
            do_sample: false,
            repetition_penalty,
            ..GenerationConfig::default()
        };
        let mut sampler = Sampler::new(config, &inputs.sequence.ids, 0);
        let (mut ids, mut margins, mut fed): (Vec<i64>, Vec<f32>, Vec<Tensor<4>>) =
            (vec![], vec![], vec![]);
        while ids.len() < golden.len() {
            margins.push(margin(&logits));
            let token = sampler.next(logits.clone())?;
            ids.push(i64::from(token));
            if ids.len() < golden.len() {
                let states = decoding.feed(token, &mut async || Ok(())).await?;
                logits = self.case.values(decoding.logits(&states)).await?;
                fed.push(states);
            }
        }
        report.equal(&golden_name, &ids, &golden);
        let margin_name = format!("out.{name}.greedy_margin");
        if self.case.golden.contains(&margin_name) {
            let (golden, _) = self.case.golden.f32(&margin_name).await?;
            report.close_difference(&margin_name, &margins, &golden);
        }
        if !fed.is_empty() {
            self.close_tensor(name, "hidden_states_answer", Tensor::cat(fed, 2), report)
                .await?;
        }
        Ok(())
    }

    /// Compares exactly, where the golden has the tensor.
    pub async fn exact(
        &self,
        scope: &str,
        tensor: &str,
        ours: &[i64],
        report: &mut Report,
    ) -> Outcome {
        let name = format!("out.{scope}.{tensor}");
        if self.case.golden.contains(&name) {
            report.equal(&name, ours, &self.case.golden.i64(&name).await?.0);
        }
        Ok(())
    }

    async fn close(&self, scope: &str, tensor: &str, ours: &[f32], report: &mut Report) -> Outcome {
        let name = format!("out.{scope}.{tensor}");
        if self.case.golden.contains(&name) {
            report.close(&name, ours, &self.case.golden.f32(&name).await?.0);
        }
        Ok(())
    }

    async fn close_tensor<const D: usize>(
        &self,
        scope: &str,
        tensor: &str,
        ours: Tensor<D>,
        report: &mut Report,
    ) -> Outcome {
        let name = format!("out.{scope}.{tensor}");
        if self.case.golden.contains(&name) {
            let (_, shape) = self.case.golden.f32(&name).await?;
            report.equal(&format!("{name} shape"), &ours.dims()[..], &shape);
        }
        self.close(scope, tensor, &self.case.values(ours).await?, report)
            .await
    }

    pub async fn pixels(
        &self,
        scope: &str,
        tensor: &str,
        ours: &[f32],
        report: &mut Report,
    ) -> Outcome {
        let name = format!("out.{scope}.{tensor}");
        if self.case.golden.contains(&name) {
            report.close_within(
                &name,
                ours,
                &self.case.golden.f32(&name).await?.0,
                PIXEL_TOLERANCE,
            );
        }
        Ok(())
    }
}

/// How far the largest logit is above the second.
fn margin(logits: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &logit in logits {
        if logit > first {
            (first, second) = (logit, first);
        } else if logit > second {
            second = logit;
        }
    }
    first - second
}
