//! Where the Hub is, who asks it, and whether it may be asked.

use std::fmt;
use std::fs;
use std::io;

use x2i_core::{Error, Result};

use super::cache::{Cache, home_of_hub, set};

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";
/// Connections at a time, where the caller does not say.
const CONNECTIONS: usize = 8;
/// The longest token; the Hub's have some 40 characters.
const LONGEST_TOKEN: usize = 4096;

/// Whether the network may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// For what is asked for.
    #[default]
    Allowed,
    /// Never.
    Offline,
}

/// How the Hub is reached.
#[derive(Clone)]
pub struct HubOptions {
    /// Where downloads go.
    pub cache: Cache,
    /// The address of the Hub, or of a mirror: `https://HOST`, without a slash at its end.
    pub endpoint: String,
    /// The user's token. It is sent to the endpoint's own host alone, and over HTTPS or to this machine.
    pub token: Option<String>,
    /// Whether the network may be used.
    pub network: Network,
    /// Connections at a time, from 1 to 64.
    pub connections: usize,
}

impl fmt::Debug for HubOptions {
    /// Everything but the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("network", &self.network)
            .field("connections", &self.connections)
            .finish()
    }
}

impl HubOptions {
    /// What the environment says, as huggingface_hub reads it: `HF_HUB_CACHE` and `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH` and the token's file, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is no address, a token that is none, or where there is no
    /// folder for the cache; [`Error::Io`] for a token's file that can't be read.
    pub fn of_environment() -> Result<Self> {
        let reason = "HF_HOME is not set, and there is no home folder to download to";
        let cache = Cache::of_user().ok_or_else(|| Error::config("cache", reason))?;
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Ok(Self {
            cache,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token()?,
            network: match is_set("HF_HUB_OFFLINE") {
                true => Network::Offline,
                false => Network::Allowed,
            },
            connections: CONNECTIONS,
        })
    }
}

/// A variable's text without the spaces around it; `None` where nothing is left.
fn text(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Whether a variable says yes, in the words of Hugging Face's programs.
fn is_set(name: &str) -> bool {
    let yes = ["1", "on", "yes", "true"];
    text(name).is_some_and(|value| yes.contains(&value.to_ascii_lowercase().as_str()))
}

/// The token of the environment, else of its file.
fn token() -> Result<Option<String>> {
    let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
    if let Some((name, token)) = named.iter().find_map(|name| Some((name, text(name)?))) {
        return checked(name, token);
    }
    let path = set("HF_TOKEN_PATH").or_else(|| Some(home_of_hub()?.join("token")));
    let Some(path) = path else {
        return Ok(None);
    };
    let shown = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(token) => checked(&shown, token.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io {
            file: shown,
            source,
        }),
    }
}

/// A token that may stand in a header.
fn checked(place: &str, token: String) -> Result<Option<String>> {
    let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain && token.len() <= LONGEST_TOKEN {
        true => Ok(Some(token).filter(|token| !token.is_empty())),
        false => Err(Error::config(place.to_owned(), "holds no token of the Hub")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_visible_characters() {
        let read = |token: &str| checked("HF_TOKEN", token.to_owned());
        assert_eq!(read("hf_abc").unwrap().as_deref(), Some("hf_abc"));
        assert_eq!(read("").unwrap(), None);
        for token in ["a\r\nX-Evil: 1", "a b", "ä", &"a".repeat(5000)] {
            let error = read(token).unwrap_err().to_string();
            assert_eq!(error, "HF_TOKEN: holds no token of the Hub");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let options = HubOptions {
            cache: Cache::at("c"),
            endpoint: "https://h".into(),
            token: Some("hf_secret".into()),
            network: Network::Allowed,
            connections: 1,
        };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
