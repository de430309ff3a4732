//! What a server is made of.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use x2i_engine::device::Precision;
use x2i_engine::{DeviceList, EngineOptions};

use crate::http::{Access, Limits};
use crate::inputs::InputLimits;
use crate::models::Models;
use crate::nats::{NatsOptions, NatsSettings};
use crate::queue::memory::MemoryLimits;

/// The port where none is asked for; that of A1111, whose clients try it first.
pub const PORT: u16 = 7860;

/// What a server is made of.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where it listens, unless systemd gives it a socket. Port 0 is any free one.
    pub address: SocketAddr,
    /// Its models and LoRAs.
    pub models: Arc<Models>,
    /// Its devices: one studio for each list.
    pub devices: Vec<DeviceList>,
    /// In which floats the devices multiply.
    pub precision: Precision,
    /// How models are loaded.
    pub engine: EngineOptions,
    /// The size of the queue in memory.
    pub queue: MemoryLimits,
    /// The queue between machines that jobs go to in place of this machine's devices.
    pub nats: Option<(NatsOptions, NatsSettings)>,
    /// How much of clients' files is kept.
    pub inputs: InputLimits,
    /// The most that a request may ask for.
    pub limits: Limits,
    /// Who may ask.
    pub access: Access,
    /// Serves an address that others reach without a key.
    pub unauthenticated: bool,
    /// How long jobs may take to end when the server stops.
    pub drain: Duration,
}

impl ServeOptions {
    /// A server of these models on this machine alone, with the defaults of the command line.
    pub fn local(models: Models) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], PORT)),
            models: Arc::new(models),
            devices: vec![DeviceList::default()],
            precision: Precision::default(),
            engine: EngineOptions::default(),
            queue: MemoryLimits {
                waiting: 256,
                kept: 1000,
                keep: Duration::from_secs(3600),
            },
            nats: None,
            inputs: InputLimits {
                bytes: 4 << 30,
                keep: Duration::from_secs(3600),
            },
            limits: Limits::default(),
            access: Access::default(),
            unauthenticated: false,
            drain: Duration::from_secs(60),
        }
    }

    /// The same with the names that a browser on this machine may use for it, where none are given and others can't
    /// reach it.
    pub(crate) fn with_host_names(mut self) -> Self {
        if self.address.ip().is_loopback() {
            let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            self.access.hosts.extend(own);
            self.access.hosts.push(self.address.ip().to_string());
        } else if !self.access.hosts.is_empty() {
            self.access.hosts.push(self.address.ip().to_string());
        }
        self
    }

    /// Why such a server must not be: strangers could use it.
    pub(crate) fn danger(&self) -> Option<String> {
        let open = self.access.keys.is_empty() && !self.unauthenticated;
        (open && !self.address.ip().is_loopback()).then(|| {
            format!(
                "{} can be reached by others: give a key (--api-key-file or X2I_API_KEY), or allow everyone with \
                 --allow-unauthenticated",
                name(self.address.ip())
            )
        })
    }
}

fn name(ip: IpAddr) -> String {
    match ip.is_unspecified() {
        true => format!("{ip} (every address of this machine)"),
        false => ip.to_string(),
    }
}

/// A file or folder with a name: `NAME=PATH`, or a path that is named by its last part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The path, or a model's own name.
    pub place: String,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = match text.split_once('=') {
            Some((name, place)) => (name.to_owned(), place),
            None => (last(text), text),
        };
        if name.is_empty() || place.is_empty() {
            return Err("expected NAME=PATH, or a path".into());
        }
        if !is_name(&name) || name.contains(char::is_whitespace) {
            return Err(format!(
                "the name `{name}` has spaces; give another one as NAME=PATH"
            ));
        }
        Ok(Self {
            name,
            place: place.to_owned(),
        })
    }
}

/// True for what can be a name of a model: not empty, without control characters.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}

/// The last part of a path without its extension for files of weights. `owner/repo` stays as it is: the Hub's names
/// are known so.
fn last(text: &str) -> String {
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty()).collect();
    let is_repository =
        parts.len() == 2 && !text.starts_with(['/', '.', '~']) && !PathBuf::from(text).exists();
    if is_repository {
        return text.to_owned();
    }
    let last = parts.last().copied().unwrap_or_default();
    let weights = [".safetensors", ".sft", ".gguf", ".bin", ".pt", ".pth"];
    let stem = weights.iter().find_map(|end| last.strip_suffix(end));
    stem.unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_or_the_last_part_of_a_path() {
        let named = |text: &str| text.parse::<Named>().map(|named| (named.name, named.place));
        let both = |name: &str, place: &str| Ok((name.to_owned(), place.to_owned()));
        assert_eq!(named("emoji"), both("emoji", "emoji"));
        assert_eq!(
            named("flux=/models/flux-dev/"),
            both("flux", "/models/flux-dev/")
        );
        assert_eq!(
            named("/models/flux-dev/"),
            both("flux-dev", "/models/flux-dev/")
        );
        assert_eq!(named("OPPOer/X2I"), both("OPPOer/X2I", "OPPOer/X2I"));
        assert_eq!(
            named("./a/style.safetensors"),
            both("style", "./a/style.safetensors")
        );
        assert!(named("=x").is_err() && named("").is_err() && named("a b=c").is_err());
    }

    #[test]
    fn strangers_need_a_key() {
        let mut options = ServeOptions::local(Models::default());
        assert!(options.danger().is_none());
        options.address = SocketAddr::from(([0, 0, 0, 0], PORT));
        assert!(
            options
                .danger()
                .is_some_and(|danger| danger.contains("--allow-unauthenticated"))
        );
        options.unauthenticated = true;
        assert!(options.danger().is_none());
    }
}
