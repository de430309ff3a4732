//! One prompt through the model: what goes in and what comes out.

use burn::tensor::Tensor;
use x2i_core::config::{EncoderConfig, MiniCpmOConfig, Padding, PromptFormat};
use x2i_core::encoders::minicpm_o::input::{Inputs, Shown};
use x2i_core::encoders::minicpm_o::resampler::place_embeddings;
use x2i_core::encoders::minicpm_o::slices::{Grid, View};
use x2i_core::encoders::{EncodeOptions, Encoder, Family, MiniCpmO};
use x2i_core::model;
use x2i_core::request::{Conditioning, Prompt};
use x2i_core::weights::Component;

use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// What `pixel_values` and the tables may differ by: arithmetic on the host is the same everywhere.
const HOST_TOLERANCE: f32 = 1e-5;
/// The README's for the spectrogram, whose reference sums in f32.
const MEL_TOLERANCE: f32 = 1e-4;
/// Stands for one token of a picture or a sound.
const PLACEHOLDER: &str = "<unk>";

/// The model of the golden folder beside its numbers.
pub struct Model<'a> {
    pub case: &'a Case<'a>,
    pub minicpm: MiniCpmO,
    config: MiniCpmOConfig,
}

impl<'a> Model<'a> {
    pub async fn open(case: &'a Case<'a>) -> Fallible<Self> {
        let source = case.folder("");
        let part = model::read_encoder(&source, "").await?;
        let weights = model::open_weights(&source, Component::MiniCpmO, &part.weights).await?;
        let tokenizer = model::read_tokenizer(&source, &part).await?;
        let scope = weights.scope(&case.device);
        let Encoder::MiniCpmO(minicpm) = Encoder::load(&part, tokenizer, &scope).await? else {
            return Err("config.json is not MiniCPM-o's".into());
        };
        let EncoderConfig::MiniCpmO(config) = part.config else {
            return Err("config.json is not MiniCPM-o's".into());
        };
        Ok(Self {
            case,
            minicpm: *minicpm,
            config,
        })
    }

    /// The mel filters, and the sinusoids of a square of places.
    pub async fn tables(&self, report: &mut Report) -> Outcome {
        let bank = self.minicpm.log_mel().filter_bank();
        self.on_host("out.mel_filters", &bank, report).await?;
        let name = "out.resampler_pos_embed_8x8";
        if self.case.golden.contains(name) {
            let grid = Grid {
                rows: 8,
                columns: 8,
            };
            let places = place_embeddings(grid, self.config.decoder.hidden_size, &self.case.device);
            let places = self.case.values(places).await?;
            self.on_host(name, &places, report).await?;
        }
        Ok(())
    }

    pub fn prepare(&self, prompt: &Prompt, padding: Option<Padding>) -> Fallible<Inputs> {
        let options = EncodeOptions {
            conditioning: Conditioning::Prompt,
            prompt_format: PromptFormat::Plain,
            padding,
            input_image_size: None,
            max_new_tokens: 1,
            seed: 0,
            certainty: None,
            unknown: None,
        };
        Ok(self.minicpm.prepare(prompt, &options)?)
    }

    /// Every stage of a sub-case, as far as the golden has it.
    pub async fn compare(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        if !self.case.golden.contains(&format!("out.{name}.input_ids")) {
            report.note(format!("{name}: this golden set has no such sub-case"));
            return Ok(());
        }
        self.inputs(name, inputs, report).await?;
        self.vision(name, inputs, report).await?;
        self.audio(name, inputs, report).await?;
        self.states(name, inputs, report).await
    }

    /// Ids, mask, places of pictures and sounds, pixels and spectrograms.
    async fn inputs(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let sequence = &inputs.sequence;
        let ids: Vec<i64> = sequence.ids.iter().map(|&id| i64::from(id)).collect();
        self.exact(name, "input_ids", &ids, report).await?;
        let mask = format!("out.{name}.attention_mask");
        if self.case.golden.contains(&mask) {
            let keep: Vec<u8> = sequence.keep.iter().map(|&kept| u8::from(kept)).collect();
            report.equal(&mask, &keep, &self.case.golden.u8(&mask).await?.0);
        }
        self.bounds(name, inputs, report).await?;
        let views = views(inputs);
        let grids = views
            .iter()
            .flat_map(|view| [view.grid.rows, view.grid.columns]);
        let grids: Vec<i64> = grids.map(|side| side as i64).collect();
        self.exact(name, "tgt_sizes", &grids, report).await?;
        for (index, view) in views.iter().enumerate() {
            let tensor = format!("out.{name}.pixel_values.{index}");
            self.on_host(&tensor, &side_by_side(view), report).await?;
        }
        let clips = clips(inputs);
        let lengths: Vec<i64> = clips.iter().map(|mel| mel.frames as i64).collect();
        self.exact(name, "audio_feature_lens", &lengths, report)
            .await?;
        let longest = clips.iter().map(|mel| mel.frames).max().unwrap_or(0);
        let mut values = vec![];
        for mel in clips {
            for row in mel.values.chunks_exact(mel.frames) {
                values.extend_from_slice(row);
                values.resize(values.len() + longest - mel.frames, 0.0);
            }
        }
        let mel = format!("out.{name}.mel");
        if self.case.golden.contains(&mel) {
            let (golden, _) = self.case.golden.f32(&mel).await?;
            report.close_within(&mel, &values, &golden, MEL_TOLERANCE);
        }
        Ok(())
    }

    /// Where runs of placeholders begin and end: those of pictures and those of sounds together.
    async fn bounds(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let [images, sounds] =
            ["image_bound", "audio_bounds"].map(|bound| format!("out.{name}.{bound}"));
        if !(self.case.golden.contains(&images) && self.case.golden.contains(&sounds)) {
            return Ok(());
        }
        let mut golden = vec![];
        for bounds in [&images, &sounds] {
            let (bounds, _) = self.case.golden.i64(bounds).await?;
            golden.extend(bounds.chunks_exact(2).map(|pair| [pair[0], pair[1]]));
        }
        golden.sort_unstable();
        let placeholder = self.minicpm.tokenizer().token_to_id(PLACEHOLDER);
        let ids = inputs.sequence.ids.iter().enumerate();
        let mut runs: Vec<[i64; 2]> = vec![];
        for (index, _) in ids.filter(|(_, id)| Some(**id) == placeholder) {
            let index = index as i64;
            match runs.last_mut() {
                Some([_, end]) if *end == index => *end += 1,
                _ => runs.push([index, index + 1]),
            }
        }
        report.equal(&format!("{images} and {sounds}"), &runs, &golden);
        Ok(())
    }

    /// The prompt's hidden states, and the token that follows.
    async fn states(&self, name: &str, inputs: &Inputs, report: &mut Report) -> Outcome {
        let (decoding, states) = self.minicpm.read(inputs, &mut async || Ok(())).await?;
        let first_token = format!("out.{name}.first_token");
        if self.case.golden.contains(&first_token) {
            let logits = self.case.values(decoding.logits(&states)).await?;
            let largest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            let token = largest.map(|token| token as i64);
            report.equal(
                &first_token,
                token.as_slice(),
                &self.case.golden.i64(&first_token).await?.0,
            );
        }
        let layers = states.dims()[1];
        let last = states.clone().narrow(1, layers - 1, 1).squeeze_dim::<3>(1);
        self.close(name, "hidden_states_last", last, report).await?;
        self.close(name, "hidden_states", states, report).await
    }

    /// Compares exactly, where the golden has the tensor.
    async fn exact(&self, name: &str, tensor: &str, ours: &[i64], report: &mut Report) -> Outcome {
        let name = format!("out.{name}.{tensor}");
        if self.case.golden.contains(&name) {
            report.equal(&name, ours, &self.case.golden.i64(&name).await?.0);
        }
        Ok(())
    }

    /// Compares what no device computes, where the golden has the tensor.
    async fn on_host(&self, name: &str, ours: &[f32], report: &mut Report) -> Outcome {
        if self.case.golden.contains(name) {
            let (golden, _) = self.case.golden.f32(name).await?;
            report.close_within(name, ours, &golden, HOST_TOLERANCE);
        }
        Ok(())
    }

    /// Compares a tensor and its shape, where the golden has it.
    pub async fn close<const D: usize>(
        &self,
        name: &str,
        tensor: &str,
        ours: Tensor<D>,
        report: &mut Report,
    ) -> Outcome {
        let name = format!("out.{name}.{tensor}");
        if self.case.golden.contains(&name) {
            let (golden, shape) = self.case.golden.f32(&name).await?;
            report.equal(&format!("{name} shape"), &ours.dims()[..], &shape);
            report.close(&name, &self.case.values(ours).await?, &golden);
        }
        Ok(())
    }
}

/// All views, in reading order.
pub fn views(inputs: &Inputs) -> Vec<&View> {
    let images = inputs.shown.iter().filter_map(|shown| match shown {
        Shown::Image(image) => Some(&image.views),
        Shown::Audio(_) => None,
    });
    images.flatten().collect()
}

/// All clips, in reading order.
pub fn clips(inputs: &Inputs) -> Vec<&x2i_core::audio::log_mel::Mel> {
    let sounds = inputs.shown.iter().filter_map(|shown| match shown {
        Shown::Audio(clips) => Some(clips),
        Shown::Image(_) => None,
    });
    sounds.flatten().collect()
}

/// A view as the golden has it: `[3, patch, patch * patches]`, all patches in one row.
fn side_by_side(view: &View) -> Vec<f32> {
    let patches = view.grid.places();
    let pixels = view.pixel_values.len() / patches;
    let side = (pixels / 3).isqrt();
    let lines = (0..3 * side).flat_map(|line| {
        (0..patches).flat_map(move |patch| {
            let start = patch * pixels + line * side;
            &view.pixel_values[start..start + side]
        })
    });
    lines.copied().collect()
}
