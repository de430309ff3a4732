//! How several devices share the work: each paints pictures of its own, or all paint each picture together.

use x2i_core::{Layout, Result, layout};

use crate::device::{DeviceKind, OpenDevice};
use crate::models::Model;
use crate::options::{EngineOptions, MemoryPolicy};

/// How several devices share the work.
pub enum Sharing {
    /// Each has the whole model and paints pictures of its own, beside its own options.
    Pictures(Vec<(OpenDevice, EngineOptions)>),
    /// All paint each picture: [`Engine::open_on`](crate::Engine::open_on).
    Blocks(Vec<OpenDevice>),
}

impl Sharing {
    /// The better way for so many `pictures`: of their own for the devices that hold the whole model, where
    /// these are several. A CPU beside GPUs is for blocks alone: the others would wait for its picture.
    ///
    /// # Errors
    /// As [`layout_on`].
    pub fn of(
        model: &Model,
        devices: Vec<OpenDevice>,
        options: &EngineOptions,
        pictures: usize,
    ) -> Result<Self> {
        if pictures < 2 || devices.len() < 2 {
            return Ok(Self::Blocks(devices));
        }
        let mut whole = vec![];
        for (index, device) in devices.iter().enumerate() {
            let own = options.alone(index, &devices)?;
            let holds = device.entry.kind != DeviceKind::Cpu
                && holds_all(&layout_on(model, std::slice::from_ref(device), &own), &own);
            whole.push(holds.then_some(own));
        }
        if whole.iter().flatten().count() < 2 {
            return Ok(Self::Blocks(devices));
        }
        let painters = devices.into_iter().zip(whole);
        let painters = painters.filter_map(|(device, own)| Some((device, own?)));
        Ok(Self::Pictures(painters.take(pictures).collect()))
    }
}

fn holds_all(layout: &Result<Layout>, options: &EngineOptions) -> bool {
    layout.as_ref().is_ok_and(|layout| {
        layout.is_whole() && (layout.stays || options.memory == MemoryPolicy::Low)
    })
}

/// Where a model's parts would lie on devices, for a picture of its default size. Reads its headers.
///
/// # Errors
/// As [`Engine::open_on`](crate::Engine::open_on).
pub fn layout_on(model: &Model, devices: &[OpenDevice], options: &EngineOptions) -> Result<Layout> {
    let load = model.adapters().added_to(options.load_options(devices)?);
    pollster::block_on(layout(&load, model.files(), &devices[0].device))
}
