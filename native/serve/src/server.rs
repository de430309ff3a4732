//! Runs a server: its devices and its queue in memory, or the queue between machines; its routes; and ends it without losing what it has taken.

mod accept;
mod recorder;
mod signals;
mod stalling;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle as TaskHandle;

pub use recorder::recorder;

use x2i_engine::device;

use crate::folders;
use crate::http::{App, body_shares, router};
use crate::inputs::Inputs;
use crate::job::Failure;
use crate::nats::{NatsOptions, NatsQueue, NatsSettings, Session};
use crate::options::ServeOptions;
use crate::queue::Queue;
use crate::queue::memory::MemoryQueue;
use crate::studio::{self, StudioOptions};

/// How often what is old is dropped.
const SWEEP: Duration = Duration::from_secs(30);
/// How long open connections may take to end when all jobs are over.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It would be open to strangers.
    #[error("{0}")]
    Danger(String),
    /// It can't listen there.
    #[error("{address}: can't listen there: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// None of its devices can be opened.
    #[error("{0}")]
    Device(x2i_core::Error),
    /// The queue between machines can't be reached or used.
    #[error("{0}")]
    Queue(#[from] Failure),
    /// The system refused something else.
    #[error("the server can't run: {0}")]
    Io(#[from] io::Error),
}

/// A server that runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its routes share.
    pub app: Arc<App>,
    end: watch::Sender<bool>,
    serving: TaskHandle<()>,
    studios: Vec<JoinHandle<()>>,
    drain: Duration,
}

/// Runs a server until SIGTERM or Ctrl-C; `ready` hears where it listens.
///
/// # Errors
/// When it can't begin.
pub fn run(options: ServeOptions, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("x2i-http")
        .build()?;
    runtime.block_on(async {
        let mut signals = signals::listen()?;
        let server = Server::start(options).await?;
        ready(server.address);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]); // systemd may not be there
        signals.first().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("stopping: jobs end first; a second signal ends at once");
        tokio::select! {
            () = server.stop() => Ok(()),
            () = signals.second() => {
                folders::remove_all();
                std::process::exit(signals::EXIT)
            }
        }
    })
}

impl Server {
    /// Starts a server on the runtime of the caller.
    ///
    /// # Errors
    /// When it would be open to strangers, or can't listen.
    pub async fn start(options: ServeOptions) -> Result<Self, ServeError> {
        if let Some(danger) = options.danger() {
            return Err(ServeError::Danger(danger));
        }
        let options = options.with_host_names();
        let listener = listener(options.address)?;
        let address = listener.local_addr()?;
        let inputs = Arc::new(Inputs::new(options.inputs)?);
        let (queue, studios) = match &options.nats {
            Some((nats, settings)) => (gateway(nats, settings).await?, vec![]),
            None => here(&options)?,
        };
        let app = Arc::new(App {
            queue,
            models: options.models.clone(),
            gateway: options.nats.is_some(),
            inputs: inputs.clone(),
            bodies: body_shares(options.limits.body),
            streams: Arc::new(Semaphore::new(options.limits.streams)),
            limits: options.limits.clone(),
            access: options.access.clone(),
            metrics: recorder(),
            stopping: AtomicBool::new(false),
        });
        tokio::spawn(sweep(inputs));
        let (end, ended) = watch::channel(false);
        let (routes, limits) = (
            router(app.clone()),
            (options.limits.connections, options.limits.patience),
        );
        let serving = tokio::spawn(accept::serve(listener, routes, ended, limits));
        let drain = options.drain;
        Ok(Self {
            address,
            app,
            end,
            serving,
            studios,
            drain,
        })
    }

    /// Takes no more jobs, ends those that it has, answers whoever waits, and ends.
    pub async fn stop(self) {
        self.app.stopping.store(true, Ordering::Relaxed);
        self.app.queue.drain(self.drain).await;
        let _ = self.end.send(true);
        let _ = tokio::time::timeout(GOODBYE, self.serving).await;
        let joined = tokio::task::spawn_blocking(|| {
            for studio in self.studios {
                let _ = studio.join();
            }
        });
        let _ = tokio::time::timeout(GOODBYE, joined).await;
    }
}

/// The socket that systemd gives, else one of our own.
fn listener(address: SocketAddr) -> Result<tokio::net::TcpListener, ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let given = listenfd::ListenFd::from_env()
        .take_tcp_listener(0)
        .map_err(failed)?;
    let listener = match given {
        Some(given) => given,
        None => TcpListener::bind(address).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::TcpListener::from_std(listener).map_err(failed)
}

/// A queue, and the threads of the devices that take its jobs.
type Parts = (Arc<dyn Queue>, Vec<JoinHandle<()>>);

/// The queue in memory, and this machine's devices.
fn here(options: &ServeOptions) -> Result<Parts, ServeError> {
    let queue = Arc::new(MemoryQueue::new(options.queue)?);
    let studios = start_studios(options, &queue)?;
    tokio::spawn(sweep_queue(queue.clone()));
    Ok((queue, studios))
}

/// The queue between machines.
async fn gateway(nats: &NatsOptions, settings: &NatsSettings) -> Result<Arc<dyn Queue>, Failure> {
    let session = Session::connect(nats).await?;
    Ok(Arc::new(NatsQueue::open(session, settings.clone()).await?))
}

fn no_device() -> ServeError {
    ServeError::Device(x2i_core::Error::device("(none)", "a server needs a device"))
}

/// The studios of this machine's devices. One that can't be opened is tried again with its first job.
fn start_studios(
    options: &ServeOptions,
    queue: &Arc<MemoryQueue>,
) -> Result<Vec<JoinHandle<()>>, ServeError> {
    let opened = options
        .devices
        .iter()
        .map(|devices| device::acquire_all(devices, options.precision));
    let opened: Vec<_> = opened.collect();
    if opened.iter().all(Result::is_err) {
        let first = opened.into_iter().find_map(Result::err);
        return Err(first.map_or_else(no_device, ServeError::Device));
    }
    let studios = opened.into_iter().enumerate().map(|(number, opened)| {
        let devices = &options.devices[number];
        let name = match options.devices.len() {
            1 => devices.to_string(),
            _ => format!("{devices}#{number}"),
        };
        let studio = StudioOptions {
            name,
            devices: devices.clone(),
            opened: opened.unwrap_or_default(),
            precision: options.precision,
            engine: options.engine.clone(),
            models: options.models.clone(),
            preload: options.models.names().next().map(str::to_owned),
        };
        Ok(studio::start(studio, queue.clone())?)
    });
    studios.collect()
}

async fn sweep(inputs: Arc<Inputs>) {
    let mut clock = tokio::time::interval(SWEEP);
    loop {
        clock.tick().await;
        inputs.sweep();
        recorder::upkeep();
    }
}

async fn sweep_queue(queue: Arc<MemoryQueue>) {
    let mut clock = tokio::time::interval(SWEEP);
    loop {
        clock.tick().await;
        queue.sweep();
    }
}
