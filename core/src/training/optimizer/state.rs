//! What an optimizer remembers of a parameter, and its names in a file.

use std::collections::BTreeMap;

use super::bytes::Bytes;
use crate::error::{Error, Result};

/// Both moments of AdamW.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// The state of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Moments(Moments),
    Bytes(Bytes),
    /// Muon's momentum.
    Velocity(Vec<f32>),
}

/// A part of a state: a vector of f32, or of bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// The part's name, a dot, and the parameter's.
    pub name: String,
    /// Its numbers.
    pub values: StateValues,
}

/// The numbers of a [`StateTensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum StateValues {
    /// f32.
    Floats(Vec<f32>),
    /// Places in a table.
    Bytes(Vec<u8>),
}

impl State {
    pub fn floats(count: usize) -> Self {
        Self::Moments(Moments {
            first: vec![0.0; count],
            second: vec![0.0; count],
        })
    }

    pub fn bytes(count: usize) -> Self {
        Self::Bytes(Bytes::zeros(count))
    }

    /// The parts by PyTorch's names, and bitsandbytes' for 8 bits.
    fn parts(&mut self) -> Vec<(&'static str, Part<'_>)> {
        match self {
            Self::Moments(Moments { first, second }) => vec![
                ("exp_avg", Part::Floats(first)),
                ("exp_avg_sq", Part::Floats(second)),
            ],
            Self::Bytes(Bytes { first, second }) => vec![
                ("state1", Part::Bytes(&mut first.codes)),
                ("absmax1", Part::Floats(&mut first.scales)),
                ("state2", Part::Bytes(&mut second.codes)),
                ("absmax2", Part::Floats(&mut second.scales)),
            ],
            Self::Velocity(velocity) => vec![("momentum_buffer", Part::Floats(velocity))],
        }
    }

    /// All parts with the parameter's name.
    pub fn tensors(&self, parameter: &str) -> Vec<StateTensor> {
        let mut copy = self.clone();
        let parts = copy.parts().into_iter();
        let tensor = |(part, values): (&str, Part<'_>)| StateTensor {
            name: format!("{part}.{parameter}"),
            values: match values {
                Part::Floats(values) => StateValues::Floats(std::mem::take(values)),
                Part::Bytes(values) => StateValues::Bytes(std::mem::take(values)),
            },
        };
        parts.map(tensor).collect()
    }

    /// Takes the parts of a parameter out of `found`; false where there is none.
    pub fn fill(
        &mut self,
        parameter: &str,
        found: &mut BTreeMap<String, StateTensor>,
        file: &str,
    ) -> Result<bool> {
        let (mut filled, mut missing) = (0, None);
        for (part, mut place) in self.parts() {
            let name = format!("{part}.{parameter}");
            match found.remove(&name) {
                None => missing = Some(name),
                Some(tensor) => {
                    filled += 1;
                    if place.fill(tensor.values) {
                        continue;
                    }
                    let reason =
                        format!("state `{name}` has another size or type than its parameter");
                    return Err(Error::format(file, reason));
                }
            }
        }
        match missing {
            Some(name) if filled > 0 => Err(Error::MissingTensor {
                file: file.to_owned(),
                name,
            }),
            missing => Ok(missing.is_none()),
        }
    }
}

enum Part<'a> {
    Floats(&'a mut Vec<f32>),
    Bytes(&'a mut Vec<u8>),
}

impl Part<'_> {
    /// False when the values do not fit.
    fn fill(&mut self, values: StateValues) -> bool {
        match (self, values) {
            (Self::Floats(place), StateValues::Floats(values)) if place.len() == values.len() => {
                **place = values;
                true
            }
            (Self::Bytes(place), StateValues::Bytes(values)) if place.len() == values.len() => {
                **place = values;
                true
            }
            _ => false,
        }
    }
}
