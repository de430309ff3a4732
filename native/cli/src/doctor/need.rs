//! The content of a model folder, its problems, and the memory of its weights in each type.

use std::fmt::Write as _;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use x2i_core::Error;
use x2i_core::model::{self, FoundPart, Survey, SurveyedPart};
use x2i_core::weights::{Component, Target};

use crate::convert::plan;
use crate::flags::Quantize;
use crate::terminal::table::{columns, row};
use crate::terminal::{Checking, printable};
use crate::weights_report::{PartReport, describe, part_report};
use x2i_engine::host::human_bytes;
use x2i_engine::models::{self, ModelFiles, Verify};

/// The needs of a model.
#[derive(Debug, Serialize)]
pub struct Need {
    /// The model's name.
    pub name: String,
    /// Bytes of its tensors in the files.
    pub file_bytes: u64,
    /// Bytes when loaded on the CPU.
    pub loaded_on_cpu: u64,
    /// Bytes when loaded on a GPU.
    pub loaded_on_gpu: u64,
    /// Bytes of the largest tensor on a GPU.
    pub largest_tensor: u64,
    /// The components that are there.
    pub parts: Vec<PartReport>,
    /// `missing` or `broken`: what the problems are.
    #[serde(skip)]
    pub kind: &'static str,
    /// The missing or broken files and components, one message each.
    pub problems: Vec<String>,
    /// What its configs say that is not used, one message each.
    pub warnings: Vec<String>,
    /// Its memory after each conversion.
    pub precisions: Vec<Precision>,
}

/// The memory of a model after `convert --quantize`.
#[derive(Debug, Serialize)]
pub struct Precision {
    /// The value of `--quantize`; `none` is the folder as it is.
    pub quantize: String,
    /// Bytes of its tensors in the files.
    pub file_bytes: u64,
    /// Bytes when loaded on the CPU.
    pub loaded_on_cpu: u64,
    /// Bytes when loaded on a GPU.
    pub loaded_on_gpu: u64,
}

impl Need {
    /// Checks every component of a model.
    ///
    /// # Errors
    /// When the folder's `model.json` or `x2i.json` can't be read; [`Error::Cancelled`].
    pub fn of(model: &ModelFiles, verify: Verify, checking: &Checking) -> Result<Self> {
        let survey = pollster::block_on(model::survey(model))?;
        let config = pollster::block_on(model::read_config(model)).ok();
        let found = |part: &SurveyedPart| {
            let FoundPart {
                component,
                files,
                weights,
            } = part.found.as_ref().ok()?;
            let what = config.as_ref().map(|config| describe(config, *component));
            let what = what.unwrap_or_default();
            Some(part_report(part.part, what, *component, files, weights))
        };
        let parts: Vec<PartReport> = survey.parts.iter().filter_map(found).collect();
        let total = |of: fn(&PartReport) -> u64| parts.iter().map(of).sum();
        let found = survey
            .parts
            .iter()
            .filter_map(|part| part.found.as_ref().ok());
        let found: Vec<&FoundPart> = found.collect();
        let precisions = Quantize::value_variants().iter();
        let (kind, problems) = problems(&survey, model, verify, checking)?;
        Ok(Self {
            file_bytes: total(|part| part.bytes),
            loaded_on_cpu: total(|part| part.on_cpu),
            loaded_on_gpu: total(|part| part.on_gpu),
            largest_tensor: parts.iter().map(|part| part.largest).max().unwrap_or(0),
            kind,
            problems,
            warnings: config.map_or_else(Vec::new, |config| config.warnings),
            precisions: precisions
                .map(|quantize| precision(*quantize, &found))
                .collect(),
            name: survey.name,
            parts,
        })
    }

    /// The components, the problems and the memory, for people.
    pub fn report(&self) -> String {
        let mut text = format!("\nmodel: {}\n", printable(&self.name));
        let parts = self.parts.iter().map(|part| {
            let parameters = part.parameters as f64 / 1e6;
            row([
                part.part,
                &human_bytes(part.bytes),
                &format!("{parameters:.1} M parameters"),
                &part.what,
            ])
        });
        text.push_str(&columns(&parts.collect::<Vec<_>>()));
        for problem in &self.problems {
            let _ = writeln!(text, "  {}: {}", self.kind, printable(problem));
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "  warning: {}", printable(warning));
        }
        text.push_str("\nmemory of its weights, as they are and after convert --quantize\n");
        let heads = row(["", "files", "on the CPU", "on a GPU"]);
        let rows = self.precisions.iter().map(|precision| {
            row([
                &precision.quantize,
                &human_bytes(precision.file_bytes),
                &human_bytes(precision.loaded_on_cpu),
                &human_bytes(precision.loaded_on_gpu),
            ])
        });
        text.push_str(&columns(
            &std::iter::once(heads).chain(rows).collect::<Vec<_>>(),
        ));
        text
    }
}

/// What is missing; where nothing is, what keeps the model from being loaded.
///
/// # Errors
/// [`Error::Cancelled`].
fn problems(
    survey: &Survey,
    model: &ModelFiles,
    verify: Verify,
    checking: &Checking,
) -> Result<(&'static str, Vec<String>)> {
    let missing = survey.problems();
    let missing: Vec<String> = missing
        .map(|(what, error)| format!("{what}: {error}"))
        .collect();
    if !missing.is_empty() {
        return Ok(("missing", missing));
    }
    let broken = models::check(model, verify, &|checked| checking.hear(checked));
    if broken.iter().any(|error| matches!(error, Error::Cancelled)) {
        return Err(Error::Cancelled.into());
    }
    let broken = broken.iter().map(ToString::to_string);
    Ok(("broken", broken.collect()))
}

fn precision(quantize: Quantize, parts: &[&FoundPart]) -> Precision {
    let mut precision = Precision {
        quantize: quantize
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned()),
        file_bytes: 0,
        loaded_on_cpu: 0,
        loaded_on_gpu: 0,
    };
    for FoundPart {
        component, weights, ..
    } in parts
    {
        for (name, stored, shape) in plan::tensors(*component, weights, quantize) {
            precision.file_bytes += stored.byte_len(&shape).unwrap_or(0);
            // Only initial images need the VAE's encoder.
            if *component == Component::Vae && name.starts_with("encoder.") {
                continue;
            }
            precision.loaded_on_cpu += Target::Cpu.loaded_len(stored, &shape);
            precision.loaded_on_gpu += Target::Gpu.loaded_len(stored, &shape);
        }
    }
    precision
}
