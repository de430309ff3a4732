//! What a studio is made of.

use std::sync::Arc;

use x2i_engine::device::Precision;
use x2i_engine::{DeviceList, EngineOptions, OpenDevice};

use crate::models::Models;

/// What a studio is made of.
#[derive(Clone)]
pub struct StudioOptions {
    /// Its name among those of the desk.
    pub name: String,
    /// The device, or several that split a model between them.
    pub devices: DeviceList,
    /// The devices, where they are open already.
    pub opened: Vec<OpenDevice>,
    /// In which floats they multiply.
    pub precision: Precision,
    /// How models are loaded. `max_device_memory` also bounds the models that stay loaded at once.
    pub engine: EngineOptions,
    /// The models.
    pub models: Arc<Models>,
    /// A model that is loaded before the first job.
    pub preload: Option<String>,
}
