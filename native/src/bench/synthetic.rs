//! Weights out of nothing: a safetensors file of any shapes whose numbers are made when they are
//! read, so that a stack of full width needs no download and no second copy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::json;
use x2i_core::config::FluxConfig;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

/// A file of f32 tensors with pseudo-random numbers in -0.02..0.02.
pub struct SyntheticSource {
    header: Vec<u8>,
    length: u64,
}

impl SyntheticSource {
    /// A file of these tensors.
    pub fn new(shapes: &[(String, Vec<usize>)]) -> Self {
        let mut entries = BTreeMap::new();
        let mut end = 0;
        for (name, shape) in shapes {
            let begin = end;
            end += 4 * shape.iter().product::<usize>();
            entries.insert(
                name,
                json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}),
            );
        }
        let mut json = json!(entries).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        let length = (header.len() + end) as u64;
        Self { header, length }
    }
}

impl WeightSource for SyntheticSource {
    fn name(&self) -> &str {
        "synthetic"
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let header = self.header.len() as u64;
        let bytes = if range.end > self.length {
            Err(Error::format("synthetic", "read behind the end"))
        } else if range.end <= header {
            Ok(Cow::Borrowed(
                &self.header[range.start as usize..range.end as usize],
            ))
        } else if range.start >= header
            && (range.start - header).is_multiple_of(4)
            && (range.end - header).is_multiple_of(4)
        {
            let elements = (range.start - header) / 4..(range.end - header) / 4;
            Ok(Cow::Owned(
                elements
                    .flat_map(|index| number(index).to_le_bytes())
                    .collect(),
            ))
        } else {
            Err(Error::format(
                "synthetic",
                "only the header or whole numbers can be read",
            ))
        };
        Box::pin(std::future::ready(bytes))
    }
}

/// SplitMix64's mix of the index, as a number in -0.02..0.02.
fn number(index: u64) -> f32 {
    let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.04
}

/// The tensors of a FLUX transformer in the names of its checkpoint.
pub fn flux_shapes(config: &FluxConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size();
    let mlp = config.mlp_size();
    let head = config.attention_head_dim;
    let mut shapes = Vec::new();
    let mut linear = |name: String, output: usize, input: usize| {
        shapes.push((format!("{name}.weight"), vec![output, input]));
        shapes.push((format!("{name}.bias"), vec![output]));
    };
    linear("img_in".into(), hidden, config.in_channels);
    linear("txt_in".into(), hidden, config.joint_attention_dim);
    let mut embedders = vec![
        ("time_in", 256),
        ("vector_in", config.pooled_projection_dim),
    ];
    if config.guidance_embeds {
        embedders.push(("guidance_in", 256));
    }
    for (name, input) in embedders {
        linear(format!("{name}.in_layer"), hidden, input);
        linear(format!("{name}.out_layer"), hidden, hidden);
    }
    for (block, stream) in (0..config.num_layers).flat_map(|block| [(block, "img"), (block, "txt")])
    {
        let prefix = format!("double_blocks.{block}.{stream}");
        linear(format!("{prefix}_mod.lin"), 6 * hidden, hidden);
        linear(format!("{prefix}_attn.qkv"), 3 * hidden, hidden);
        linear(format!("{prefix}_attn.proj"), hidden, hidden);
        linear(format!("{prefix}_mlp.0"), mlp, hidden);
        linear(format!("{prefix}_mlp.2"), hidden, mlp);
    }
    for block in 0..config.num_single_layers {
        let prefix = format!("single_blocks.{block}");
        linear(format!("{prefix}.modulation.lin"), 3 * hidden, hidden);
        linear(format!("{prefix}.linear1"), 3 * hidden + mlp, hidden);
        linear(format!("{prefix}.linear2"), hidden, hidden + mlp);
    }
    linear("final_layer.linear".into(), config.in_channels, hidden);
    linear("final_layer.adaLN_modulation.1".into(), 2 * hidden, hidden);
    let mut norms: Vec<String> = Vec::new();
    for (block, stream) in (0..config.num_layers).flat_map(|block| [(block, "img"), (block, "txt")])
    {
        norms.push(format!("double_blocks.{block}.{stream}_attn.norm"));
    }
    norms.extend((0..config.num_single_layers).map(|block| format!("single_blocks.{block}.norm")));
    for norm in norms {
        shapes.push((format!("{norm}.query_norm.scale"), vec![head]));
        shapes.push((format!("{norm}.key_norm.scale"), vec![head]));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_small_and_differ() {
        let numbers: Vec<f32> = (0..1000).map(number).collect();
        assert!(numbers.iter().all(|number| number.abs() <= 0.02));
        let mean = numbers.iter().sum::<f32>() / 1000.0;
        assert!(
            mean.abs() < 0.002 && numbers.windows(2).all(|pair| pair[0] != pair[1]),
            "{mean}"
        );
    }
}
