//! Which part of a model each device of a list would have.

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use x2i_engine::device::{Precision, acquire_all, ids};
use x2i_engine::host::human_bytes;
use x2i_engine::models::ModelFiles;
use x2i_engine::{EngineOptions, Layout, Model, Sharing, layout_on};

use crate::flags::{ByteSize, DoctorArgs};
use crate::terminal::table::{columns, row};

/// The devices of a list, and what each of them would have.
#[derive(Debug, Serialize)]
pub struct Shares {
    devices: String,
    /// True when each device of several that hold the whole model would paint images of its own.
    spreads_images: bool,
    /// True when all parts stay between images.
    stays: bool,
    streamed_blocks: usize,
    shares: Vec<serde_json::Value>,
    #[serde(skip)]
    rows: Vec<Vec<String>>,
}

impl Shares {
    /// Opens the devices, and plans for the model's default size.
    ///
    /// # Errors
    /// When a device is not there, or when the model does not fit.
    pub fn of(files: &ModelFiles, args: &DoctorArgs) -> Result<Option<Self>> {
        let Some(list) = &args.device else {
            return Ok(None);
        };
        let devices = acquire_all(list, Precision::Auto)?;
        let limits = args.max_device_memory.iter();
        let options = EngineOptions {
            max_device_memory: limits.map(|ByteSize(bytes)| *bytes).collect(),
            ..EngineOptions::default()
        };
        let model = Model::from_files(files.clone())?;
        let layout = layout_on(&model, &devices, &options)?;
        let names: Vec<String> = devices
            .iter()
            .map(|device| device.entry.id.clone())
            .collect();
        let mut shares = Self {
            devices: ids(&devices),
            spreads_images: false,
            stays: layout.stays,
            streamed_blocks: layout.streamed,
            shares: vec![],
            rows: rows(&names, &layout),
        };
        for (name, share) in names.iter().zip(&layout.shares) {
            shares.shares.push(json!({
                "device": name,
                "double_blocks": [share.double.start, share.double.end],
                "single_blocks": [share.single.start, share.single.end],
                "bytes": share.bytes,
            }));
        }
        let many = devices.len();
        let sharing = Sharing::of(&model, devices, &options, many)?;
        shares.spreads_images = matches!(sharing, Sharing::Pictures(_));
        Ok(Some(shares))
    }

    /// For people.
    pub fn report(&self) -> String {
        let mut text = format!("\n{}\n{}", self.devices, columns(&self.rows));
        if self.streamed_blocks > 0 {
            text.push_str(&format!(
                "  {} blocks are read from the file in every step\n",
                self.streamed_blocks
            ));
        }
        text.push_str(match self.stays {
            true => "  all parts stay between images\n",
            false => "  parts are loaded one after the other for each image\n",
        });
        if self.spreads_images {
            text.push_str("  several images are spread: each GPU has a copy of the model\n");
        }
        text
    }
}

fn rows(names: &[String], layout: &Layout) -> Vec<Vec<String>> {
    let shares = names.iter().zip(&layout.shares).enumerate();
    let rows = shares.map(|(index, (name, share))| {
        let blocks = [("double", &share.double), ("single", &share.single)];
        let blocks = blocks.into_iter().filter(|(_, range)| !range.is_empty());
        let blocks = blocks.map(|(kind, range)| match range.len() {
            1 => format!("{kind} block {}", range.start),
            _ => format!("{kind} blocks {} to {}", range.start, range.end - 1),
        });
        let others = (index == 0).then(|| "all but the blocks".to_owned());
        let parts: Vec<String> = others.into_iter().chain(blocks).collect();
        let parts = match parts.is_empty() {
            true => "nothing".to_owned(),
            false => parts.join(", "),
        };
        row([name.as_str(), &human_bytes(share.bytes), &parts])
    });
    rows.collect()
}
