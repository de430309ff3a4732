//! An order becomes a specification of the engine's.

use x2i_core::{Error, Field, Result, Turn};
use x2i_engine::{ControlSpec, InitSpec, JobSpec, Kind, Model, NamedFile, PartSpec, Settings};

use crate::inputs::Inputs;
use crate::job::{Failure, InputFile, Order, PartOrder, TurnOrder};
use crate::models::{Models, Served};

/// The specification of an order's first image.
///
/// # Errors
/// [`Error::Request`] for an input that is not there; those of reading the files of earlier turns.
pub fn job_spec(order: &Order, served: &Served, inputs: &Inputs) -> Result<JobSpec> {
    let settings = order.settings(0);
    let named = |file, field| named(file, field, inputs);
    let init = order.init.as_ref().map(|init| {
        let image = named(&init.image, Field::Init)?;
        Ok::<_, Error>(InitSpec {
            image,
            strength: init.strength,
        })
    });
    let control = order.control.as_ref().map(|control| {
        let image = named(&control.image, Field::Control)?;
        let hint = control.hint.unwrap_or_else(|| served.hint());
        Ok::<_, Error>(ControlSpec {
            image,
            scale: control.scale,
            hint,
        })
    });
    let turns = order
        .turns
        .iter()
        .map(|turn| earlier(turn, &served.model, &settings, inputs));
    Ok(JobSpec {
        parts: parts(&order.parts, inputs)?,
        earlier: turns.collect::<Result<_>>()?,
        init: init.transpose()?,
        control: control.transpose()?,
        settings,
    })
}

/// Checks an order before it waits: everything but what only decoding its files shows. Returns the width and the height
/// of its images.
///
/// # Errors
/// As clients shall read it.
pub fn check(order: &Order, models: &Models, inputs: &Inputs) -> Result<(usize, usize), Failure> {
    let (_, served) = models.get(order.model.as_deref())?;
    models.adapters(served, &order.loras)?;
    if order.control.is_some() && served.control_weights.is_none() {
        return Err(Failure::param(
            "control",
            "control: this model has no LightControl on this server",
        ));
    }
    let mut spec = job_spec(
        &Order {
            turns: vec![],
            control: None,
            ..order.clone()
        },
        served,
        inputs,
    )?;
    spec.settings.seed.get_or_insert(0);
    let outline = spec.outline(&served.model)?;
    if let Some(control) = &order.control
        && !control.scale.is_finite()
    {
        return Err(Error::request(
            Field::ControlScale,
            format!("{} is no scale", control.scale),
        )
        .into());
    }
    Ok((outline.request().width, outline.request().height))
}

fn parts(parts: &[PartOrder], inputs: &Inputs) -> Result<Vec<PartSpec>> {
    let file = |kind: Kind, file| {
        let file = named(file, kind.field(), inputs)?;
        Ok(PartSpec::File {
            kind,
            file,
            fps: None,
        })
    };
    let specs = parts.iter().map(|part| match part {
        PartOrder::Text(text) => Ok(PartSpec::Text(text.clone())),
        PartOrder::Image(input) => file(Kind::Image, input),
        PartOrder::Video(input) => file(Kind::Video, input),
        PartOrder::Audio(input) => file(Kind::Audio, input),
    });
    specs.collect()
}

fn earlier(turn: &TurnOrder, model: &Model, settings: &Settings, inputs: &Inputs) -> Result<Turn> {
    let specs = parts(&turn.parts, inputs)?;
    let read = specs.iter().map(|part| match part.read(model, settings)? {
        PartSpec::Text(text) => Ok(Some(x2i_core::Part::Text(text))),
        PartSpec::Ready { part, .. } => Ok(Some(part)),
        PartSpec::File { .. } => Ok(None), // `read` has replaced all of them
    });
    let parts = read.filter_map(Result::transpose).collect::<Result<_>>()?;
    Ok(Turn {
        parts,
        answer: turn.answer.clone(),
    })
}

fn named(file: &InputFile, field: Field, inputs: &Inputs) -> Result<NamedFile> {
    let missing = || Error::request(field, format!("there is no upload {} (any more)", file.id));
    let path = inputs.path(&file.id).ok_or_else(missing)?;
    Ok(NamedFile::labelled(path, &file.name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inputs::InputLimits;
    use crate::job::{InputId, Numbers};

    #[test]
    fn an_order_is_checked_before_it_waits() {
        let mut models = Models::default();
        let served = Served {
            model: Model::open("emoji").unwrap(),
            control_weights: None,
        };
        models.add("emoji", served).unwrap();
        let limits = InputLimits {
            bytes: 1000,
            keep: Duration::from_secs(9),
        };
        let inputs = Inputs::new(limits).unwrap();
        let order = Order {
            parts: vec![PartOrder::Text("a cat".into())],
            ..Order::default()
        };
        assert_eq!(check(&order, &models, &inputs).unwrap(), (64, 64));
        let refused = |order: Order| check(&order, &models, &inputs).unwrap_err();
        let steps = Numbers {
            steps: Some(0),
            ..Numbers::default()
        };
        assert_eq!(
            refused(Order {
                numbers: steps,
                ..order.clone()
            })
            .param
            .as_deref(),
            Some("steps")
        );
        let file = InputFile {
            id: InputId::of(b"gone"),
            name: "a.png".into(),
        };
        let gone = Order {
            parts: vec![PartOrder::Image(file)],
            ..order.clone()
        };
        assert!(refused(gone).message.contains("there is no upload"));
        let file = InputFile {
            id: inputs.keep(b"no image").unwrap(),
            name: "a.png".into(),
        };
        let failure = refused(Order {
            parts: vec![PartOrder::Image(file)],
            ..order.clone()
        });
        assert_eq!(failure.param.as_deref(), Some("image"));
        let other = Order {
            model: Some("flux".into()),
            ..order
        };
        assert_eq!(refused(other).param.as_deref(), Some("model"));
    }
}
