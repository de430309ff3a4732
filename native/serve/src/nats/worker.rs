//! A worker process: studios at a desk over NATS, signals, and a small port for those who watch it.

mod port;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::connection::Session;
use super::desk::NatsDesk;
use super::options::{NatsOptions, NatsSettings};
use super::stores::{Stores, Upkeep};
use crate::inputs::{InputLimits, Inputs};
use crate::job::{Code, Failure};
use crate::models::Models;
use crate::studio::{self, StudioOptions};

/// How long the threads of devices may take to end when there is nothing left to do.
const END: Duration = Duration::from_secs(10);

/// What a worker is made of.
pub struct WorkerOptions {
    /// How NATS is reached.
    pub nats: NatsOptions,
    /// How patient the queue is.
    pub settings: NatsSettings,
    /// The models.
    pub models: Arc<Models>,
    /// One for each device. Their names differ between all workers of the queue.
    pub studios: Vec<StudioOptions>,
    /// How much of inputs is kept.
    pub inputs: InputLimits,
    /// How long jobs that run may go on when the worker stops.
    pub drain: Duration,
    /// Where `/health`, `/ready` and `/metrics` are.
    pub address: Option<SocketAddr>,
    /// Renders the metrics.
    pub metrics: Option<PrometheusHandle>,
}

/// Works until SIGTERM or Ctrl-C; then finishes the jobs that run or, after the limit, gives them back. A second signal
/// ends it at once.
///
/// # Errors
/// When the queue can't be reached or used, or the port is taken.
pub fn work(options: WorkerOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("x2i-nats")
        .enable_all()
        .build()
        .map_err(|error| internal(&error))?;
    let outcome = runtime.block_on(run(options));
    runtime.shutdown_background();
    outcome
}

async fn run(options: WorkerOptions) -> Result<(), Failure> {
    let WorkerOptions {
        nats,
        settings,
        models,
        studios,
        inputs,
        drain,
        address,
        metrics,
    } = options;
    let session = Session::connect(&nats).await?;
    let stores = Stores::open(session.clone(), settings, Upkeep::Worker).await?;
    let inputs = Arc::new(Inputs::new(inputs).map_err(|error| internal(&error))?);
    let desk = Arc::new(NatsDesk::new(stores, inputs, models.names()).await?);
    if let Some(address) = address {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            Failure::new(
                Code::Unavailable,
                format!("{address} can't be listened at: {error}"),
            )
        })?;
        tokio::spawn(port::serve(listener, desk.clone(), session, metrics));
    }
    let mut signals = Signals::new().map_err(|error| internal(&error))?;
    let mut threads = vec![];
    for studio in studios {
        threads.push(studio::start(studio, desk.clone()).map_err(|error| internal(&error))?);
    }
    tracing::info!(
        "takes jobs for {}",
        models.names().collect::<Vec<_>>().join(", ")
    );
    signals.next().await;
    tracing::info!(
        seconds = drain.as_secs_f64(),
        "takes no more jobs, and finishes those that run"
    );
    tokio::select! {
        () = end(&desk, threads, drain) => tracing::info!("has ended"),
        () = signals.next() => tracing::warn!("ends at once: other workers get its jobs when the server misses it"),
    }
    Ok(())
}

async fn end(desk: &NatsDesk, threads: Vec<JoinHandle<()>>, drain: Duration) {
    desk.drain(drain).await;
    let (ended, all) = oneshot::channel();
    std::thread::spawn(move || {
        for thread in threads {
            let _ = thread.join(); // its panic was told by its hook
        }
        let _ = ended.send(()); // nobody waits any more
    });
    let _ = tokio::time::timeout(END, all).await; // a device that hangs is not waited for
}

/// SIGTERM and Ctrl-C.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await; // without it, only killing ends the process
    }
}

fn internal(error: &std::io::Error) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}
