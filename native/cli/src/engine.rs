//! A model on a device, as every command that paints holds it.

use anyhow::Result;
use x2i_core::png::{DeviceRecord, Metadata, ModelRecord, PartRecord};
use x2i_core::{InputBits, LoadOptions, Memory, ModelConfig, Painting, Pipeline, Request};

use crate::adapters::Adapters;
use crate::flags::{ByteSize, EngineArgs, MemoryChoice};
use x2i_engine::device::{DeviceKind, OpenDevice};
use x2i_engine::models::hashes::{Hashes, ModelHashes};
use x2i_engine::host;
use crate::progress::Reporter;
use x2i_engine::models::Model;

/// A pipeline, and what its pictures say about it.
pub struct Engine {
    model: Model,
    config: ModelConfig,
    device: OpenDevice,
    exact: bool,
    hashes: ModelHashes,
    pipeline: Pipeline,
}

impl Engine {
    /// Reads the model to the device, with what stands beside it.
    ///
    /// # Errors
    /// As [`Pipeline::load_with`]; the device's own failure where it failed.
    pub fn load(
        args: &EngineArgs,
        adapters: &Adapters,
        model: Model,
        config: ModelConfig,
        device: OpenDevice,
        reporter: &mut Reporter,
    ) -> Result<Self> {
        let hashes = ModelHashes::begin(&model, &config)?;
        let options = adapters.added_to_options(load_options(args, &device));
        let loaded = device.guard(|| {
            let mut on_progress = async |progress| reporter.hear(progress);
            pollster::block_on(Pipeline::load_with(
                &options,
                &model,
                &device.device,
                &mut on_progress,
            ))
        });
        let pipeline = loaded.inspect_err(|_| reporter.clear())?;
        Ok(Self {
            model,
            config,
            device,
            exact: args.exact,
            hashes,
            pipeline,
        })
    }

    /// The model's config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Paints one picture.
    ///
    /// # Errors
    /// As [`Pipeline::generate`]; the device's own failure where it failed.
    pub fn paint(&self, request: &Request, reporter: &mut Reporter) -> Result<Painting> {
        let painted = self.device.guard(|| {
            let mut on_progress = async |progress| reporter.hear(progress);
            pollster::block_on(self.pipeline.generate(request, &mut on_progress))
        });
        Ok(painted?)
    }

    /// The SHA-256 of the model's files.
    ///
    /// # Errors
    /// [`x2i_core::Error::Io`] when one could not be read.
    pub fn hashes(&mut self) -> Result<&Hashes> {
        Ok(self.hashes.get()?)
    }

    /// What a picture says about its making.
    ///
    /// # Errors
    /// As [`hashes`](Self::hashes).
    pub fn metadata(
        &mut self,
        parts: Vec<PartRecord>,
        request: &Request,
        painting: &Painting,
    ) -> Result<Metadata> {
        let model = ModelRecord {
            name: self.config.name.clone(),
            place: self.model.place(),
            files: self.hashes.get()?.clone(),
        };
        let device = DeviceRecord {
            id: self.device.entry.id.clone(),
            name: self.device.entry.name.clone(),
            exact: self.exact,
        };
        Ok(Metadata::new(
            model,
            parts,
            request,
            device,
            painting.answer.clone(),
        ))
    }
}

/// What the flags ask for, and the memory that is free where they leave it to us.
fn load_options(args: &EngineArgs, device: &OpenDevice) -> LoadOptions {
    let in_host_memory = device.entry.kind == DeviceKind::Cpu || device.entry.software;
    let free = match in_host_memory {
        true => host::memory().map(|memory| memory.available),
        false => device.entry.memory,
    };
    LoadOptions {
        memory: match (args.memory, free) {
            (MemoryChoice::Low, _) => Memory::Low,
            (MemoryChoice::Auto, Some(free)) => Memory::Fit(free),
            (MemoryChoice::High, _) => Memory::High,
            // An unknown amount of memory is taken for enough, but a limit counts.
            (MemoryChoice::Auto, None) => {
                let limit = args.max_device_memory;
                limit.map_or(Memory::High, |ByteSize(limit)| Memory::Fit(limit))
            }
        },
        max_device_memory: args.max_device_memory.map(|ByteSize(bytes)| bytes),
        input_bits: match args.exact {
            true => InputBits::Sixteen,
            false => InputBits::AsWeights,
        },
        ..LoadOptions::default()
    }
}
