//! OpenAI's API: images and models. The fields are those of its SDKs; what X2I can do besides is in [`super::extras`].

mod answer;
mod body;
mod events;
pub mod images;
pub mod models;
mod schema;

pub(super) use answer::usage;
pub(super) use body::{FormatName, model, size};
