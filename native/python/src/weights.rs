//! The weights of a model's parts as arrays, for programs that have their own graph.

use pyo3::prelude::*;
use x2i_core::model::open_weights;
use x2i_core::weights::Component;
use x2i_core::{Error, Result};
use x2i_engine::{Array, Model};

use crate::array::Array as Numbers;
use crate::errors::{raised, refused};

/// A part's config as JSON, and its tensors by their names.
type Part = (String, Vec<(String, Numbers)>);

/// Reads a part, flux or vae, in f32, under the names of BFL's checkpoints.
#[pyfunction]
pub(crate) fn weights(py: Python<'_>, model: &str, part: &str) -> PyResult<Part> {
    let component = match part {
        "flux" => Component::Flux,
        "vae" => Component::Vae,
        other => {
            let reason = format!("`{other}` is none of flux and vae");
            return Err(refused(py, "part", &reason));
        }
    };
    let (config, tensors) = py
        .detach(|| read(model, component))
        .map_err(|error| raised(py, &error))?;
    let tensors = tensors.into_iter();
    Ok((
        config,
        tensors.map(|(name, array)| (name, array.into())).collect(),
    ))
}

fn read(model: &str, component: Component) -> Result<(String, Vec<(String, Array)>)> {
    let model = Model::open(model).map_err(|error| error.at(x2i_core::Field::Model))?;
    let (flux, vae) = (&model.config().flux, &model.config().vae);
    let (config, files) = match component {
        Component::Vae => (serde_json::to_string(&vae.config), &vae.weights),
        _ => (serde_json::to_string(&flux.config), &flux.weights),
    };
    let config = config.map_err(|error| Error::config("model", error.to_string()))?;
    let weights = pollster::block_on(open_weights(model.files(), component, files))?;
    let mut tensors = vec![];
    for name in weights.names() {
        let tensor = pollster::block_on(weights.read(name))?;
        let array = Array {
            shape: tensor.shape.to_vec(),
            values: tensor.to_f32(),
        };
        tensors.push((name.to_owned(), array));
    }
    Ok((config, tensors))
}
