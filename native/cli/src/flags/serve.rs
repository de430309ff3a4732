//! The flags of `x2i serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::paths::PathParser;
use super::queue::NatsArgs;
use super::served::{LogArgs, ServedArgs};
use super::values::ByteSize;

/// Serve models over HTTP.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The models and devices.
    #[command(flatten)]
    pub served: ServedArgs,
    /// Give the jobs to workers on other machines, over this NATS server with JetStream (`x2i worker`), in place of this
    /// machine's devices: `nats://[USER:PASSWORD@|TOKEN@]HOST:PORT` or `tls://...`, several with commas. The variable
    /// X2I_QUEUE says it too
    #[arg(long, value_name = "URL")]
    pub queue: Option<String>,
    /// Copies of every job in a cluster of NATS servers: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub queue_replicas: usize,
    /// How NATS is reached.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// The address to listen on; one that others can reach needs a key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    pub host: IpAddr,
    /// The port; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = x2i_serve::options::PORT)]
    pub port: u16,
    /// A file with API keys, one a line; the variable X2I_API_KEY is another one
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub api_key_file: Option<PathBuf>,
    /// Serve everyone who can reach the address
    #[arg(long)]
    pub allow_unauthenticated: bool,
    /// A name that browsers may use for this server, beside its address; may be given several times
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// An origin whose pages may ask, such as `https://app.example`; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// A host that inputs may be fetched from by URL, with its port where that is not 80 or 443; may be given several times
    /// (default: none)
    #[arg(long = "allow-fetch", value_name = "HOST[:PORT]")]
    pub allow_fetch: Vec<String>,
    /// The most jobs that wait; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub queue_size: usize,
    /// The most jobs that are kept when they are over, each for `--keep`
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub kept_jobs: usize,
    /// How long a job that is over is kept, with its outputs, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub keep: u64,
    /// The largest body of a request
    #[arg(long, value_name = "SIZE", default_value = "100M")]
    pub max_body: ByteSize,
    /// The most pixels of an image that is painted
    #[arg(long, value_name = "PIXELS", default_value_t = 4096 * 4096)]
    pub max_pixels: usize,
    /// The most steps of an image
    #[arg(long, value_name = "STEPS", default_value_t = 1000)]
    pub max_steps: usize,
    /// The most images of a job
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub max_images: usize,
    /// How long a call may wait for its images, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub max_wait: u64,
    /// The most connections at once; others wait
    #[arg(long, value_name = "N", default_value_t = 800)]
    pub max_connections: usize,
    /// How long jobs may take to end after SIGTERM or Ctrl-C, in seconds; then they are cancelled
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub drain_timeout: u64,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Reads an address, or `localhost`.
fn address(text: &str) -> Result<IpAddr, String> {
    let plain = text.strip_prefix('[').and_then(|v6| v6.strip_suffix(']'));
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => plain.unwrap_or(text).parse().map_err(|_| {
            "expected an address of this machine, such as 127.0.0.1, 0.0.0.0 for all, or localhost".to_owned()
        }),
    }
}
