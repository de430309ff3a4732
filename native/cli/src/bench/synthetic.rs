//! Generated weights: a safetensors file of any shapes whose numbers are computed when they are read,
//! so that a stack of full width needs no download and no second copy.
//!
//! The numbers are distributed like trained weights, since the error of quantizing them is measured:
//! normal, and scaled so that activations keep their size from layer to layer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use serde_json::json;
use x2i_core::config::FluxConfig;
use x2i_core::weights::{LocalBoxFuture, StoredType, WeightSource, quant};
use x2i_core::{Error, Result};

/// Bytes of a bf16 number.
const SIZE: u64 = 2;

/// A file of bf16 tensors with pseudo-random numbers.
pub struct SyntheticSource {
    header: Vec<u8>,
    length: u64,
    /// The index of each tensor's first number in the file, and the distribution of its numbers.
    tensors: Vec<(u64, Spread)>,
}

/// A normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub mean: f32,
    pub deviation: f32,
}

impl Spread {
    /// The distribution for a tensor of this name and shape, in any model.
    pub fn of(name: &str, shape: &[usize]) -> Self {
        let (mean, deviation) = match shape {
            [_, inner @ ..] if !inner.is_empty() => {
                let inputs = inner.iter().product::<usize>() as f32;
                // Modulations are small, so that no block dominates the others.
                let gain = if name.contains("mod") { 0.5 } else { 1.0 };
                (0.0, gain / inputs.sqrt())
            }
            _ if name.ends_with(".bias") => (0.0, 0.02),
            _ => (1.0, 0.1), // a norm's scale
        };
        Self { mean, deviation }
    }
}

impl SyntheticSource {
    /// A file of these tensors.
    pub fn new(shapes: &[(String, Vec<usize>)]) -> Self {
        let mut entries = BTreeMap::new();
        let mut tensors = Vec::with_capacity(shapes.len());
        let mut end = 0;
        for (name, shape) in shapes {
            let begin = end;
            end += SIZE * shape.iter().product::<usize>() as u64;
            tensors.push((begin / SIZE, Spread::of(name, shape)));
            entries.insert(
                name,
                json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}),
            );
        }
        let mut json = json!(entries).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut header = (json.len() as u64).to_le_bytes().to_vec();
        header.append(&mut json);
        let length = header.len() as u64 + end;
        Self {
            header,
            length,
            tensors,
        }
    }

    /// The numbers with the indices `range` in the file.
    fn numbers(&self, range: Range<u64>) -> Vec<f32> {
        let mut values = Vec::with_capacity((range.end - range.start) as usize);
        let mut next = range.start;
        while next < range.end {
            let after = self.tensors.partition_point(|(first, _)| *first <= next);
            let (_, Spread { mean, deviation }) = self.tensors[after - 1];
            let end = self
                .tensors
                .get(after)
                .map_or(range.end, |(first, _)| range.end.min(*first));
            let numbers = (next as usize..end as usize).into_par_iter();
            values.par_extend(numbers.map(|index| mean + deviation * normal(index as u64)));
            next = end;
        }
        values
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
            && (range.start - header).is_multiple_of(SIZE)
            && (range.end - header).is_multiple_of(SIZE)
        {
            let numbers = (range.start - header) / SIZE..(range.end - header) / SIZE;
            Ok(Cow::Owned(quant::quantize(
                &self.numbers(numbers),
                StoredType::BF16,
            )))
        } else {
            Err(Error::format(
                "synthetic",
                "only the header or whole numbers can be read",
            ))
        };
        Box::pin(std::future::ready(bytes))
    }
}

/// The `index`-th number of an approximately normal sequence: the sum of the four 16-bit parts of
/// SplitMix64's output, with mean 0 and standard deviation 1, and none beyond 3.5.
pub fn normal(index: u64) -> f32 {
    let z = bits(index);
    let sum: u64 = [0, 16, 32, 48]
        .iter()
        .map(|shift| z >> shift & 0xffff)
        .sum();
    const MEAN: f32 = 2.0 * 65_535.0;
    const DEVIATION: f32 = 37_837.23; // 65,536 / sqrt(3)
    (sum as f32 - MEAN) / DEVIATION
}

/// The `index`-th output of SplitMix64.
pub fn bits(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The tensors of a FLUX transformer, with the names of its checkpoint.
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

    fn read(source: &SyntheticSource, range: Range<u64>) -> Vec<f32> {
        let bytes = pollster::block_on(source.read(range)).expect("whole numbers inside the file");
        quant::dequantize(&bytes, StoredType::BF16)
    }

    #[test]
    fn numbers_have_mean_0_and_deviation_1() {
        let count = 100_000;
        let numbers: Vec<f32> = (0..count).map(normal).collect();
        let mean = numbers.iter().sum::<f32>() / count as f32;
        let square = numbers.iter().map(|x| x * x).sum::<f32>() / count as f32;
        // Three standard deviations of each estimate at this count.
        assert!(
            mean.abs() < 0.01 && (square - 1.0).abs() < 0.013,
            "{mean} {square}"
        );
        assert!(numbers.iter().all(|number| number.abs() < 3.5));
    }

    #[test]
    fn a_matrix_keeps_the_size_of_what_it_multiplies() {
        let spread = |name, shape: &[usize]| Spread::of(name, shape);
        assert_eq!(spread("a.weight", &[8, 64]).deviation, 0.125);
        assert_eq!(spread("a.weight", &[8, 4, 4, 4]).deviation, 0.125);
        assert_eq!(spread("a_mod.lin.weight", &[8, 64]).deviation, 0.0625);
        assert_eq!(spread("a.query_norm.scale", &[64]).mean, 1.0);
        assert_eq!(spread("a.bias", &[64]).mean, 0.0);
    }

    #[test]
    fn parts_of_the_file_are_the_parts_of_the_whole() {
        let shapes = [
            ("a.weight", vec![3, 4]),
            ("a.bias", vec![3]),
            ("b.scale", vec![5]),
        ];
        let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape));
        let source = SyntheticSource::new(&shapes);
        let start = source.header.len() as u64;
        let whole = read(&source, start..source.len());
        assert_eq!(whole.len(), 20);
        for (first, last) in [(0, 20), (2, 13), (12, 15), (14, 20), (7, 7)] {
            let part = read(&source, start + 2 * first..start + 2 * last);
            assert_eq!(part, whole[first as usize..last as usize]);
        }
    }
}
