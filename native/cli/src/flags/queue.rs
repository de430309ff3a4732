//! The flags of a queue between machines: how NATS is reached.

use std::path::PathBuf;

use clap::Args;

use super::paths::PathParser;

/// How NATS is reached, beside its address.
#[derive(Debug, Args)]
pub struct NatsArgs {
    /// A credentials file of NATS (JWT and seed)
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub nats_credentials: Option<PathBuf>,
    /// A file with the seed of an nkey
    #[arg(long, value_name = "FILE", value_parser = PathParser, conflicts_with = "nats_credentials")]
    pub nats_nkey: Option<PathBuf>,
    /// A PEM file with certificates that NATS servers may be signed by, beside the system's
    #[arg(long, value_name = "FILE", value_parser = PathParser)]
    pub nats_ca: Option<PathBuf>,
    /// A PEM file with this client's certificate
    #[arg(long, value_name = "FILE", value_parser = PathParser, requires = "nats_key")]
    pub nats_cert: Option<PathBuf>,
    /// A PEM file with the key of that certificate
    #[arg(long, value_name = "FILE", value_parser = PathParser, requires = "nats_cert")]
    pub nats_key: Option<PathBuf>,
}
