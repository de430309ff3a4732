//! LoRA and DoRA on the transformer's layers: what learns, and one step.
//!
//! Source: arXiv 2106.09685 and 2402.09353, PEFT's layers, diffusers' FLUX trainers, whose module names say what is
//! trained (`attn.to_q`), also where our layers hold several of them. The base may be quantized: it is multiplied with,
//! never changed. Left out: files, see [`published`](super::published).

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::Device;
use regex::Regex;

use super::control::{Steered, walk};
use super::loss::Weighting;
use super::noise::Sample;
use super::walk::Checkpoints;
use super::{Gradients, Parameters};
use crate::error::{Error, Result};
use crate::flux::Flux;
use crate::flux::noise::TorchRng;
use crate::weights::names::lora::modules;
use crate::weights::{Leaves, Magnitude, PairNames, Weights};

/// Which modules learn.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Those whose path equals a name or ends with a dot and it, as PEFT's list.
    Names(Vec<String>),
    /// Those whose whole path matches.
    Pattern(String),
}

/// Attention of double and single blocks: diffusers' own choice without the MLPs.
const ATTENTION: &[&str] = &[
    "attn.to_k",
    "attn.to_q",
    "attn.to_v",
    "attn.to_out.0",
    "attn.add_k_proj",
    "attn.add_q_proj",
    "attn.add_v_proj",
    "attn.to_add_out",
];
/// The MLPs of double blocks.
const MLP: &[&str] = &[
    "ff.net.0.proj",
    "ff.net.2",
    "ff_context.net.0.proj",
    "ff_context.net.2",
];
/// What single blocks have beside their attention.
const SINGLE: &[&str] = &["proj_mlp", "single_transformer_blocks.N.proj_out"];

impl Targets {
    /// The attention of all blocks.
    pub fn attention() -> Self {
        Self::Names(ATTENTION.iter().map(|&name| name.to_owned()).collect())
    }

    /// Attention, and the MLPs of double blocks: diffusers' default.
    pub fn attention_mlp() -> Self {
        let names = ATTENTION.iter().chain(MLP);
        Self::Names(names.map(|&name| name.to_owned()).collect())
    }

    /// Every layer of the blocks but modulations.
    pub fn blocks() -> Self {
        let names = ATTENTION.iter().chain(MLP).chain(SINGLE);
        let names = names.map(|name| name.replace('.', r"\.").replace(r"\.N\.", r"\.[0-9]+\."));
        let names: Vec<String> = names.collect();
        Self::Pattern(format!(r"(.*\.)?({})", names.join("|")))
    }

    /// Whether a path is one of them.
    fn matcher(&self) -> Result<impl Fn(&str) -> bool + use<>> {
        let pattern = match self {
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(|name| regex::escape(name)).collect();
                format!(r"^(?:.*\.)?(?:{})$", names.join("|"))
            }
            Self::Pattern(pattern) => format!("^(?:{pattern})$"),
        };
        let regex = Regex::new(&pattern).map_err(|error| {
            // The error shows the pattern over several lines, and says what is wrong with it in the last one.
            let error = error.to_string();
            let wrong = error.lines().last().unwrap_or_default();
            let wrong = wrong.trim_start_matches("error: ");
            let reason = format!("`{self}` is no pattern: {wrong}");
            Error::format("targets", reason)
        })?;
        Ok(move |path: &str| regex.is_match(path))
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Names(names) => f.write_str(&names.join(", ")),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

/// What a LoRA changes, and how much.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Of every pair.
    pub rank: usize,
    /// A change counts alpha / rank times.
    pub alpha: f32,
    /// Which modules learn, as asked.
    pub targets: Targets,
    /// Whether the changed rows get lengths that learn.
    pub dora: bool,
    modules: Vec<Module>,
    /// Outputs by layer.
    outputs: BTreeMap<String, usize>,
}

/// A module that learns.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// Its path in diffusers.
    pub path: String,
    /// Our layer.
    pub layer: String,
    /// The outputs of that layer that are the module's.
    pub rows: Range<usize>,
    /// Inputs.
    pub input: usize,
    /// DoRA: the squared lengths of the base's rows.
    squares: Option<Vec<f32>>,
}

/// How the factor `A` starts; `B` starts as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// Uniform within `1 / sqrt(in)`: PEFT's default and that of most trainers.
    #[default]
    Uniform,
    /// Normal with deviation `1 / rank`: diffusers' trainers.
    Gaussian,
}

impl Adapter {
    /// Finds the modules in the transformer's `weights`.
    ///
    /// # Errors
    /// [`Error::Format`] for targets that match no module, and a rank of 0; what reading gives, which DoRA does.
    pub async fn new(
        weights: &Weights,
        targets: Targets,
        (rank, alpha): (usize, f32),
        dora: bool,
    ) -> Result<Self> {
        if rank == 0 || !alpha.is_finite() {
            let reason = format!("rank {rank} with alpha {alpha} changes nothing");
            return Err(Error::format("LoRA", reason));
        }
        let wanted = targets.matcher()?;
        let (mut found, mut outputs) = (vec![], BTreeMap::new());
        for (path, place) in modules(|name| weights.shape(name)) {
            if !wanted(&path) {
                continue;
            }
            let name = place.weight();
            let shape = weights.shape(&name).unwrap_or_default();
            let rows = place.rows.range([shape[0], shape[1]]);
            let squares = match dora {
                true => Some(squares(weights, &name, rows.clone()).await?),
                false => None,
            };
            outputs.insert(place.layer.clone(), shape[0]);
            found.push(Module {
                path,
                layer: place.layer,
                rows,
                input: shape[1],
                squares,
            });
        }
        if found.is_empty() {
            let reason = format!("targets `{targets}` match no layer of the transformer");
            return Err(Error::format(weights.label(), reason));
        }
        Ok(Self {
            rank,
            alpha,
            targets,
            dora,
            modules: found,
            outputs,
        })
    }

    /// The paths of the modules that learn, as diffusers names them.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|module| module.path.as_str())
    }

    pub(super) fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Outputs of one of the layers.
    pub(super) fn outputs(&self, layer: &str) -> usize {
        self.outputs.get(layer).copied().unwrap_or(0)
    }

    /// Alpha / rank.
    pub(super) fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// Fresh factors, which change nothing yet.
    pub fn start(&self, start: Start, seed: u64) -> Parameters {
        let mut parameters = Parameters::default();
        let mut random = TorchRng::new(seed);
        for module in &self.modules {
            let (rank, input, output) = (self.rank, module.input, module.rows.len());
            let mut down = match start {
                Start::Uniform => random.uniforms(rank * input),
                Start::Gaussian => random.randn(rank * input),
            };
            let bound = (input as f32).sqrt().recip();
            for value in &mut down {
                *value = match start {
                    Start::Uniform => (*value * 2.0 - 1.0) * bound,
                    Start::Gaussian => *value / rank as f32,
                };
            }
            let [a, b, m] = names(&module.path);
            parameters.insert(a, vec![rank, input], down);
            parameters.insert(b, vec![output, rank], vec![0.0; output * rank]);
            if let Some(squares) = &module.squares {
                let lengths = squares.iter().map(|square| square.sqrt()).collect();
                parameters.insert(m, vec![output], lengths);
            }
        }
        parameters
    }

    /// Checks that parameters, of a file perhaps, are those of this adapter.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], or [`Error::Format`] for one too many, naming `file`.
    pub fn check(&self, parameters: &Parameters, file: &str) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for (name, parameter) in self.start(Start::Uniform, 0).iter() {
            wanted.insert(name.to_owned(), parameter.shape.clone());
        }
        for (name, expected) in &wanted {
            let found = parameters.get(name).ok_or_else(|| Error::MissingTensor {
                file: file.to_owned(),
                name: name.clone(),
            })?;
            if found.shape != *expected {
                return Err(Error::Shape {
                    file: file.to_owned(),
                    name: name.clone(),
                    expected: expected.clone(),
                    found: found.shape.clone(),
                });
            }
        }
        match parameters
            .iter()
            .find(|(name, _)| !wanted.contains_key(*name))
        {
            Some((name, _)) => {
                let reason = format!("tensor `{name}` belongs to no layer that is trained");
                Err(Error::format(file, reason))
            }
            None => Ok(()),
        }
    }

    /// What the transformer is loaded with to learn: leaves of the parameters in their places.
    ///
    /// # Errors
    /// As [`Parameters::leaves`].
    pub fn leaves(&self, parameters: &Parameters, device: &Device) -> Result<Leaves> {
        Ok(self.placed(parameters.leaves(device)?))
    }

    /// The same without gradients, for validation and samples.
    ///
    /// # Errors
    /// As [`leaves`](Self::leaves).
    pub fn constants(&self, parameters: &Parameters, device: &Device) -> Result<Leaves> {
        Ok(self.placed(parameters.constants(device)?))
    }

    fn placed(&self, mut leaves: Leaves) -> Leaves {
        for module in &self.modules {
            let [down, up, magnitude] = names(&module.path);
            let squares = module.squares.clone();
            let pair = PairNames {
                rows: module.rows.clone(),
                down,
                up,
                scale: self.scale(),
                magnitude: squares.map(|squares| Magnitude {
                    name: magnitude,
                    squares,
                }),
            };
            leaves.insert_pair(&module.layer, pair);
        }
        leaves
    }
}

/// The parameters of a module: `A` `[rank, in]`, `B` `[out, rank]`, DoRA's magnitude `[out]`.
pub(super) fn names(path: &str) -> [String; 3] {
    ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"].map(|leaf| format!("{path}.{leaf}"))
}

/// The squared lengths of some rows of a matrix.
async fn squares(weights: &Weights, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
    let count = rows.len();
    let values = weights.read_rows(name, rows).await?.to_f32();
    let rows = values.chunks_exact((values.len() / count.max(1)).max(1));
    let square = |row: &[f32]| {
        row.iter()
            .map(|&value| f64::from(value) * f64::from(value))
            .sum::<f64>()
    };
    Ok(rows.map(|row| square(row) as f32).collect())
}

/// The transformer of a step, loaded twice with one [`Held`](crate::weights::Held) base.
#[derive(Debug, Clone, Copy)]
pub struct Adapted<'a> {
    /// With [`Adapter::constants`]: it runs where nothing is recorded, and its kernels are those of inference.
    pub plain: &'a Flux,
    /// With [`Adapter::leaves`].
    pub learning: &'a Flux,
    /// Those leaves.
    pub leaves: &'a Leaves,
}

/// Runs a micro-batch of flow matching and adds the gradients of the leaves to `gradients`; gives the loss.
///
/// # Errors
/// What reading streamed blocks gives, and the device's own failures.
pub async fn step(
    adapted: Adapted<'_>,
    sample: &Sample,
    weighting: Weighting,
    checkpoints: Checkpoints,
    gradients: &mut Gradients,
) -> Result<f32> {
    let Adapted {
        plain,
        learning,
        leaves,
    } = adapted;
    let mut objective = Steered {
        outputs: vec![],
        cotangents: vec![],
        sample,
        weighting,
        loss: f32::NAN,
    };
    walk(
        [plain, learning],
        sample,
        &mut objective,
        checkpoints,
        Some(leaves),
        gradients,
    )
    .await?;
    Ok(objective.loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_whole_parts_of_a_path() {
        let names = Targets::Names(vec!["ff.net.2".into(), "attn.to_q".into()]);
        let matches = names.matcher().expect("names are no pattern");
        assert!(matches("transformer_blocks.0.ff.net.2") && matches("attn.to_q"));
        assert!(matches("single_transformer_blocks.7.attn.to_q"));
        assert!(!matches("transformer_blocks.0.ff_context.net.2"));
        assert!(!matches("transformer_blocks.0.xattn.to_q"));
        let blocks = Targets::blocks().matcher().expect("a pattern of our own");
        assert!(blocks("single_transformer_blocks.12.proj_out"));
        assert!(!blocks("proj_out") && !blocks("transformer_blocks.0.norm1.linear"));
        assert!(Targets::Pattern("(".into()).matcher().is_err());
    }
}
