//! HTTP with the Hub: redirects, ranges, and who gets the token.

use std::io;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode, Uri};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};
use x2i_core::{Error, Result};

use super::answers::{Asked, failure, header};
use super::options::HubOptions;
use super::patience::{FEW_TRIES, Failure, TRIES};
use super::roots::roots;

/// The most redirects of one request.
const REDIRECTS: usize = 6;
/// Connections that are kept for the next part of a file.
const IDLE: usize = 64;
/// How long a connection, or the beginning of an answer, may take.
const BEGIN: Duration = Duration::from_secs(30);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);

/// Asks the Hub. It may be shared between threads.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<String>,
}

/// One request.
pub(super) struct Question<'a> {
    /// The address.
    pub(super) url: &'a str,
    /// The repository's page, for sentences.
    pub(super) page: &'a str,
    /// `Range`'s value.
    pub(super) range: Option<String>,
    /// `If-Range`'s value: the etag of the server that gave the first bytes.
    pub(super) if_range: Option<String>,
}

impl<'a> Question<'a> {
    /// Without a range.
    pub(super) fn plain(url: &'a str, page: &'a str) -> Self {
        Self {
            url,
            page,
            range: None,
            if_range: None,
        }
    }
}

/// An answer with a status of success, or 416: there is no such range.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// The address that gave it, after redirects.
    pub(super) url: String,
}

/// Scheme, host and port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Client {
    /// A client of the options' endpoint.
    ///
    /// # Errors
    /// [`Error::Config`] for an endpoint that is no address, or certificates that can't be read.
    pub(super) fn new(options: &HubOptions) -> Result<Self> {
        let endpoint = options.endpoint.clone();
        let origin = Origin::of(&endpoint).filter(|_| !endpoint.contains(['?', '#', ' ']));
        let origin = origin.ok_or_else(|| {
            Error::config(
                "HF_ENDPOINT",
                format!("{endpoint} is no address; give https://HOST"),
            )
        })?;
        let tls = TlsConfig::builder().root_certs(roots()?).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("x2i/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .timeout_connect(Some(BEGIN))
            .timeout_recv_response(Some(BEGIN))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            endpoint,
            origin,
            token: options.token.clone(),
        })
    }

    /// The address of the Hub.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Gets an address, after redirects.
    pub(super) fn get(&self, question: &Question) -> Result<Answer, Failure> {
        let mut url = question.url.to_owned();
        for _ in 0..REDIRECTS {
            match self.once("GET", &url, question)? {
                Step::Answer(answer) => return Ok(answer),
                Step::Redirect(to, _) => url = to,
            }
        }
        Err(too_many())
    }

    /// The headers by which the Hub describes a file: of its own answer, before it redirects to a host
    /// that gives the bytes.
    pub(super) fn describe(&self, question: &Question) -> Result<HeaderMap, Failure> {
        let mut url = question.url.to_owned();
        for _ in 0..REDIRECTS {
            match self.once("HEAD", &url, question)? {
                Step::Answer(answer) => return Ok(answer.headers),
                Step::Redirect(_, headers) if headers.contains_key("x-linked-etag") => {
                    return Ok(headers);
                }
                Step::Redirect(to, _) => url = to,
            }
        }
        Err(too_many())
    }

    fn once(&self, method: &str, url: &str, question: &Question) -> Result<Step, Failure> {
        let to = Origin::of(url).ok_or_else(|| lasting("redirects to what is no address"))?;
        if self.origin.is_safe() && !to.is_safe() {
            return Err(lasting(
                "redirects from HTTPS to HTTP, which is not followed",
            ));
        }
        let mut request = match method {
            "HEAD" => self.agent.head(url),
            _ => self.agent.get(url),
        };
        request = request.header("accept-encoding", "identity");
        let token = self
            .token
            .as_ref()
            .filter(|_| to == self.origin && to.is_safe());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = &question.range {
            request = request.header("range", range);
        }
        if let Some(etag) = &question.if_range {
            request = request.header("if-range", etag);
        }
        let response = request.call().map_err(|error| unreachable(&to, error))?;
        let (head, body) = response.into_parts();
        let status = head.status;
        if status.is_success() || status.as_u16() == 416 {
            return Ok(Step::Answer(Answer {
                status: status.as_u16(),
                headers: head.headers,
                body,
                url: url.to_owned(),
            }));
        }
        let location = header(&head.headers, "location").filter(|_| status.is_redirection());
        if let Some(location) = location {
            let target =
                joined(url, location).ok_or_else(|| lasting("redirects to what is no address"))?;
            return Ok(Step::Redirect(target, head.headers));
        }
        if to != self.origin {
            return Err(of_other_host(&to, status, &head.headers));
        }
        let asked = Asked {
            page: question.page,
            has_token: token.is_some(),
        };
        Err(failure(status, &head.headers, &asked))
    }
}

enum Step {
    Answer(Answer),
    Redirect(String, HeaderMap),
}

impl Origin {
    /// `None` for what is no HTTP address, or has a user's name in it.
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        let is_http = scheme == "https" || scheme == "http";
        (is_http && !authority.as_str().contains('@')).then(|| Self {
            port: authority.port_u16().or(match scheme.as_str() {
                "https" => Some(443),
                _ => Some(80),
            }),
            host: authority.host().to_ascii_lowercase(),
            scheme,
        })
    }

    /// Whether nobody on the way can read what is sent: HTTPS, or this machine.
    fn is_safe(&self) -> bool {
        let here = ["localhost", "127.0.0.1", "[::1]"];
        self.scheme == "https" || here.contains(&self.host.as_str())
    }
}

/// The address that a redirect means.
fn joined(from: &str, location: &str) -> Option<String> {
    if let Some(rest) = location.strip_prefix("//") {
        let (scheme, _) = from.split_once("://")?;
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        let start = from.find("://")? + 3;
        let end = from[start..].find('/').map_or(from.len(), |at| start + at);
        return Some(format!("{}{location}", &from[..end]));
    }
    Origin::of(location).map(|_| location.to_owned())
}

fn lasting(reason: &str) -> Failure {
    Failure::Lasting(io::Error::new(io::ErrorKind::InvalidData, reason))
}

fn too_many() -> Failure {
    lasting("is redirected again and again")
}

/// The failure of a host that the Hub has redirected to. A signed address is good for a while only, so that the
/// Hub is asked for another one.
fn of_other_host(to: &Origin, status: StatusCode, headers: &HeaderMap) -> Failure {
    let asked = Asked {
        page: &to.host,
        has_token: false,
    };
    match failure(status, headers, &asked) {
        Failure::Lasting(_) => {
            let reason = format!("{} answers {status}", to.host);
            Failure::passing(io::Error::new(io::ErrorKind::PermissionDenied, reason))
        }
        passing => passing,
    }
}

/// The failure of a request that got no answer.
fn unreachable(to: &Origin, error: ureq::Error) -> Failure {
    let told = |reason: &str| format!("can't reach {}: {reason}", to.host);
    let (kind, reason, tries) = match error {
        ureq::Error::HostNotFound => (io::ErrorKind::NotFound, told("no such host"), FEW_TRIES),
        ureq::Error::Timeout(_) => (io::ErrorKind::TimedOut, told("no answer in time"), TRIES),
        // rustls' errors of a handshake come as those of the connection.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            return untrusted(&told(&error.to_string()));
        }
        ureq::Error::Io(error) => {
            let tries = match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NetworkUnreachable => FEW_TRIES,
                _ => TRIES,
            };
            // A broken pipe is what a program says of its own output.
            let kind = match error.kind() {
                io::ErrorKind::BrokenPipe => io::ErrorKind::ConnectionAborted,
                kind => kind,
            };
            (kind, told(&error.to_string()), tries)
        }
        error @ (ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_)) => {
            return untrusted(&told(&error.to_string()));
        }
        error => (io::ErrorKind::Other, told(&error.to_string()), TRIES),
    };
    Failure::Passing {
        source: io::Error::new(kind, reason),
        after: None,
        tries,
    }
}

/// A server that can't be trusted is not asked again.
fn untrusted(reason: &str) -> Failure {
    let reason = format!("{reason}; SSL_CERT_FILE names a file of certificates to trust");
    Failure::Lasting(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a) == Origin::of(b);
        assert!(same("https://H.co/x", "https://h.co:443/y?z"));
        assert!(!same("https://h.co", "http://h.co"));
        assert!(!same("http://127.0.0.1:1/", "http://127.0.0.1:2/"));
        for text in ["ftp://h", "h.co", "https://", "https://h.co@evil.org/", ""] {
            assert_eq!(Origin::of(text), None, "{text}");
        }
    }

    #[test]
    fn redirects_are_relative_or_whole() {
        let to = |location| joined("https://h.co:1/a/b?c", location);
        assert_eq!(to("/x").as_deref(), Some("https://h.co:1/x"));
        assert_eq!(to("//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(to("http://cdn/x").as_deref(), Some("http://cdn/x"));
        for location in ["file:///etc/passwd", "x", ""] {
            assert_eq!(to(location), None, "{location}");
        }
    }

    #[test]
    fn a_token_goes_over_https_or_to_this_machine() {
        for (url, safe) in [
            ("https://h.co", true),
            ("http://h.co", false),
            ("http://127.0.0.1:9", true),
            ("http://127.0.0.1.evil.org", false),
            ("http://localhost", true),
        ] {
            assert_eq!(Origin::of(url).unwrap().is_safe(), safe, "{url}");
        }
    }
}
