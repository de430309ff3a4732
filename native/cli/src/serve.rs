//! `x2i serve`: the flags become a server's options, and it runs until a signal.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use x2i_serve::http::{Access, Limits};
use x2i_serve::models::Models;
use x2i_serve::nats::{NatsOptions, NatsSettings};
use x2i_serve::options::ServeOptions;
use x2i_serve::queue::memory::MemoryLimits;
use x2i_serve::server;

use crate::flags::{ByteSize, ServeArgs};
use crate::{log, served, worker};

/// The longest file of keys, in bytes.
const KEY_FILE: u64 = 1 << 20;
/// The shortest key.
const SHORTEST_KEY: usize = 8;

/// Runs `x2i serve`.
///
/// # Errors
/// Of the flags, of models, and of an address that can't be served.
pub fn run(args: &ServeArgs) -> Result<()> {
    let _log = log::log(&args.log)?;
    let options = options(args)?;
    let names: Vec<_> = options.models.names().map(str::to_owned).collect();
    let what = match &options.nats {
        Some(_) => "the models of its workers".to_owned(),
        None => names.join(", "),
    };
    server::run(options, |address| {
        // A script may wait for this line; a closed stdout is no reason to end.
        let _ = writeln!(std::io::stdout(), "x2i serves {what} at http://{address}");
    })?;
    Ok(())
}

fn options(args: &ServeArgs) -> Result<ServeOptions> {
    let queue = worker::queue(args.queue.as_deref());
    let models = match &queue {
        Some(_) if args.served.is_given() => {
            bail!(
                "--queue: workers have the models and devices; give --model, --lora and --device to `x2i worker`"
            )
        }
        Some(_) => Models::default(),
        None => served::models(&args.served)?,
    };
    let local = ServeOptions::local(models);
    let ByteSize(body) = args.max_body;
    Ok(ServeOptions {
        address: SocketAddr::new(args.host, args.port),
        devices: served::devices(&args.served),
        precision: args.served.loading.precision.unwrap_or_default(),
        engine: served::engine(&args.served),
        queue: MemoryLimits {
            waiting: args.queue_size,
            kept: args.kept_jobs,
            keep: Duration::from_secs(args.keep),
        },
        nats: queue.map(|queue| nats(args, queue)),
        limits: Limits {
            body: usize::try_from(body).unwrap_or(usize::MAX),
            pixels: args.max_pixels,
            images: args.max_images,
            steps: args.max_steps,
            wait: Duration::from_secs(args.max_wait),
            connections: args.max_connections.max(1),
            fetch: args
                .allow_fetch
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            ..Limits::default()
        },
        access: access(args)?,
        unauthenticated: args.allow_unauthenticated,
        drain: Duration::from_secs(args.drain_timeout),
        models: Arc::clone(&local.models),
        ..local
    })
}

/// The queue between machines, with the flags of the one in memory.
fn nats(args: &ServeArgs, queue: String) -> (NatsOptions, NatsSettings) {
    let settings = NatsSettings {
        jobs: args.queue_size,
        replicas: args.queue_replicas,
        keep_results: Duration::from_secs(args.keep),
        ..NatsSettings::default()
    };
    (
        worker::nats_options(&args.nats, queue, "x2i serve".into()),
        settings,
    )
}

fn access(args: &ServeArgs) -> Result<Access> {
    let mut keys = match &args.api_key_file {
        Some(file) => read_keys(file)?,
        None => vec![],
    };
    keys.extend(
        std::env::var("X2I_API_KEY")
            .ok()
            .filter(|key| !key.is_empty()),
    );
    if let Some(short) = keys.iter().find(|key| key.len() < SHORTEST_KEY) {
        bail!(
            "--api-key-file: a key of {} characters is too short; take {SHORTEST_KEY} at least",
            short.len()
        );
    }
    let origins = args.cors_origins.iter().map(|origin| {
        if !origin.contains("://") || origin.ends_with('/') {
            bail!("--cors-origin: `{origin}` is no origin; give one such as https://app.example");
        }
        origin
            .parse()
            .with_context(|| format!("--cors-origin: `{origin}` is no origin"))
    });
    Ok(Access {
        keys,
        hosts: args
            .allowed_hosts
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        origins: origins.collect::<Result<_>>()?,
    })
}

fn read_keys(file: &Path) -> Result<Vec<String>> {
    let length = std::fs::metadata(file)
        .with_context(|| format!("--api-key-file: {}", file.display()))?
        .len();
    if length > KEY_FILE {
        bail!(
            "--api-key-file: {} has {length} bytes; is it a file of keys?",
            file.display()
        );
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("--api-key-file: {}", file.display()))?;
    let keys: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    match keys.is_empty() {
        true => bail!("--api-key-file: {} has no key", file.display()),
        false => Ok(keys),
    }
}
