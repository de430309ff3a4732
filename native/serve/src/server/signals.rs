//! Signals that end a server: the first lets it finish, the second does not.

use std::io;

/// The exit code after the second signal: 128 plus the number of SIGTERM, as in shells.
pub(super) const EXIT: i32 = 143;

/// SIGTERM and Ctrl-C.
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

/// Listens from now on.
#[cfg(unix)]
pub(super) fn listen() -> io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    })
}

/// Listens from now on.
#[cfg(not(unix))]
pub(super) fn listen() -> io::Result<Signals> {
    Ok(Signals {})
}

impl Signals {
    /// Waits for one.
    #[cfg(unix)]
    pub(super) async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for one.
    #[cfg(not(unix))]
    pub(super) async fn first(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }

    /// Waits for another one.
    pub(super) async fn second(&mut self) {
        self.first().await;
    }
}
