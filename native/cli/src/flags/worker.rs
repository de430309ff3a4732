//! The flags of `x2i worker`.

use std::net::SocketAddr;

use clap::Args;

use super::queue::NatsArgs;
use super::served::{LogArgs, ServedArgs};

/// Take jobs from a queue, and paint them.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The queue: `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]` or `tls://...`, several servers with commas; the variable
    /// X2I_QUEUE without this flag. It needs NATS 2.10 with JetStream
    #[arg(long, value_name = "URL[,URL...]")]
    pub queue: Option<String>,
    /// How NATS is reached.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// The models and devices.
    #[command(flatten)]
    pub served: ServedArgs,
    /// The worker's name among all of the queue (default: the host's, and the number of the process)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How long the server waits for a sign of life before another worker gets the job, in seconds; the same for all
    /// workers of a model
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub ack_wait: u64,
    /// How many workers get a job that none of them finishes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub max_deliveries: u64,
    /// How long a job may take to end after SIGTERM or Ctrl-C, in seconds; then it goes back to the queue
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub drain_timeout: u64,
    /// Where `/health`, `/ready` and `/metrics` are served, such as 0.0.0.0:9090 (default: nowhere)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_address: Option<SocketAddr>,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}
