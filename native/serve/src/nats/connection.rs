//! The connection: who we are, whether the server will do, and when it came back.

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use super::options::NatsOptions;
use super::refusal::unavailable;
use crate::job::{Code, Failure};

/// The oldest server whose work queues do what is needed: older ones ignore settings that they do not know.
const OLDEST: (u32, u32) = (2, 10);
/// How long an answer may take. A worker's signs of life are not held up for longer by a server that is away.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to reach a server that is away.
const PAUSE: Duration = Duration::from_secs(2);

/// Seconds after which a client may ask again while the server is away.
const AWAY: f64 = 2.0;

/// A connection that comes back by itself.
#[derive(Clone)]
pub struct Session {
    /// Core NATS.
    pub client: Client,
    /// JetStream.
    pub jetstream: Context,
    /// Whether the server knows times to live of single messages (2.11).
    pub message_ttl: bool,
    /// Counts connections.
    connections: watch::Receiver<u64>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// One sentence: an address or a file that can't be read, a server that is not there, refuses, is older than 2.10 or
    /// has no JetStream.
    pub async fn connect(options: &NatsOptions) -> Result<Self, Failure> {
        let addresses = addresses(&options.servers)?;
        let shown = shown(&addresses);
        let (count, connections) = watch::channel(0);
        let connecting = with_identity(ConnectOptions::new(), options, &addresses).await?;
        let client = connecting
            .name(&options.name)
            .request_timeout(Some(ANSWER))
            .reconnect_delay_callback(|attempts| {
                let pause =
                    Duration::from_millis(50) * u32::try_from(attempts).unwrap_or(40).min(40);
                pause.min(PAUSE)
            })
            .event_callback(move |event| {
                heard(&event, &count);
                async {}
            })
            .connect(without_identity(addresses))
            .await
            .map_err(|error| refused(&shown, &error))?;
        let version = client.server_info().version;
        if version_of(&version).is_none_or(|version| version < OLDEST) {
            let message = format!(
                "{shown} is NATS {version}; x2i needs {}.{} or newer",
                OLDEST.0, OLDEST.1
            );
            return Err(Failure::new(Code::Unavailable, message));
        }
        let jetstream = jetstream::new(client.clone());
        jetstream.query_account().await.map_err(|error| {
            let message = format!("{shown} has no JetStream ({error}); start nats-server with -js");
            Failure::new(Code::Unavailable, message)
        })?;
        Ok(Self {
            message_ttl: client.is_server_compatible(2, 11, 0),
            client,
            jetstream,
            connections,
        })
    }

    /// Counts connections: changes when the server comes back after this call.
    pub fn connections(&self) -> watch::Receiver<u64> {
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        connections
    }

    /// Waits until the server has all that was sent.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn flush(&self) -> Result<(), Failure> {
        match tokio::time::timeout(ANSWER, self.client.flush()).await {
            Ok(flushed) => flushed.map_err(|error| unavailable("flushing", error)),
            Err(_) => Err(unavailable("flushing", "no answer")),
        }
    }

    /// Waits a moment for a server that is away.
    ///
    /// # Errors
    /// When it does not come back.
    pub(super) async fn here(&self, patience: Duration) -> Result<(), Failure> {
        let mut connections = self.connections();
        if self.is_connected() {
            return Ok(());
        }
        let back = tokio::time::timeout(patience, connections.changed()).await;
        match back.is_ok() || self.is_connected() {
            true => Ok(()),
            false => {
                let message = "the queue can't be reached now (NATS is away); ask again later";
                let away = Failure::new(Code::Unavailable, message);
                Err(Failure {
                    retry_after: Some(AWAY),
                    ..away
                })
            }
        }
    }

    /// True while the server is there.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

fn heard(event: &Event, count: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            count.send_modify(|count| *count += 1);
            tracing::info!("NATS: connected");
        }
        Event::SlowConsumer(_) => tracing::debug!("NATS: a subscription is behind"),
        event => tracing::warn!("NATS: {event}"),
    }
}

fn addresses(servers: &str) -> Result<Vec<ServerAddr>, Failure> {
    let each = servers
        .split(',')
        .map(str::trim)
        .filter(|one| !one.is_empty());
    let addresses = each.map(|one| {
        let parsed = one.parse::<ServerAddr>().ok();
        let parsed = parsed.filter(|address| {
            matches!(address.scheme(), "nats" | "tls") && !address.host().is_empty()
        });
        parsed.ok_or_else(|| invalid("a NATS server is nats://HOST:PORT or tls://HOST:PORT"))
    });
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    match addresses.is_empty() {
        true => Err(invalid("no NATS server is named: give nats://HOST:PORT")),
        false => Ok(addresses),
    }
}

/// Addresses as they may be told: without passwords.
fn shown(addresses: &[ServerAddr]) -> String {
    let shown = addresses.iter().map(|address| {
        format!(
            "{}://{}:{}",
            address.scheme(),
            address.host(),
            port(address)
        )
    });
    shown.collect::<Vec<_>>().join(",")
}

fn port(address: &ServerAddr) -> u16 {
    address.clone().into_inner().port().unwrap_or(4222)
}

/// The client takes names and passwords as options alone.
fn without_identity(addresses: Vec<ServerAddr>) -> Vec<ServerAddr> {
    let each = addresses.into_iter().map(|address| {
        let mut url = address.clone().into_inner();
        let removed = url.set_username("").and_then(|()| url.set_password(None));
        match removed {
            Ok(()) => ServerAddr::from_url(url).unwrap_or(address),
            Err(()) => address,
        }
    });
    each.collect()
}

async fn with_identity(
    mut connecting: ConnectOptions,
    options: &NatsOptions,
    addresses: &[ServerAddr],
) -> Result<ConnectOptions, Failure> {
    if let Some(address) = addresses.iter().find(|address| address.has_user_pass()) {
        let user = unescaped(address.username().unwrap_or_default());
        connecting = match address.password() {
            Some(password) => connecting.user_and_password(user, unescaped(password)),
            None => connecting.token(user),
        };
    }
    if let Some(path) = &options.nkey {
        let seed = tokio::fs::read_to_string(path).await;
        let seed = seed.map_err(|error| invalid(format_args!("{}: {error}", path.display())))?;
        connecting = connecting.nkey(seed.trim().to_owned());
    }
    if let Some(path) = &options.credentials {
        let read = connecting.credentials_file(path).await;
        connecting = read.map_err(|error| invalid(format_args!("{}: {error}", path.display())))?;
    }
    if let Some(path) = &options.root_certificate {
        connecting = connecting
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    if let Some((certificate, key)) = &options.certificate {
        connecting = connecting
            .add_client_certificate(certificate.clone(), key.clone())
            .require_tls(true);
    }
    Ok(connecting)
}

/// The text of a part of a URL.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    Failure::new(Code::InvalidRequest, message.to_string())
}

fn refused(shown: &str, error: &async_nats::ConnectError) -> Failure {
    use std::error::Error;
    let cause = error.source().map(|source| source.to_string());
    match cause {
        Some(cause) if !error.to_string().contains(&cause) => {
            unavailable(shown, format_args!("{error}: {cause}"))
        }
        _ => unavailable(shown, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_passwords() {
        let read = addresses("nats://me:se%40cret@a:1, tls://b").unwrap();
        assert_eq!(shown(&read), "nats://a:1,tls://b:4222");
        assert_eq!(unescaped(read[0].password().unwrap()), "se@cret");
        assert_eq!(shown(&without_identity(read)), "nats://a:1,tls://b:4222");
        for wrong in ["", " , ", "http://a", "ws://a", "nats://"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version_of("2.9.10"), Some((2, 9)));
        assert!(version_of("2.9.10") < Some(OLDEST) && version_of("2.15.1-beta") >= Some(OLDEST));
        assert_eq!(version_of("?"), None);
    }
}
