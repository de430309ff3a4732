//! Low-rank changes of a FLUX in every naming of LoRA files, and the same changes merged.
//!
//! The changes are made up; what they must do is known: `W + scale · alpha / rank · B A`.

use std::sync::Arc;

use x2i_core::Lora;
use x2i_core::config::FluxConfig;
use x2i_core::weights::{Component, MemorySource, StoredType, Weights};

use crate::case::Fallible;
use crate::quantized::{self, Stored};

/// Beside or merged, sums of f32 in another order; the share of the largest velocity.
pub const TOLERANCE: f32 = 1e-4;
const RANK: usize = 4;
/// Not the rank, so that a forgotten alpha shows.
const ALPHA: f32 = 6.0;
/// As `--lora FILE:0.7`.
const SCALE: f32 = 0.7;

/// A way to write the same changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    Diffusers,
    Peft,
    Kohya,
    OneTrainer,
    Bfl,
    ComfyUi,
    XLabs,
}

impl Naming {
    pub const ALL: [Self; 7] = [
        Self::Diffusers,
        Self::Peft,
        Self::Kohya,
        Self::OneTrainer,
        Self::Bfl,
        Self::ComfyUi,
        Self::XLabs,
    ];

    /// Whether q, k, v and the MLP's input are modules of their own.
    fn is_split(self) -> bool {
        matches!(self, Self::Diffusers | Self::Peft | Self::OneTrainer)
    }

    /// What training with it writes as alpha; without one it is the rank.
    fn alpha(self) -> Option<f32> {
        let written = matches!(
            self,
            Self::Diffusers | Self::Kohya | Self::OneTrainer | Self::ComfyUi
        );
        written.then_some(ALPHA)
    }

    fn key(self, module: &str) -> String {
        match self {
            Self::Diffusers => format!("transformer.{module}"),
            Self::Peft => format!("base_model.model.{module}"),
            Self::Kohya => format!("lora_unet_{}", module.replace('.', "_")),
            Self::OneTrainer => format!("lora_transformer_{}", module.replace('.', "_")),
            Self::ComfyUi => format!("diffusion_model.{module}"),
            Self::Bfl | Self::XLabs => module.to_owned(),
        }
    }

    fn halves(self) -> [&'static str; 2] {
        match self {
            Self::Diffusers | Self::Peft | Self::Bfl => ["lora_A.weight", "lora_B.weight"],
            Self::Kohya | Self::OneTrainer | Self::ComfyUi => {
                ["lora_down.weight", "lora_up.weight"]
            }
            Self::XLabs => ["down.weight", "up.weight"],
        }
    }
}

/// A change of some rows of one of our matrices.
struct Change {
    /// The module in diffusers, whose rows they are.
    diffusers: String,
    /// Our layer.
    layer: String,
    first: usize,
    rows: usize,
    columns: usize,
}

/// A pair of matrices `[rank, columns]` and `[rows, rank]`.
struct Pair {
    rank: usize,
    down: Vec<f32>,
    up: Vec<f32>,
}

impl Change {
    /// Numbers that are the same in every naming.
    fn pair(&self) -> Pair {
        let seed = self.diffusers.bytes().fold(7u32, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let spread = (self.columns as f32).sqrt().recip();
        Pair {
            rank: RANK,
            down: (0..RANK * self.columns).map(|_| next() * spread).collect(),
            up: (0..self.rows * RANK).map(|_| next()).collect(),
        }
    }

    /// The pair as a change of all `out` rows.
    fn whole(&self, out: usize) -> Pair {
        let Pair { rank, down, up } = self.pair();
        let mut all = vec![0.0; out * rank];
        all[self.first * rank..][..up.len()].copy_from_slice(&up);
        Pair {
            rank,
            down,
            up: all,
        }
    }

    /// x-labs' module, where it has one.
    fn x_labs(&self) -> Option<String> {
        let (block, layer) = self.layer.rsplit_once(['.']).unwrap_or(("", &self.layer));
        let place = |block: &str, module| Some(format!("{block}.processor.{module}"));
        let double = |stream, module| place(block.strip_suffix(stream)?, module);
        match layer {
            "qkv" => double(".img_attn", "qkv_lora1").or_else(|| double(".txt_attn", "qkv_lora2")),
            "proj" => {
                double(".img_attn", "proj_lora1").or_else(|| double(".txt_attn", "proj_lora2"))
            }
            "linear1" if !self.diffusers.ends_with("proj_mlp") => place(block, "qkv_lora"),
            "linear2" => place(block, "proj_lora"),
            _ => None,
        }
    }
}

/// Some rows of every kind of layer, in the first and the last blocks, that a naming can write.
fn changes(config: &FluxConfig, weights: &Weights, naming: Naming) -> Vec<Change> {
    let (last, last_single) = (config.num_layers - 1, config.num_single_layers - 1);
    let hidden = config.hidden_size();
    let piece = |index: usize| index * hidden..(index + 1) * hidden;
    let all = 0..usize::MAX;
    let (double, single) = ("transformer_blocks", "single_transformer_blocks");
    let wanted = [
        (
            format!("{double}.0.attn.to_q"),
            "double_blocks.0.img_attn.qkv".into(),
            piece(0),
        ),
        (
            format!("{double}.0.attn.to_v"),
            "double_blocks.0.img_attn.qkv".into(),
            piece(2),
        ),
        (
            format!("{double}.{last}.attn.add_k_proj"),
            format!("double_blocks.{last}.txt_attn.qkv"),
            piece(1),
        ),
        (
            format!("{double}.{last}.attn.to_out.0"),
            format!("double_blocks.{last}.img_attn.proj"),
            all.clone(),
        ),
        (
            format!("{double}.{last}.attn.to_add_out"),
            format!("double_blocks.{last}.txt_attn.proj"),
            all.clone(),
        ),
        (
            format!("{double}.0.ff_context.net.2"),
            "double_blocks.0.txt_mlp.2".into(),
            all.clone(),
        ),
        (
            format!("{double}.0.norm1.linear"),
            "double_blocks.0.img_mod.lin".into(),
            all.clone(),
        ),
        (
            format!("{single}.0.attn.to_k"),
            "single_blocks.0.linear1".into(),
            piece(1),
        ),
        (
            format!("{single}.0.proj_mlp"),
            "single_blocks.0.linear1".into(),
            3 * hidden..usize::MAX,
        ),
        (
            format!("{single}.{last_single}.proj_out"),
            format!("single_blocks.{last_single}.linear2"),
            all.clone(),
        ),
        ("x_embedder".into(), "img_in".into(), all.clone()),
        (
            "time_text_embed.timestep_embedder.linear_1".into(),
            "time_in.in_layer".into(),
            all.clone(),
        ),
        (
            "norm_out.linear".into(),
            "final_layer.adaLN_modulation.1".into(),
            all,
        ),
    ];
    let changes = wanted.into_iter().filter_map(|(diffusers, layer, rows)| {
        let &[out, columns] = weights.shape(&format!("{layer}.weight"))?.as_slice() else {
            return None;
        };
        Some(Change {
            diffusers,
            layer,
            first: rows.start,
            rows: rows.end.min(out) - rows.start,
            columns,
        })
    });
    changes
        .filter(|change| naming != Naming::XLabs || change.x_labs().is_some())
        .collect()
}

/// The layers of `changes`, in order.
fn layers(changes: &[Change]) -> Vec<&str> {
    let mut layers: Vec<&str> = changes.iter().map(|change| change.layer.as_str()).collect();
    layers.dedup();
    layers
}

/// A LoRA file of the changes, opened.
pub async fn file(config: &FluxConfig, weights: &Weights, naming: Naming) -> Fallible<Arc<Lora>> {
    let changes = changes(config, weights, naming);
    let mut tensors = vec![];
    let [down_key, up_key] = naming.halves();
    let mut add =
        |module: &str, Pair { rank, down, up }: Pair, columns: usize, alpha: Option<f32>| {
            let key = naming.key(module);
            let rows = up.len() / rank;
            tensors.push((format!("{key}.{down_key}"), vec![rank, columns], down));
            tensors.push((format!("{key}.{up_key}"), vec![rows, rank], up));
            tensors.extend(alpha.map(|alpha| (format!("{key}.alpha"), vec![], vec![alpha])));
            if naming == Naming::Bfl {
                tensors.push((format!("{key}.lora_B.bias"), vec![rows], bias(rows)));
            }
        };
    if naming.is_split() {
        for change in &changes {
            let mut pair = change.pair();
            if change.diffusers == "norm_out.linear" {
                pair.up.rotate_left(change.rows / 2 * RANK);
            }
            add(&change.diffusers, pair, change.columns, naming.alpha());
        }
    } else {
        for layer in layers(&changes) {
            let same: Vec<&Change> = changes.iter().filter(|c| c.layer == layer).collect();
            let module = match naming {
                Naming::XLabs => same[0].x_labs().ok_or("x-labs has no such layer")?,
                _ => layer.to_owned(),
            };
            // x-labs' change of a single block's queries, keys and values has their rows alone.
            let out = match naming == Naming::XLabs && layer.ends_with("linear1") {
                true => 3 * config.hidden_size(),
                false => weights
                    .shape(&format!("{layer}.weight"))
                    .ok_or("no such layer")?[0],
            };
            let pairs: Vec<Pair> = same.iter().map(|change| change.whole(out)).collect();
            let alpha = naming.alpha().map(|alpha| alpha * pairs.len() as f32);
            add(&module, fuse(pairs, out), same[0].columns, alpha);
        }
    }
    let source = MemorySource::new("lora.safetensors", safetensors(&tensors));
    Ok(Arc::new(Lora::open(Arc::new(source), SCALE).await?))
}

/// One pair of the sum of the ranks that does what all do.
fn fuse(pairs: Vec<Pair>, out: usize) -> Pair {
    let rank = pairs.iter().map(|pair| pair.rank).sum::<usize>();
    let row = |row: usize| {
        let rows = pairs
            .iter()
            .map(move |pair| &pair.up[row * pair.rank..][..pair.rank]);
        rows.flatten().copied().collect::<Vec<f32>>()
    };
    Pair {
        rank,
        up: (0..out).flat_map(row).collect(),
        down: pairs.iter().flat_map(|pair| pair.down.clone()).collect(),
    }
}

/// What BFL's files add with a pair.
fn bias(rows: usize) -> Vec<f32> {
    (0..rows)
        .map(|row| (row % 7) as f32 * 0.01 - 0.03)
        .collect()
}

/// The same weights with the changes that a file of this naming holds merged into them.
pub async fn merged(config: &FluxConfig, weights: &Weights, naming: Naming) -> Fallible<Weights> {
    let changes = changes(config, weights, naming);
    let factor = SCALE * naming.alpha().map_or(1.0, |alpha| alpha / RANK as f32);
    let mut tensors: Vec<Stored<'_>> = vec![];
    for name in weights.names() {
        let tensor = weights.read(name).await?;
        let mut values = tensor.to_f32();
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        for change in changes.iter().filter(|change| change.layer == layer) {
            if name.ends_with(".weight") {
                let pair = change.pair();
                let rows = &mut values[change.first * change.columns..];
                for (row, up) in rows
                    .chunks_exact_mut(change.columns)
                    .zip(pair.up.chunks_exact(RANK))
                {
                    for (down, &up) in pair.down.chunks_exact(change.columns).zip(up) {
                        for (weight, &down) in row.iter_mut().zip(down) {
                            *weight += factor * up * down;
                        }
                    }
                }
            }
        }
        if naming == Naming::Bfl && name.ends_with(".bias") && layers(&changes).contains(&layer) {
            for (value, bias) in values.iter_mut().zip(bias(tensor.shape[0])) {
                *value += SCALE * bias;
            }
        }
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        tensors.push((name, StoredType::F32, tensor.shape, bytes));
    }
    quantized::file(Component::Flux, tensors).await
}

/// A safetensors file of f32 tensors.
fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut data = vec![];
    let mut header = serde_json::Map::new();
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &data].concat()
}
