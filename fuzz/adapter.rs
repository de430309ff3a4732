//! A small FLUX transformer, and LoRA files whose keys and shapes are written as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use x2i_core::config::FluxConfig;
use x2i_core::weights::{Component, MemorySource, Weights};

/// More numbers than this teach nothing and take long.
const MOST_NUMBERS: usize = 1 << 14;
/// So do more tensors.
const MOST_TENSORS: usize = 256;

/// A LoRA file as a text says it.
#[derive(Default)]
pub struct Adapter {
    /// Shape and numbers by key.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// An `adapter_config.json`.
    pub config: Option<String>,
    /// diffusers' config in the file's header.
    metadata: Option<String>,
}

impl Adapter {
    /// Reads lines: `KEY SIZE SIZE`, `KEY = NUMBER` for a tensor of one number, `{..` for an
    /// `adapter_config.json`, and `@{..` for the same in the file's header. None for a text that is too large.
    pub fn of(text: &str) -> Option<Self> {
        let mut adapter = Self::default();
        let mut numbers = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if line.starts_with('{') {
                adapter.config = Some(line.to_owned());
            } else if let Some(json) = line.strip_prefix('@') {
                adapter.metadata = Some(json.to_owned());
            } else {
                let (key, shape, values) = tensor(line)?;
                numbers += values.len();
                adapter.tensors.insert(key, (shape, values));
            }
        }
        (numbers <= MOST_NUMBERS && adapter.tensors.len() <= MOST_TENSORS).then_some(adapter)
    }

    /// The safetensors file.
    pub fn file(&self) -> Vec<u8> {
        let tensors = self.tensors.iter();
        let tensors = tensors
            .map(|(key, (shape, values))| (key.as_str(), shape.as_slice(), values.as_slice()));
        safetensors(tensors, self.metadata.as_deref())
    }
}

/// The tensor of a line; none for one that is too large.
fn tensor(line: &str) -> Option<(String, Vec<usize>, Vec<f32>)> {
    let mut words = line.split(' ');
    let key = words.next().unwrap_or_default().to_owned();
    if let Some(number) = line
        .split_once(" = ")
        .map(|(_, number)| number.parse().unwrap_or(f32::NAN))
    {
        return Some((key, vec![], vec![number]));
    }
    let shape: Vec<usize> = words.map_while(|word| word.parse().ok()).collect();
    let count = shape
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= MOST_NUMBERS)?;
    let values = (0..count).map(|at| (at * 37 % 11) as f32 / 8.0 - 0.625);
    Some((key, shape, values.collect()))
}

fn safetensors<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    metadata: Option<&str>,
) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), vec![]);
    if let Some(metadata) = metadata {
        header.insert(
            "__metadata__".into(),
            json!({ "lora_adapter_metadata": metadata }),
        );
    }
    for (key, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert(key.to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// Sizes of the transformer.
pub fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 4,
        num_layers: 1,
        num_single_layers: 1,
        attention_head_dim: 4,
        num_attention_heads: 2,
        joint_attention_dim: 8,
        pooled_projection_dim: 8,
        guidance_embeds: false,
        axes_dims_rope: vec![0, 2, 2],
    }
}

/// The transformer.
pub fn transformer() -> Weights {
    let stream = |stream: &str| {
        let layers: [(&str, &[usize]); 6] = [
            ("mod.lin", &[48, 8]),
            ("attn.qkv", &[24, 8]),
            ("attn.proj", &[8, 8]),
            ("mlp.0", &[32, 8]),
            ("mlp.2", &[8, 32]),
            ("attn.norm", &[4]),
        ];
        layers.map(|(layer, shape)| (format!("double_blocks.0.{stream}_{layer}"), shape))
    };
    let own: [(&str, &[usize]); 12] = [
        ("img_in", &[8, 4]),
        ("txt_in", &[8, 8]),
        ("time_in.in_layer", &[8, 256]),
        ("time_in.out_layer", &[8, 8]),
        ("vector_in.in_layer", &[8, 8]),
        ("vector_in.out_layer", &[8, 8]),
        ("single_blocks.0.modulation.lin", &[24, 8]),
        ("single_blocks.0.linear1", &[56, 8]),
        ("single_blocks.0.linear2", &[8, 40]),
        ("single_blocks.0.norm", &[4]),
        ("final_layer.linear", &[4, 8]),
        ("final_layer.adaLN_modulation.1", &[16, 8]),
    ];
    let own = own.map(|(layer, shape)| (layer.to_owned(), shape));
    let mut tensors: BTreeMap<String, (&[usize], Vec<f32>)> = BTreeMap::new();
    for (layer, shape) in stream("img").into_iter().chain(stream("txt")).chain(own) {
        let ends: &[(&str, &[usize])] = match shape.len() {
            1 => &[("query_norm.scale", shape), ("key_norm.scale", shape)],
            _ => &[("weight", shape), ("bias", &shape[..1])],
        };
        for (end, shape) in ends {
            let count: usize = shape.iter().product();
            tensors.insert(format!("{layer}.{end}"), (shape, vec![0.125; count]));
        }
    }
    let tensors = tensors
        .iter()
        .map(|(name, (shape, values))| (name.as_str(), *shape, values.as_slice()));
    let source = MemorySource::new("transformer", safetensors(tensors, None));
    let weights = Weights::open("transformer", Component::Flux, vec![Arc::new(source)]);
    pollster::block_on(weights).expect("a transformer")
}
