//! `x2i worker`: the flags become a worker's options, and it works until a signal.

use std::time::Duration;

use anyhow::{Context, Result};
use x2i_serve::inputs::InputLimits;
use x2i_serve::nats::{self, NatsOptions, NatsSettings, WorkerOptions};
use x2i_serve::server;
use x2i_serve::studio::StudioOptions;

use crate::flags::{NatsArgs, WorkerArgs};
use crate::{log, served};

/// The most bytes of inputs that are kept for jobs to come.
const INPUTS: u64 = 4 << 30;
/// How long an input is kept that no job has: turns of a conversation come with the same ones.
const KEEP: Duration = Duration::from_secs(600);

/// Runs `x2i worker`.
///
/// # Errors
/// Of the flags, of models, and of a queue that can't be reached or used.
pub fn run(args: &WorkerArgs) -> Result<()> {
    let _log = log::log(&args.log)?;
    let models = served::models(&args.served)?;
    let queue = queue(args.queue.as_deref()).context(
        "no queue is named: give --queue nats://HOST:PORT, or set the variable X2I_QUEUE",
    )?;
    let name = args.name.clone().unwrap_or_else(own_name);
    let models = std::sync::Arc::new(models);
    let devices = served::devices(&args.served);
    let studios = devices
        .iter()
        .enumerate()
        .map(|(number, device)| StudioOptions {
            name: match devices.len() {
                1 => format!("{name}/{device}"),
                _ => format!("{name}/{device}#{number}"),
            },
            devices: device.clone(),
            opened: vec![],
            precision: args.served.loading.precision.unwrap_or_default(),
            engine: served::engine(&args.served),
            models: models.clone(),
            preload: models.names().next().map(str::to_owned),
        });
    let options = WorkerOptions {
        studios: studios.collect(),
        nats: nats_options(&args.nats, queue, format!("x2i worker {name}")),
        settings: NatsSettings {
            ack_wait: Duration::from_secs(args.ack_wait),
            deliveries: usize::try_from(args.max_deliveries).unwrap_or(usize::MAX),
            ..NatsSettings::default()
        },
        models,
        inputs: InputLimits {
            bytes: INPUTS,
            keep: KEEP,
        },
        drain: Duration::from_secs(args.drain_timeout),
        address: args.metrics_address,
        metrics: server::recorder(),
    };
    Ok(nats::work(options)?)
}

/// How NATS is reached.
pub fn nats_options(args: &NatsArgs, servers: String, name: String) -> NatsOptions {
    NatsOptions {
        servers,
        credentials: args.nats_credentials.clone(),
        nkey: args.nats_nkey.clone(),
        root_certificate: args.nats_ca.clone(),
        certificate: args.nats_cert.clone().zip(args.nats_key.clone()),
        name,
    }
}

/// The queue's address: a flag, else a variable, since others may read flags.
pub fn queue(flag: Option<&str>) -> Option<String> {
    let variable = || std::env::var("X2I_QUEUE").ok();
    flag.map(str::to_owned)
        .or_else(variable)
        .filter(|queue| !queue.is_empty())
}

/// A name that no other worker has.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.or_else(|| std::env::var("COMPUTERNAME").ok());
    let host = host.as_deref().map_or("host", str::trim);
    format!("{host}-{}", std::process::id())
}
