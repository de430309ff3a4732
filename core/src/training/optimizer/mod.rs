//! What changes the parameters: AdamW, AdamW with states of 8 bits, Muon; and a moving average of the parameters.
//!
//! All numbers are f32 on the host, so that a run is repeated bit for bit wherever the gradients are. Weight decay is
//! decoupled. A state is a list of named tensors, from which a run goes on exactly. Left out: clipping, see
//! [`Gradients::clip`](super::Gradients::clip), and rates, see [`Schedule`](super::Schedule).

mod adamw;
mod average;
mod bytes;
mod muon;
mod state;

pub use adamw::AdamW;
pub use average::Average;
pub use muon::Muon;
pub use state::{StateTensor, StateValues};

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::{Gradients, Parameter, Parameters};
use crate::error::{Error, Result};
use state::State;

/// Tensors of fewer numbers keep f32 states beside those of 8 bits, as in bitsandbytes.
const SMALL: usize = 4096;

/// How parameters are changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Loshchilov and Hutter's, with PyTorch's formulas.
    AdamW(AdamW),
    /// The same, with moments of 8 bits in blocks of 256 numbers.
    AdamW8(AdamW),
    /// Muon for matrices, AdamW for the rest.
    Muon(Muon, AdamW),
}

/// A rule with its states.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    rule: Rule,
    /// Updates that were made.
    updates: u64,
    states: BTreeMap<String, State>,
}

impl Optimizer {
    /// Before the first update.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            updates: 0,
            states: BTreeMap::new(),
        }
    }

    /// Updates that were made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Changes the parameters that have a gradient; the rates of the rule are multiplied by `factor`. Muon multiplies
    /// its matrices on `device`.
    ///
    /// # Errors
    /// [`Error::Device`] when that failed.
    ///
    /// # Panics
    /// For a gradient of another size than its parameter.
    pub async fn update(
        &mut self,
        parameters: &mut Parameters,
        gradients: &Gradients,
        factor: f64,
        device: &Device,
    ) -> Result<()> {
        self.updates += 1;
        let mut matrices = vec![];
        for (name, parameter) in parameters.iter_mut() {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let count = parameter.values.len();
            assert_eq!(count, gradient.len(), "the gradient of `{name}`");
            let state = self.states.entry(name.to_owned());
            let state = state.or_insert_with(|| self.rule.state(parameter));
            match (self.rule, state) {
                (Rule::Muon(muon, _), State::Velocity(velocity)) => {
                    let step = muon.nesterov(velocity, gradient);
                    matrices.push((parameter, step));
                }
                (Rule::AdamW(rule) | Rule::AdamW8(rule) | Rule::Muon(_, rule), state) => {
                    rule.update(&mut parameter.values, gradient, state, self.updates, factor);
                }
            }
        }
        if let Rule::Muon(muon, _) = self.rule {
            muon.update(matrices, factor, device).await?;
        }
        Ok(())
    }

    /// All states by name, for a file.
    pub fn tensors(&self) -> Vec<StateTensor> {
        let states = self.states.iter();
        states
            .flat_map(|(name, state)| state.tensors(name))
            .collect()
    }

    /// What [`tensors`](Self::tensors) gave after so many updates.
    ///
    /// # Errors
    /// [`Error::Format`] naming `file` and the tensor for states of another rule or other parameters.
    pub fn restore(
        rule: Rule,
        updates: u64,
        parameters: &Parameters,
        tensors: Vec<StateTensor>,
        file: &str,
    ) -> Result<Self> {
        let mut found: BTreeMap<String, StateTensor> = BTreeMap::new();
        for tensor in tensors {
            found.insert(tensor.name.clone(), tensor);
        }
        let mut states = BTreeMap::new();
        for (name, parameter) in parameters.iter() {
            // A parameter without a gradient has none.
            let mut state = rule.state(parameter);
            if state.fill(name, &mut found, file)? {
                states.insert(name.to_owned(), state);
            }
        }
        match found.keys().next() {
            Some(stranger) => {
                let reason = format!("state `{stranger}` belongs to no parameter of this run");
                Err(Error::format(file, reason))
            }
            None => Ok(Self {
                rule,
                updates,
                states,
            }),
        }
    }
}

impl Rule {
    /// The state of a parameter before its first gradient.
    fn state(self, parameter: &Parameter) -> State {
        let count = parameter.values.len();
        match self {
            Self::Muon(..) if parameter.shape.len() == 2 => State::Velocity(vec![0.0; count]),
            Self::AdamW8(_) if count >= SMALL => State::bytes(count),
            _ => State::floats(count),
        }
    }
}
