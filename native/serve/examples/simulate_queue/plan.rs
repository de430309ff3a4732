//! What is simulated, and what all parts of it need.

use std::time::Duration;

use x2i_serve::inputs::{InputLimits, Inputs};
use x2i_serve::job::{Code, Failure};
use x2i_serve::nats::{NatsOptions, Session};

/// The model of the simulation.
pub const MODEL: &str = "sleeping";

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub url: String,
    /// How many workers there are.
    pub workers: usize,
    /// How many jobs they do.
    pub jobs: usize,
    /// The mean time of a job; each takes between half and one and a half of it.
    pub mean: Duration,
    /// Workers that die in mid-job.
    pub deaths: usize,
}

/// A connection.
///
/// # Errors
/// When there is no server.
pub async fn session(plan: &Plan) -> Result<Session, Failure> {
    let options = NatsOptions {
        servers: plan.url.clone(),
        name: "simulation".into(),
        ..NatsOptions::default()
    };
    Session::connect(&options).await
}

/// A place for inputs, of which there are none.
///
/// # Errors
/// When the system has no room.
pub fn inputs() -> Result<Inputs, Failure> {
    let limits = InputLimits {
        bytes: 1 << 20,
        keep: Duration::ZERO,
    };
    Inputs::new(limits).map_err(|error| Failure::new(Code::Internal, error.to_string()))
}
