//! The flags of commands that serve: models with names, devices, logs.

use clap::{Args, ValueEnum};
use x2i_engine::DeviceList;
use x2i_serve::options::Named;

use super::loading::LoadingArgs;
use super::values::ByteSize;

/// Models with names, on devices.
#[derive(Debug, Args)]
pub struct ServedArgs {
    /// A model: `NAME=DIR`, a folder (named by its last part), or the embedded model (default: emoji); may be given several
    /// times. The first is loaded at once, and is meant where a request names none; others are loaded on demand
    #[arg(long = "model", short, value_name = "[NAME=]DIR|NAME")]
    pub models: Vec<Named>,
    /// A LoRA that requests may ask for by its name: `NAME=FILE`, or a file, named without its extension; may be given
    /// several times
    #[arg(long = "lora", value_name = "[NAME=]FILE")]
    pub loras: Vec<Named>,
    /// LightControl's weights of a model, for requests with a control image: `MODEL=FILE`
    #[arg(long, value_name = "MODEL=FILE")]
    pub control_weights: Vec<Named>,
    /// `auto`, `cpu`, `wgpu[:INDEX]` or `cuda[:INDEX]`; given several times, each device paints jobs of its own. A list
    /// (`wgpu:0,wgpu:1`) splits a model between its devices
    #[arg(long = "device", value_name = "DEVICE[,DEVICE...]")]
    pub devices: Vec<DeviceList>,
    /// The most memory of models on a device: 20G, 3000M or bytes. Models that were not used for the longest time are
    /// dropped first; blocks of one that does not fit alone are read from its file in every step
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub max_device_memory: Option<ByteSize>,
    /// How they are loaded.
    #[command(flatten)]
    pub loading: LoadingArgs,
}

impl ServedArgs {
    /// True when a model, a LoRA or a device is named.
    pub fn is_given(&self) -> bool {
        !(self.models.is_empty()
            && self.loras.is_empty()
            && self.control_weights.is_empty()
            && self.devices.is_empty())
    }
}

/// What is logged to stderr, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// The least important lines that are logged; `RUST_LOG` says more
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    pub log: LogLevel,
    /// Log JSON, one object a line
    #[arg(long)]
    pub log_json: bool,
}

/// How important a line of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed
    Error,
    /// What may fail soon
    Warn,
    /// What is done
    Info,
    /// Each request
    Debug,
}

impl LogLevel {
    /// As `RUST_LOG` has it.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,x2i_serve=info",
            Self::Debug => "info,x2i_serve=debug",
        }
    }
}
