//! Which failures may pass, and how long to wait for that.

use std::io;
use std::time::Duration;

use x2i_core::{Error, Result};

use super::meter::Meter;

/// The first wait; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait that is chosen here.
const LONGEST: Duration = Duration::from_secs(16);
/// The longest wait that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
/// How often the same thing is tried again.
pub(super) const TRIES: u32 = 6;
/// The same for a server that can't be found or refuses connections: mostly there is no network.
pub(super) const FEW_TRIES: u32 = 2;

/// Why the Hub did not give what was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may pass.
    Passing {
        /// In one sentence.
        source: io::Error,
        /// How long the server asks to wait.
        after: Option<Duration>,
        /// How often to try again.
        tries: u32,
    },
    /// It will not pass.
    Lasting(io::Error),
}

impl Failure {
    /// One that may pass at any time.
    pub(super) fn passing(source: io::Error) -> Self {
        Self::Passing {
            source,
            after: None,
            tries: TRIES,
        }
    }
}

/// Waits longer from failure to failure, and gives up.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// Begins anew: something came.
    pub(super) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits after a failure of `what`.
    ///
    /// # Errors
    /// [`Error::Io`] with the failure when it does not pass or the patience is over;
    /// [`Error::Cancelled`].
    pub(super) fn wait(&mut self, what: &str, failure: Failure, meter: &Meter) -> Result<()> {
        let given_up = |source: io::Error| Error::Io {
            file: what.to_owned(),
            source,
        };
        let (source, after, tries) = match failure {
            Failure::Lasting(source) => return Err(given_up(source)),
            Failure::Passing {
                source,
                after,
                tries,
            } => (source, after, tries),
        };
        if after.is_some_and(|after| after > LONGEST_ASKED) {
            let reason = format!(
                "{source}, and asks to wait for {} s",
                after.unwrap_or_default().as_secs()
            );
            return Err(given_up(io::Error::new(source.kind(), reason)));
        }
        if self.failures >= tries {
            return Err(given_up(source));
        }
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures += 1;
        meter.wait(after.unwrap_or(wait))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::meter::ignore_pulled;
    use super::*;

    fn busy(after: u64) -> Failure {
        Failure::Passing {
            source: io::Error::other("is busy"),
            after: Some(Duration::from_secs(after)),
            tries: 2,
        }
    }

    #[test]
    fn patience_ends_and_begins_anew_with_what_comes() {
        let meter = Meter::new(1, &ignore_pulled);
        let mut patience = Patience::default();
        for _ in 0..2 {
            patience.wait("a", busy(0), &meter).unwrap();
        }
        patience.renew();
        for _ in 0..2 {
            patience.wait("a", busy(0), &meter).unwrap();
        }
        let error = patience.wait("a", busy(0), &meter).unwrap_err();
        assert_eq!(error.to_string(), "a: is busy");
    }

    #[test]
    fn a_long_wait_is_said_and_a_short_one_can_be_cancelled() {
        let meter = Meter::new(1, &ignore_pulled);
        let error = Patience::default()
            .wait("a", busy(7200), &meter)
            .unwrap_err();
        assert_eq!(error.to_string(), "a: is busy, and asks to wait for 7200 s");
        let stopped = Meter::new(1, &|_| ControlFlow::Break(()));
        let error = Patience::default()
            .wait("a", busy(500), &stopped)
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled));
    }
}
