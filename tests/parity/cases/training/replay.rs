//! A run update by update beside the reference's, and again from the middle.

use std::collections::BTreeMap;

use x2i_core::training::optimizer::{Optimizer, StateValues};
use x2i_core::training::{Gradients, Parameters};

use super::settings::Settings;
use crate::case::{Case, Fallible, Outcome};
use crate::report::Report;

/// Of a loss.
const LOSS: f32 = 1e-5;
/// Of a gradient, as a share of the tensor's largest; of moments too.
const GRADIENT: f32 = 1e-4;
/// Of a parameter.
const PARAMETER: f32 = 2e-5;
/// Of a learning rate.
const RATE: f64 = 1e-9;
/// Below this share of the largest gradient of any tensor Adam makes steps of rounding noise.
const NOISE: f32 = 1e-5;
/// What a GPU's sums may differ more than the CPU's.
const GPU: f32 = 20.0;

/// One micro-batch: its number, the parameters, where its gradients go; gives its loss.
pub(super) trait Micro {
    async fn run(
        &mut self,
        number: usize,
        parameters: &Parameters,
        gradients: &mut Gradients,
    ) -> Fallible<f32>;
}

/// A run of a case.
pub(super) struct Replay<'a, 'b> {
    pub case: &'a Case<'b>,
    /// What stands before the names of the run's numbers, with a dot.
    pub prefix: String,
    pub settings: Settings,
}

/// What is known of a value so far.
struct Trust {
    /// Whether a gradient was ever noise.
    noisy: BTreeMap<String, Vec<bool>>,
    rates: f64,
}

/// A run that may go on.
struct Run {
    parameters: Parameters,
    optimizer: Optimizer,
}

impl Replay<'_, '_> {
    /// Makes all updates, compares them, and makes the later ones again from a state; gives the last parameters.
    pub async fn run(
        &self,
        parameters: Parameters,
        micro: &mut impl Micro,
        report: &mut Report,
    ) -> Fallible<Parameters> {
        let mut run = Run {
            parameters,
            optimizer: Optimizer::new(self.settings.rule()),
        };
        let mut trust = Trust {
            noisy: BTreeMap::new(),
            rates: 0.0,
        };
        let mut saved = None;
        for update in 0..self.settings.updates {
            if self.settings.resume_after == Some(update) {
                self.compare_state(&run, &trust, report).await?;
                saved = Some((run.parameters.clone(), run.optimizer.tensors()));
            }
            let (gradients, losses) = self.gradients(update, &run.parameters, micro).await?;
            self.compare_losses(update, &losses, report).await?;
            self.compare_gradients(update, &gradients, report).await?;
            self.step(update, &mut run, gradients, Some((&mut trust, report)))
                .await?;
            self.compare_parameters(update, &run.parameters, &trust, report)
                .await?;
        }
        if let (Some((parameters, tensors)), Some(first)) = (saved, self.settings.resume_after) {
            let rule = self.settings.rule();
            let optimizer = Optimizer::restore(rule, first, &parameters, tensors, "state")?;
            let mut again = Run {
                parameters,
                optimizer,
            };
            for update in first..self.settings.updates {
                let (gradients, _) = self.gradients(update, &again.parameters, micro).await?;
                self.step(update, &mut again, gradients, None).await?;
            }
            let same = again.parameters == run.parameters && again.optimizer == run.optimizer;
            report.equal(&format!("{}resumed", self.prefix), &same, &true);
        }
        Ok(run.parameters)
    }

    fn name(&self, update: u64, rest: &str) -> String {
        format!("{}update.{update}.{rest}", self.prefix)
    }

    async fn gradients(
        &self,
        update: u64,
        parameters: &Parameters,
        micro: &mut impl Micro,
    ) -> Fallible<(Gradients, Vec<f32>)> {
        let (mut gradients, mut losses) = (Gradients::default(), vec![]);
        let count = self.settings.accumulation;
        for number in 0..count {
            let number = update as usize * count + number;
            losses.push(micro.run(number, parameters, &mut gradients).await?);
        }
        gradients.scale(1.0 / count as f32);
        Ok((gradients, losses))
    }

    async fn step(
        &self,
        update: u64,
        run: &mut Run,
        mut gradients: Gradients,
        compared: Option<(&mut Trust, &mut Report)>,
    ) -> Outcome {
        let factor = self.settings.schedule()?.factor(update);
        if let Some((trust, report)) = compared {
            trust.see(&gradients);
            trust.rates += self.settings.lr * factor;
            let name = self.name(update, "lr");
            let golden = self.case.golden.f64(&name).await?[0];
            let rate = self.settings.lr * factor;
            if (rate - golden).abs() > RATE * golden.abs().max(f64::MIN_POSITIVE) {
                report.fail(format!("{name}: {rate} is not {golden}"));
            }
            let norm = gradients.clip(self.settings.max_grad_norm) as f32;
            let name = self.name(update, "grad_norm");
            let (golden, _) = self.case.golden.f32(&name).await?;
            report.close_share(&name, &[norm], &golden, report.widened(GRADIENT, GPU));
        } else {
            gradients.clip(self.settings.max_grad_norm);
        }
        let Run {
            parameters,
            optimizer,
        } = run;
        let update = optimizer.update(parameters, &gradients, factor, &self.case.device);
        Ok(update.await?)
    }

    async fn compare_losses(&self, update: u64, losses: &[f32], report: &mut Report) -> Outcome {
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        for (rest, ours) in [("loss", &[mean][..]), ("micro_losses", losses)] {
            let name = self.name(update, rest);
            let (golden, _) = self.case.golden.f32(&name).await?;
            report.close_share(&name, ours, &golden, report.widened(LOSS, GPU));
        }
        Ok(())
    }

    async fn compare_gradients(
        &self,
        update: u64,
        gradients: &Gradients,
        report: &mut Report,
    ) -> Outcome {
        let largest = gradients.iter().map(|(_, values)| largest(values));
        let largest = largest.fold(0.0, f32::max);
        let tolerance = report.widened_gradient(GRADIENT, GPU);
        for (name, values) in gradients.iter() {
            let of = |form: &str| self.name(update, &format!("{form}{name}"));
            let whole = of("grad.");
            if self.case.golden.contains(&whole) {
                let (golden, _) = self.case.golden.f32(&whole).await?;
                let most = self::largest(&golden);
                // Rounding noise is compared with what is no noise.
                let scale = if most < NOISE * largest {
                    largest
                } else {
                    most
                };
                let [ours, golden] = [values, &golden].map(|values| scaled(values, scale));
                report.close_within(&whole, &ours, &golden, tolerance);
            }
            self.compare_parts(&of("grad.stats."), &of("grad.every97."), values, report)
                .await?;
            let norm = of("grad_l2.");
            if self.case.golden.contains(&norm) {
                let (golden, _) = self.case.golden.f32(&norm).await?;
                let ours = values
                    .iter()
                    .map(|value| f64::from(*value).powi(2))
                    .sum::<f64>();
                let [ours, golden] = [ours.sqrt() as f32, golden[0]].map(|norm| norm / largest);
                report.close_within(&norm, &[ours], &[golden], tolerance);
            }
        }
        Ok(())
    }

    /// Sums and every 97th value of a tensor that is too large to be whole in the golden.
    async fn compare_parts(
        &self,
        stats: &str,
        every97: &str,
        values: &[f32],
        report: &mut Report,
    ) -> Outcome {
        let tolerance = report.widened_gradient(GRADIENT, GPU);
        if self.case.golden.contains(stats) {
            let golden = self.case.golden.f64(stats).await?;
            let [ours, golden] = [sums(values), [golden[0], golden[1], golden[2], golden[3]]]
                .map(|sums| sums.map(|sum| (sum / golden[1]) as f32));
            report.close_within(stats, &ours, &golden, tolerance);
        }
        if self.case.golden.contains(every97) {
            let (golden, _) = self.case.golden.f32(every97).await?;
            let ours: Vec<f32> = values.iter().copied().step_by(97).collect();
            report.close_share(every97, &ours, &golden, tolerance);
        }
        Ok(())
    }

    async fn compare_parameters(
        &self,
        update: u64,
        parameters: &Parameters,
        trust: &Trust,
        report: &mut Report,
    ) -> Outcome {
        for (name, parameter) in parameters.iter() {
            let noisy = trust.noisy.get(name);
            let all = parameter.values.iter().enumerate();
            let all = all.map(|(at, &value)| (value, noisy.is_none_or(|noisy| noisy[at])));
            let all: Vec<(f32, bool)> = all.collect();
            let whole = self.name(update, &format!("param.{name}"));
            if self.case.golden.contains(&whole) {
                let (golden, _) = self.case.golden.f32(&whole).await?;
                trust.compare(&whole, &all, &golden, report);
            }
            // Whatever update they are named after, the golden's parts are of the last one.
            let last = update + 1 == self.settings.updates;
            let every97 = self.name(update, &format!("param.every97.{name}"));
            if last && self.case.golden.contains(&every97) {
                let (golden, _) = self.case.golden.f32(&every97).await?;
                let some: Vec<(f32, bool)> = all.into_iter().step_by(97).collect();
                trust.compare(&every97, &some, &golden, report);
            }
        }
        Ok(())
    }

    async fn compare_state(&self, run: &Run, trust: &Trust, report: &mut Report) -> Outcome {
        let updates = self
            .case
            .golden
            .i64(&format!("{}state.step", self.prefix))
            .await?;
        report.equal(
            "state.step",
            &(run.optimizer.updates() as i64),
            &updates.0[0],
        );
        for tensor in run.optimizer.tensors() {
            let name = format!("{}state.{}", self.prefix, tensor.name);
            let (golden, _) = self.case.golden.f32(&name).await?;
            let parameter = tensor
                .name
                .split_once('.')
                .map_or("", |(_, parameter)| parameter);
            let noisy = trust.noisy.get(parameter);
            if noisy.is_none_or(|noisy| noisy.iter().all(|&noisy| noisy)) {
                continue;
            }
            if let StateValues::Floats(ours) = &tensor.values {
                report.close_share(
                    &name,
                    ours,
                    &golden,
                    report.widened_gradient(2.0 * GRADIENT, GPU),
                );
            }
        }
        Ok(())
    }
}

impl Trust {
    fn see(&mut self, gradients: &Gradients) {
        let all = gradients.iter().map(|(_, values)| largest(values));
        let noise = NOISE * all.fold(0.0, f32::max);
        for (name, values) in gradients.iter() {
            let noisy = self.noisy.entry(name.to_owned());
            let noisy = noisy.or_insert_with(|| vec![false; values.len()]);
            for (noisy, value) in noisy.iter_mut().zip(values) {
                *noisy |= value.abs() < noise;
            }
        }
    }

    /// Compares values, of which some may have gone another way at full speed.
    fn compare(&self, name: &str, ours: &[(f32, bool)], golden: &[f32], report: &mut Report) {
        if ours.len() != golden.len() {
            return report.fail(format!("{name}: {} values of {}", ours.len(), golden.len()));
        }
        let loose = 2.0 * self.rates as f32 + PARAMETER;
        for (is_noisy, allowed) in [(false, report.widened(PARAMETER, GPU)), (true, loose)] {
            let some = ours
                .iter()
                .zip(golden)
                .filter(|((_, noisy), _)| *noisy == is_noisy);
            let (ours, golden): (Vec<f32>, Vec<f32>) =
                some.map(|((ours, _), golden)| (*ours, *golden)).unzip();
            if !ours.is_empty() {
                report.close_within(name, &ours, &golden, allowed);
            }
        }
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

fn scaled(values: &[f32], scale: f32) -> Vec<f32> {
    let scale = if scale > 0.0 { scale } else { 1.0 };
    values.iter().map(|value| value / scale).collect()
}

/// The sum, the sum of magnitudes, the L2 norm, and a sum weighted by cosines of the index.
fn sums(values: &[f32]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    for (at, &value) in values.iter().enumerate() {
        let value = f64::from(value);
        sums[0] += value;
        sums[1] += value.abs();
        sums[2] += value * value;
        sums[3] += value * (at as f64).cos();
    }
    sums[2] = sums[2].sqrt();
    sums
}
