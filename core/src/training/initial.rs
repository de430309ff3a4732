//! How a fresh AlignNet or LightControl starts.
//!
//! Source: X2I, which leaves it to PyTorch: uniform within `1 / sqrt(fan in)` for weights and biases of convolutions and
//! linear layers, ones and zeros for norms, xavier's normal for AlignNet's `cha_scale`. LightControl starts at zero
//! here, as ControlNets do: its last convolution gives nothing at first. In the reference it disturbs the picture from
//! the first step on.

use super::Parameters;
use crate::config::{AlignNetConfig, Mix};
use crate::flux::noise::TorchRng;

/// What a tensor starts as.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    Value(f32),
    /// Within `1 / sqrt(fan in)`.
    Uniform {
        fan_in: usize,
    },
    Normal {
        deviation: f32,
    },
}

/// Adds tensors one after the other, from one generator.
struct Tensors {
    random: TorchRng,
    all: Parameters,
}

impl Tensors {
    fn add(&mut self, name: impl Into<String>, shape: &[usize], fill: Fill) {
        let count = shape.iter().product();
        let values = match fill {
            Fill::Value(value) => vec![value; count],
            Fill::Uniform { fan_in } => {
                let bound = (fan_in as f32).sqrt().recip();
                let uniforms = self.random.uniforms(count).into_iter();
                uniforms.map(|value| (value * 2.0 - 1.0) * bound).collect()
            }
            Fill::Normal { deviation } => {
                let normals = self.random.randn(count).into_iter();
                normals.map(|value| value * deviation).collect()
            }
        };
        self.all.insert(name, shape.to_vec(), values);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width], Fill::Value(1.0));
        self.add(format!("{name}.bias"), &[width], Fill::Value(0.0));
    }

    /// A linear layer or a convolution with its bias.
    fn layer(&mut self, name: &str, shape: &[usize]) {
        let fan_in = shape[1..].iter().product();
        self.add(format!("{name}.weight"), shape, Fill::Uniform { fan_in });
        self.add(
            format!("{name}.bias"),
            &shape[..1],
            Fill::Uniform { fan_in },
        );
    }
}

/// A fresh AlignNet by a seed; `None` for one with a T5 stack, which X2I never trained.
pub fn align_net(config: &AlignNetConfig, seed: u64) -> Option<Parameters> {
    if config.t5.is_some() {
        return None;
    }
    let &AlignNetConfig {
        in_channels: layers,
        input_dim,
        pooled_dim,
        text_dim,
        ..
    } = config;
    let mut tensors = Tensors {
        random: TorchRng::new(seed),
        all: Parameters::default(),
    };
    match config.mix {
        Mix::Conv { kernel } => tensors.layer("conv", &[1, layers, kernel, kernel]),
        Mix::Scale => {
            let deviation = (2.0 / (layers as f32 + 1.0)).sqrt();
            tensors.add("cha_scale", &[1, layers, 1, 1], Fill::Normal { deviation });
        }
        Mix::Mean => {}
    }
    tensors.norm("mlp.layernorm", input_dim);
    for (name, input) in [
        ("mlp.projector.0", input_dim),
        ("mlp.projector.2", text_dim),
    ] {
        let fill = Fill::Uniform { fan_in: input };
        tensors.add(format!("{name}.weight"), &[text_dim, input], fill);
    }
    tensors.layer("mlp.fc.1", &[pooled_dim, text_dim]);
    Some(tensors.all)
}

/// Makes a fresh AlignNet's mix nearly the sum of the language model's first and last layer, which say what a prompt's words
/// are and mean; nothing of one without a mix that learns. For states of like sizes in all layers.
pub fn mix_of_ends(parameters: &mut Parameters) {
    for (name, mix) in parameters.iter_mut() {
        if !["conv.weight", "cha_scale"].contains(&name) {
            continue;
        }
        mix.values.iter_mut().for_each(|value| *value *= 0.1);
        let [_, layers, rows, columns] = mix.shape[..] else {
            continue;
        };
        let middle = rows / 2 * columns + columns / 2;
        for layer in [0, layers - 1] {
            mix.values[layer * rows * columns + middle] += 1.0;
        }
    }
}

/// Sizes of LightControl's nets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LightControlSizes {
    /// Nets, one for each of the first double blocks.
    pub nets: usize,
    /// The transformer's width.
    pub hidden: usize,
    /// Channels of the first convolutions.
    pub embedding: [usize; 3],
    /// Channels that each stage gives.
    pub stages: Vec<usize>,
    /// Width of the noise level's embedding.
    pub time: usize,
}

/// Channels of the noise level's sines and cosines.
const TIME_CHANNELS: usize = 128;

/// Fresh nets by a seed. With `zero_start` the last convolutions are zeros.
pub fn light_control(sizes: &LightControlSizes, zero_start: bool, seed: u64) -> Parameters {
    let mut tensors = Tensors {
        random: TorchRng::new(seed),
        all: Parameters::default(),
    };
    for net in 0..sizes.nets {
        control_net(&mut tensors, sizes, zero_start, net);
    }
    tensors.all
}

fn control_net(tensors: &mut Tensors, sizes: &LightControlSizes, zero_start: bool, net: usize) {
    let time = sizes.time;
    tensors.layer(
        &format!("{net}.time_embedding.linear_1"),
        &[time, TIME_CHANNELS],
    );
    tensors.layer(&format!("{net}.time_embedding.linear_2"), &[time, time]);
    let mut input = 3;
    for (index, output) in [0, 3, 6].into_iter().zip(sizes.embedding) {
        tensors.layer(&format!("{net}.embedding.{index}"), &[output, input, 3, 3]);
        tensors.norm(&format!("{net}.embedding.{}", index + 1), output);
        input = output;
    }
    for (stage, &output) in sizes.stages.iter().enumerate() {
        let res = format!("{net}.down_res.{stage}");
        tensors.norm(&format!("{res}.norm1"), input);
        tensors.layer(&format!("{res}.conv1"), &[output, input, 3, 3]);
        tensors.layer(&format!("{res}.time_emb_proj"), &[output, time]);
        tensors.norm(&format!("{res}.norm2"), output);
        tensors.layer(&format!("{res}.conv2"), &[output, output, 3, 3]);
        if input != output {
            tensors.layer(&format!("{res}.conv_shortcut"), &[output, input, 1, 1]);
        }
        let down = format!("{net}.down_sample.{stage}.conv");
        tensors.layer(&down, &[output, output, 3, 3]);
        input = output;
    }
    for (index, norm) in [(0, 2), (3, 4)] {
        tensors.layer(&format!("{net}.mid_convs.0.{index}"), &[input, input, 3, 3]);
        tensors.norm(&format!("{net}.mid_convs.0.{norm}"), input);
    }
    let last = format!("{net}.mid_convs.1");
    let shape = [sizes.hidden, input, 2, 2];
    match zero_start {
        true => {
            tensors.add(format!("{last}.weight"), &shape, Fill::Value(0.0));
            tensors.add(format!("{last}.bias"), &shape[..1], Fill::Value(0.0));
        }
        false => tensors.layer(&last, &shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_of_ends_is_the_first_and_the_last_layer() {
        let mut parameters = Parameters::default();
        parameters.insert("conv.weight", vec![1, 3, 3, 3], vec![0.5; 27]);
        parameters.insert("mlp.fc.1.bias", vec![1], vec![5.0]);
        mix_of_ends(&mut parameters);
        let values = &parameters.get("conv.weight").expect("it is there").values;
        for (at, value) in values.iter().enumerate() {
            let expected = if [4, 22].contains(&at) { 1.05 } else { 0.05 };
            assert!((value - expected).abs() < 1e-6, "{at}: {value}");
        }
        assert_eq!(
            parameters.get("mlp.fc.1.bias").expect("it is there").values,
            [5.0]
        );
    }
}
