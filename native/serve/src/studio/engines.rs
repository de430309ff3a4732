//! The models that are loaded onto a studio's device: on demand, the least used dropped when there is no room.

use std::sync::Arc;
use std::time::Instant;

use x2i_core::Result;
use x2i_engine::device::{self, Precision};
use x2i_engine::{DeviceList, Engine, EngineOptions, Model, OpenDevice, Progress, host, layout_on};

use crate::job::{LoraOrder, Order};
use crate::measure;
use crate::models::Models;

/// The models on a device.
pub(super) struct Engines {
    models: Arc<Models>,
    choice: (DeviceList, Precision),
    options: EngineOptions,
    /// Opened for the first model, and again after a failure.
    devices: Vec<OpenDevice>,
    /// The least used first.
    loaded: Vec<Loaded>,
}

struct Loaded {
    model: String,
    loras: Vec<LoraOrder>,
    bytes: u64,
    engine: Engine,
}

impl Engines {
    pub(super) fn new(
        models: Arc<Models>,
        choice: (DeviceList, Precision),
        devices: Vec<OpenDevice>,
        options: EngineOptions,
    ) -> Self {
        Self {
            models,
            choice,
            options,
            devices,
            loaded: vec![],
        }
    }

    /// The device, opened if it is not.
    ///
    /// # Errors
    /// As [`device::acquire_all`].
    pub(super) fn devices(&mut self) -> Result<&[OpenDevice]> {
        if self.devices.is_empty() {
            self.devices = device::acquire_all(&self.choice.0, self.choice.1)?;
        }
        Ok(&self.devices)
    }

    /// The engine of an order's model with its LoRAs, loaded if it is not.
    ///
    /// # Errors
    /// Of an unknown model, of its files and LoRAs, of the device; [`x2i_core::Error::Cancelled`].
    pub(super) fn get(
        &mut self,
        order: &Order,
        hear: &mut impl FnMut(Progress) -> std::ops::ControlFlow<()>,
    ) -> Result<&mut Engine> {
        let models = self.models.clone();
        let (name, served) = models.get(order.model.as_deref())?;
        let is_it = |loaded: &Loaded| loaded.model == name && loaded.loras == order.loras;
        let loaded = match self.loaded.iter().position(is_it) {
            Some(at) => self.loaded.remove(at),
            None => {
                let adapters = models.adapters(served, &order.loras)?;
                let model = served.model.clone().with_adapters(&adapters)?;
                self.load(name, model, &order.loras, hear)?
            }
        };
        self.loaded.push(loaded);
        Ok(&mut self.loaded.last_mut().expect("it was pushed").engine)
    }

    fn load(
        &mut self,
        name: &str,
        model: Model,
        loras: &[LoraOrder],
        hear: &mut impl FnMut(Progress) -> std::ops::ControlFlow<()>,
    ) -> Result<Loaded> {
        self.devices()?;
        let layout = layout_on(&model, &self.devices, &self.options)?;
        let bytes = layout.shares.iter().map(|share| share.bytes).sum();
        self.make_room(bytes);
        let begun = Instant::now();
        let engine = Engine::open_on(model, self.devices.clone(), &self.options, hear)?;
        let took = begun.elapsed();
        measure::load(name, took);
        tracing::info!(model = name, bytes, ?took, "loaded");
        Ok(Loaded {
            model: name.to_owned(),
            loras: loras.to_vec(),
            bytes,
            engine,
        })
    }

    /// Drops the least used models until so many bytes have room.
    fn make_room(&mut self, bytes: u64) {
        while !self.loaded.is_empty() && bytes > self.room() {
            let dropped = self.loaded.remove(0);
            tracing::info!(model = dropped.model, bytes = dropped.bytes, "dropped");
        }
    }

    /// Bytes that another model may have.
    fn room(&self) -> u64 {
        let limits = &self.options.max_device_memory;
        if !limits.is_empty() {
            return limits.iter().sum::<u64>().saturating_sub(self.bytes());
        }
        let rooms = self
            .devices
            .iter()
            .map(|device| match device.entry.is_in_host_memory() {
                true => host::memory().map_or(u64::MAX, |memory| memory.available),
                false => device
                    .entry
                    .free
                    .map_or(u64::MAX, |free| free.saturating_sub(self.bytes())),
            });
        rooms.min().unwrap_or(u64::MAX) / 10 * 9 // activations need some
    }

    /// Names of the models that are loaded.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .loaded
            .iter()
            .map(|loaded| loaded.model.clone())
            .collect();
        names.dedup();
        names
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> u64 {
        self.loaded.iter().map(|loaded| loaded.bytes).sum()
    }

    /// Drops the device with all that is on it: after a failure.
    pub(super) fn reset(&mut self) {
        self.loaded.clear();
        self.devices.clear();
    }
}
