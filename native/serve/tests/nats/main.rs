//! The queue over NATS JetStream against a real nats-server.

mod cancelling;
mod connecting;
mod faults;
mod giving_up;
mod parts;
mod processes;
mod queueing;
mod server;
