//! What commands that serve make of their flags: models with names, options.

use anyhow::{Context, Result, bail};
use x2i_engine::{DeviceList, EngineOptions, Model};
use x2i_serve::models::{Models, Served};
use x2i_serve::options::Named;

use crate::flags::ServedArgs;
use crate::flags::paths::expand_text;

/// The models and LoRAs of the flags. Reads configs, no weights.
///
/// # Errors
/// When one is not there or broken, or two have a name.
pub fn models(args: &ServedArgs) -> Result<Models> {
    let embedded = Named {
        name: "emoji".into(),
        place: "emoji".into(),
    };
    let given = match args.models.is_empty() {
        true => std::slice::from_ref(&embedded),
        false => &args.models[..],
    };
    let mut models = Models::default();
    for Named { name, place } in given {
        let place = expand_text(place);
        let model = Model::open(&place).map_err(|error| with_remedy(error, &place))?;
        let weights = args
            .control_weights
            .iter()
            .find(|weights| weights.name == *name);
        let control_weights = weights.map(|weights| expand_text(&weights.place).into());
        models.add(
            name,
            Served {
                model,
                control_weights,
            },
        )?;
    }
    for weights in &args.control_weights {
        if models.names().all(|name| name != weights.name) {
            bail!(
                "--control-weights: there is no model {}; give MODEL=FILE",
                weights.name
            );
        }
    }
    for Named { name, place } in &args.loras {
        models.add_lora(name, expand_text(place).into())?;
    }
    for (name, served) in models.iter() {
        models
            .adapters(served, &[])
            .and_then(|adapters| served.model.clone().with_adapters(&adapters))
            .with_context(|| format!("model {name}"))?;
    }
    Ok(models)
}

/// A server downloads nothing by itself: says how a repository of the Hub is got.
fn with_remedy(error: x2i_core::Error, place: &str) -> anyhow::Error {
    let is_path = place.starts_with(['/', '.', '~']) || std::path::Path::new(place).exists();
    match place.split('/').count() == 2 && !is_path {
        true => anyhow::anyhow!(
            "{}; get it with: x2i pull {place}",
            crate::words::sentence(&error)
        ),
        false => error.into(),
    }
}

/// The devices of the flags.
pub fn devices(args: &ServedArgs) -> Vec<DeviceList> {
    match args.devices.is_empty() {
        true => vec![DeviceList::default()],
        false => args.devices.clone(),
    }
}

/// How models are loaded.
pub fn engine(args: &ServedArgs) -> EngineOptions {
    args.loading.options(&args.max_device_memory)
}
