//! Training on tiny random transformers: ways back, bases of other types, DoRA, losses, states.

mod model;

use burn::tensor::{Device, Tensor, TensorData};
use pollster::block_on;
use x2i_core::align_net::{AlignNet, Conditioning};
use x2i_core::config::{AlignNetConfig, Mix};
use x2i_core::flux::{Flux, latents};
use x2i_core::training::align::{self, Comparison, Distillation, Losses, Reduction, Tokens};
use x2i_core::training::lora::{self, Adapter, Start, Targets};
use x2i_core::training::loss::Weighting;
use x2i_core::training::noise::Sample;
use x2i_core::training::optimizer::{AdamW, Muon, Optimizer, Rule};
use x2i_core::training::{Checkpoints, Gradients, Parameters, initial, published};
use x2i_core::weights::{Component, Held, StoredType, WeightFile, Weights, safetensors};
use x2i_core::{InputBits, Lora};

use model::{config, numbers, transformer};

fn tensor<const D: usize>(shape: [usize; D], seed: u32) -> Tensor<D> {
    let values = numbers(shape.iter().product(), seed, 1.0);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Two pictures of 4 x 4 packed tokens under five words.
fn sample() -> Sample {
    let config = config();
    let ids = [latents::text_ids(5), latents::image_ids(4, 4)].concat();
    Sample {
        conditioning: Conditioning {
            txt: tensor([2, 5, config.joint_attention_dim], 1),
            vec: tensor([2, config.pooled_projection_dim], 2),
        },
        latents: tensor([2, 16, config.in_channels], 3),
        noise: tensor([2, 16, config.in_channels], 4),
        sigma: vec![0.25, 0.75],
        guidance: vec![3.5; 2],
        ids,
        reference: None,
    }
}

/// A LoRA on a base whose loss and gradients are asked for.
struct Trained {
    weights: Weights,
    held: Held,
    adapter: Adapter,
}

impl Trained {
    fn new(stored: StoredType, targets: Targets, dora: bool) -> Self {
        let weights = transformer(&config(), stored);
        let adapter = block_on(Adapter::new(&weights, targets, (3, 6.0), dora));
        Self {
            adapter: adapter.expect("the targets are there"),
            weights,
            held: Held::default(),
        }
    }

    fn flux(&self, leaves: &x2i_core::weights::Leaves) -> Flux {
        let device = Device::flex();
        let scope = self
            .weights
            .scope(&device)
            .with_input_bits(InputBits::Sixteen);
        let scope = scope.held_by(&self.held).with_leaves(leaves);
        block_on(Flux::load(&config(), &scope)).expect("the weights are whole")
    }

    /// Factors that change something.
    fn parameters(&self) -> Parameters {
        let mut parameters = self.adapter.start(Start::Uniform, 7);
        for (number, (_, parameter)) in parameters.iter_mut().enumerate() {
            let count = parameter.values.len();
            let more = numbers(count, number as u32 + 40, 0.2);
            for (value, more) in parameter.values.iter_mut().zip(more) {
                *value += more;
            }
        }
        parameters
    }

    fn step(&self, parameters: &Parameters, checkpoints: Checkpoints) -> (f32, Gradients) {
        let device = Device::flex();
        let constants = self
            .adapter
            .constants(parameters, &device)
            .expect("matrices");
        let leaves = self.adapter.leaves(parameters, &device).expect("matrices");
        let adapted = lora::Adapted {
            plain: &self.flux(&constants),
            learning: &self.flux(&leaves),
            leaves: &leaves,
        };
        let (sample, mut gradients) = (sample(), Gradients::default());
        let step = lora::step(
            adapted,
            &sample,
            Weighting::Cosmap,
            checkpoints,
            &mut gradients,
        );
        (block_on(step).expect("the CPU does not fail"), gradients)
    }

    fn loss(&self, parameters: &Parameters) -> (Vec<f32>, f32) {
        let constants = self
            .adapter
            .constants(parameters, &Device::flex())
            .expect("matrices");
        let sample = sample();
        let flux = self.flux(&constants);
        let found = block_on(sample.validate(&flux, None, Weighting::Cosmap));
        let (velocity, loss) = found.expect("the CPU does not fail");
        (velocity.into_data().try_to_vec().expect("f32"), loss)
    }
}

/// The largest difference, as a share of the largest value of each tensor.
fn difference(ours: &Gradients, other: &Gradients) -> f32 {
    let pairs = ours.iter().zip(other.iter());
    let differences = pairs.map(|((name, ours), (other_name, other))| {
        assert_eq!(name, other_name);
        let largest = other
            .iter()
            .fold(1e-12f32, |most, value| most.max(value.abs()));
        let pairs = ours.iter().zip(other);
        pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
    });
    differences.fold(0.0, f32::max)
}

#[test]
fn every_way_back_gives_the_same_gradients() {
    let trained = Trained::new(StoredType::F32, Targets::blocks(), false);
    let parameters = trained.parameters();
    let (loss, whole) = trained.step(&parameters, Checkpoints::NONE);
    assert_eq!(whole.iter().count(), parameters.iter().count(), "all learn");
    assert!(
        whole
            .iter()
            .all(|(_, values)| values.iter().any(|&value| value != 0.0))
    );
    for (segment, tape) in [(1, 1), (2, 1), (2, 2), (4, 3)] {
        let (again, gradients) = trained.step(&parameters, Checkpoints { segment, tape });
        assert!((again - loss).abs() < 1e-5 * loss, "{again} {loss}");
        let difference = difference(&gradients, &whole);
        assert!(difference < 2e-4, "segments of {segment}: {difference}");
    }
}

#[test]
fn gradients_match_finite_differences_of_the_loss() {
    for dora in [false, true] {
        let trained = Trained::new(StoredType::F32, Targets::attention_mlp(), dora);
        let parameters = trained.parameters();
        let (loss, gradients) = trained.step(&parameters, Checkpoints::EVERY_BLOCK);
        let (_, validated) = trained.loss(&parameters);
        assert!((loss - validated).abs() < 1e-5 * loss, "{loss} {validated}");
        for (name, parameter) in parameters.iter() {
            // The lengths of DoRA's rows count as constants, so that other slopes are not the gradient.
            if dora && !name.ends_with("magnitude_vector") {
                continue;
            }
            let gradient = gradients.get(name).expect("all learn");
            let strongest = (0..gradient.len())
                .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
                .expect("a parameter has numbers");
            let step = 2e-2f32;
            let at = |change: f32| {
                let mut moved = parameters.clone();
                let mut values = parameter.values.clone();
                values[strongest] += change;
                moved.insert(name, parameter.shape.clone(), values);
                f64::from(trained.loss(&moved).1)
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            let found = f64::from(gradient[strongest]);
            let error = (slope - found).abs() / (found.abs() + 2e-5);
            assert!(error < 0.05, "{name}: slope {slope}, gradient {found}");
        }
    }
}

#[test]
fn a_base_of_few_bits_gives_the_gradients_of_its_values() {
    for stored in [StoredType::BF16, StoredType::Q8_0, StoredType::Q4_0] {
        let coded = Trained::new(stored, Targets::blocks(), false);
        let widened = Trained {
            weights: model::widened(&coded.weights),
            ..Trained::new(StoredType::F32, Targets::blocks(), false)
        };
        let parameters = coded.parameters();
        let (loss, gradients) = coded.step(&parameters, Checkpoints::EVERY_BLOCK);
        let (exact, expected) = widened.step(&parameters, Checkpoints::NONE);
        assert!(
            (loss - exact).abs() < 2e-4 * exact,
            "{stored}: {loss} {exact}"
        );
        // Inputs of whole-number products are rounded to 16 bits.
        let difference = difference(&gradients, &expected);
        assert!(difference < 5e-3, "{stored}: {difference}");
    }
}

#[test]
fn a_trained_dora_is_what_its_file_does() {
    let trained = Trained::new(StoredType::F32, Targets::attention_mlp(), true);
    let parameters = trained.parameters();
    let (expected, _) = trained.loss(&parameters);
    let metadata = published::diffusers_metadata(&trained.adapter, Start::Uniform);
    let bytes = safetensors::encode(published::diffusers(&parameters), &metadata);
    let file = block_on(Lora::open(model::source("dora", bytes), 1.0)).expect("it is well formed");
    let mut weights = transformer(&config(), StoredType::F32);
    weights.adapt(&[file.into()]).expect("it fits");
    let loaded = Trained {
        weights,
        held: Held::default(),
        adapter: trained.adapter.clone(),
    };
    let flux = loaded.flux(&x2i_core::weights::Leaves::default());
    let found = block_on(sample().validate(&flux, None, Weighting::None));
    let found: Vec<f32> = found
        .expect("the CPU does not fail")
        .0
        .into_data()
        .try_to_vec()
        .expect("f32");
    let largest = expected
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(&expected) {
        assert!(
            (found - expected).abs() < 1e-4 * largest,
            "{found} {expected}"
        );
    }
}

/// AlignNet's kind with a convolution, for the tiny transformer.
fn align_config() -> AlignNetConfig {
    let sizes = config();
    let json = serde_json::json!({
        "in_channels": 3, "input_dim": 12, "output_dim0": sizes.pooled_projection_dim,
        "output_dim1": sizes.joint_attention_dim, "norm_eps": 1e-6, "kernel_size": 3,
        "use_t5": false, "use_scale": false, "use_cnn": true,
    });
    let parameters = |name: &str| {
        let shapes = [
            ("conv.weight", vec![1, 3, 3, 3]),
            ("conv.bias", vec![1]),
            ("mlp.layernorm.weight", vec![12]),
            (
                "mlp.projector.0.weight",
                vec![sizes.joint_attention_dim, 12],
            ),
            ("mlp.projector.2.weight", vec![sizes.joint_attention_dim; 2]),
            (
                "mlp.fc.1.weight",
                vec![sizes.pooled_projection_dim, sizes.joint_attention_dim],
            ),
        ];
        let shape = shapes.into_iter().find(|(key, _)| *key == name);
        shape.map(|(_, shape)| shape)
    };
    let config = AlignNetConfig::from_shapes("config.json", Some(&json), parameters);
    let config = config.expect("it is AlignNet's");
    assert!(matches!(config.mix, Mix::Conv { kernel: 3 }));
    config
}

fn align_losses(
    parameters: &Parameters,
    distillation: &Distillation,
    gradients: Option<&mut Gradients>,
) -> Losses {
    let device = Device::flex();
    let config = align_config();
    let bytes = safetensors::encode(published::plain(parameters), &Default::default());
    let file = block_on(WeightFile::open(model::source("align net", bytes))).expect("well formed");
    let weights = Weights::new("AlignNet", Component::AlignNet, vec![file]).expect("its names");
    let transformer = transformer(&self::config(), StoredType::F32);
    let flux = block_on(Flux::load(&self::config(), &transformer.scope(&device))).expect("whole");
    let pictures = sample();
    let sample = align::Sample {
        hidden_states: tensor([2, 3, 5, 12], 20),
        teacher: pictures.conditioning,
        latents: pictures.latents,
        sigma: pictures.sigma,
        guidance: pictures.guidance,
        teacher_ids: pictures.ids.clone(),
        ids: pictures.ids,
    };
    let leaves = parameters.leaves(&device).expect("at most four axes");
    let scope = weights.scope(&device).with_leaves(&leaves);
    let align_net = block_on(AlignNet::load(&config, &scope)).expect("whole");
    let losses = match gradients {
        Some(gradients) => {
            let both = (&align_net, &leaves);
            // A model serves all micro-batches of an update: what it was loaded with is on no tape that ends.
            let first = Checkpoints::NONE;
            let mut other = Gradients::default();
            let step = align::step(&flux, both, &sample, distillation, first, &mut other);
            block_on(step).expect("the CPU does not fail");
            let checkpoints = Checkpoints {
                segment: 2,
                tape: 1,
            };
            block_on(align::step(
                &flux,
                both,
                &sample,
                distillation,
                checkpoints,
                gradients,
            ))
        }
        None => block_on(align::validate(&flux, &align_net, &sample, distillation)),
    };
    losses.expect("the CPU does not fail")
}

#[test]
fn all_terms_of_a_distillation_reach_align_net() {
    let recipe = Distillation {
        comparison: Comparison::Relative,
        tokens: Tokens::Image,
        reduction: Reduction::Mean,
        velocity: 1.0,
        pooled: 0.2,
    };
    let parameters = initial::align_net(&align_config(), 5).expect("it has no T5 stack");
    for distillation in [recipe, Distillation::REFERENCE] {
        let mut gradients = Gradients::default();
        let losses = align_losses(&parameters, &distillation, Some(&mut gradients));
        let validated = align_losses(&parameters, &distillation, None);
        assert!((losses.total - validated.total).abs() < 1e-5 * losses.total);
        assert_eq!(losses.left_out, 0);
        assert_eq!(losses.velocity.is_some(), distillation.velocity > 0.0);
        assert_eq!(losses.pooled.is_some(), distillation.pooled > 0.0);
        for (name, parameter) in parameters.iter().filter(|(name, _)| *name != "conv.bias") {
            let gradient = gradients.get(name).expect("all learn");
            let strongest = (0..gradient.len())
                .max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()))
                .expect("a parameter has numbers");
            let at = |change: f32| {
                let mut moved = parameters.clone();
                let mut values = parameter.values.clone();
                values[strongest] += change;
                moved.insert(name, parameter.shape.clone(), values);
                align_losses(&moved, &distillation, None).total
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            let found = f64::from(gradient[strongest]);
            let error = (slope - found).abs() / (found.abs() + 1e-4);
            assert!(error < 0.05, "{name}: slope {slope}, gradient {found}");
        }
    }
}

/// Parameters of which one is large enough for 8 bits, and their gradients of an update.
fn large() -> Parameters {
    let mut parameters = Parameters::default();
    parameters.insert("a", vec![80, 65], numbers(5200, 1, 1.0));
    parameters.insert("b", vec![33], numbers(33, 2, 1.0));
    parameters
}

fn slopes(update: u32) -> Gradients {
    let mut gradients = Gradients::default();
    gradients.add("a", numbers(5200, 100 + update, 0.1));
    gradients.add("b", numbers(33, 200 + update, 0.1));
    gradients
}

#[test]
fn an_optimizer_goes_on_from_its_state_bit_for_bit() {
    let device = Device::flex();
    let adamw = AdamW::default();
    let rules = [
        Rule::AdamW(adamw),
        Rule::AdamW8(adamw),
        Rule::Muon(Muon::default(), adamw),
    ];
    for rule in rules {
        let (mut parameters, mut optimizer) = (large(), Optimizer::new(rule));
        let mut saved = None;
        for update in 0..6 {
            if update == 3 {
                saved = Some((parameters.clone(), optimizer.tensors()));
            }
            let gradients = slopes(update);
            let made = optimizer.update(&mut parameters, &gradients, 0.5, &device);
            block_on(made).expect("the CPU does not fail");
        }
        let (mut again, tensors) = saved.expect("it was saved");
        let restored = Optimizer::restore(rule, 3, &again, tensors.clone(), "state");
        let mut restored = restored.expect("it is the same run");
        for update in 3..6 {
            let gradients = slopes(update);
            let made = restored.update(&mut again, &gradients, 0.5, &device);
            block_on(made).expect("the CPU does not fail");
        }
        assert!(again == parameters && restored == optimizer, "{rule:?}");

        let mut few = tensors.clone();
        few.truncate(1);
        let other = [Rule::AdamW(adamw), Rule::AdamW8(adamw)]
            .into_iter()
            .find(|other| *other != rule);
        let wrong = Optimizer::restore(other.expect("there are two"), 3, &again, tensors, "state");
        assert!(wrong.is_err(), "the states of {rule:?} are no other rule's");
        assert!(
            Optimizer::restore(rule, 3, &again, few, "state").is_err()
                || matches!(rule, Rule::Muon(..))
        );
    }
}

#[test]
fn moments_of_8_bits_move_parameters_as_floats_do() {
    let device = Device::flex();
    let rule = AdamW {
        rate: 1e-2,
        ..AdamW::default()
    };
    let both = [Rule::AdamW(rule), Rule::AdamW8(rule)].map(|rule| {
        let (mut parameters, mut optimizer) = (large(), Optimizer::new(rule));
        for update in 0..20 {
            let gradients = slopes(update);
            let made = optimizer.update(&mut parameters, &gradients, 1.0, &device);
            block_on(made).expect("the CPU does not fail");
        }
        parameters
    });
    let moved = |parameters: &Parameters, name: &str| -> Vec<f32> {
        let start = large();
        let pairs = parameters
            .get(name)
            .map(|p| p.values.clone())
            .into_iter()
            .flatten();
        let start = start
            .get(name)
            .map(|p| p.values.clone())
            .into_iter()
            .flatten();
        pairs.zip(start).map(|(now, before)| now - before).collect()
    };
    assert_eq!(
        moved(&both[0], "b"),
        moved(&both[1], "b"),
        "small tensors keep floats"
    );
    let [exact, coded] = [moved(&both[0], "a"), moved(&both[1], "a")];
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let apart: Vec<f32> = exact.iter().zip(&coded).map(|(a, b)| a - b).collect();
    assert!(
        norm(&apart) < 0.1 * norm(&exact),
        "{} of {}",
        norm(&apart),
        norm(&exact)
    );
}
