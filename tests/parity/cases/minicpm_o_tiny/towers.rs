//! Every stage of the vision tower, the resampler and the audio tower.

use burn::tensor::Tensor;
use x2i_core::encoders::minicpm_o::input::Inputs;

use super::model::{Model, clips, views};
use crate::case::Outcome;
use crate::report::Report;

impl Model<'_> {
    /// Views one by one; the golden's are padded to one length.
    pub async fn vision(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let Some((tower, resampler)) = self.minicpm.vision() else {
            return Ok(());
        };
        let (mut seen, mut tokens) = (vec![], vec![]);
        let views = views(inputs);
        for view in &views {
            let mut x = tower.embed(&[view]);
            let alone = views.len() == 1;
            if alone {
                self.close(name, "vpm.embeddings", x.clone(), report)
                    .await?;
            }
            for layer in 0..tower.layers() {
                x = tower.layer(layer, x);
                if alone {
                    let tensor = format!("vpm.layer.{layer}.h");
                    self.close(name, &tensor, x.clone(), report).await?;
                }
            }
            x = tower.finish(x);
            seen.push(x.clone());
            let projected = resampler.project(x);
            let found = resampler.attend(projected.clone(), view.grid);
            if alone {
                self.close(name, "resampler.kv_proj", projected, report)
                    .await?;
                let queries_first = found.clone().swap_dims(0, 1);
                self.close(name, "resampler.attn.out", queries_first, report)
                    .await?;
            }
            tokens.push(resampler.finish(found));
        }
        if tokens.is_empty() {
            return Ok(());
        }
        self.last_states(name, seen, report).await?;
        self.close(name, "resampler.out", Tensor::cat(tokens, 0), report)
            .await
    }

    /// The tower's output, patch by patch; rows of padding are compared with nothing.
    async fn last_states(&self, name: &str, seen: Vec<Tensor<3>>, report: &mut Report) -> Outcome {
        let name = format!("out.{name}.vpm.last_hidden_state");
        if !self.case.golden.contains(&name) {
            return Ok(());
        }
        let (golden, shape) = self.case.golden.f32(&name).await?;
        report.equal(&format!("{name} views"), &seen.len(), &shape[0]);
        let (mut ours, mut kept) = (vec![], vec![]);
        for (x, golden) in seen
            .into_iter()
            .zip(golden.chunks_exact(shape[1] * shape[2]))
        {
            let values = self.case.values(x).await?;
            kept.extend_from_slice(&golden[..values.len()]);
            ours.extend(values);
        }
        report.close(&name, &ours, &kept);
        Ok(())
    }

    /// Clips one by one, all as long as the longest.
    pub async fn audio(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let Some(tower) = self.minicpm.audio() else {
            return Ok(());
        };
        let clips = clips(inputs);
        let longest = clips.iter().map(|mel| mel.frames).max().unwrap_or(0);
        let (mut heard, mut pooled) = (vec![], vec![]);
        for mel in &clips {
            let alone = clips.len() == 1;
            if alone {
                let [first, second] = tower.convolve(mel, longest);
                for (tensor, x) in [("apm.conv1", first), ("apm.conv2", second)] {
                    self.close(name, tensor, x.swap_dims(1, 2), report).await?;
                }
            }
            let mut x = tower.embed(mel, longest);
            let mask = tower.mask(mel.frames, longest);
            for layer in 0..tower.layers() {
                x = tower.layer(layer, x, mask.clone());
                if alone {
                    let tensor = format!("apm.layer.{layer}.h");
                    self.close(name, &tensor, x.clone(), report).await?;
                }
            }
            x = tower.finish(x);
            let projected = tower.project(x.clone());
            if alone {
                self.close(name, "audio_projection", projected.clone(), report)
                    .await?;
            }
            heard.push(x);
            pooled.push(tower.pool(projected).swap_dims(1, 2));
        }
        if heard.is_empty() {
            return Ok(());
        }
        self.close(name, "apm.out", Tensor::cat(heard, 0), report)
            .await?;
        self.close(name, "audio_pooled_T", Tensor::cat(pooled, 0), report)
            .await
    }
}
