//! What the Hub's answers mean, in one sentence each.
//!
//! Source: `x-error-code` as huggingface_hub reads it.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};

use super::patience::{Failure, TRIES};

/// Who was asked, for the sentences.
pub(super) struct Asked<'a> {
    /// The repository's page.
    pub(super) page: &'a str,
    /// Whether a token was sent.
    pub(super) has_token: bool,
}

/// A header's text, if it has one.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The failure of an answer that is neither a success nor a redirect.
pub(super) fn failure(status: StatusCode, headers: &HeaderMap, asked: &Asked) -> Failure {
    let code = header(headers, "x-error-code").unwrap_or_default();
    let lasting = |kind, reason: String| Failure::Lasting(Error::new(kind, reason));
    match (status.as_u16(), code) {
        (408 | 429 | 500 | 502 | 503 | 504, _) => Failure::Passing {
            source: Error::new(ErrorKind::ResourceBusy, busy(status)),
            after: retry_after(headers),
            tries: TRIES,
        },
        (_, "GatedRepo") => lasting(ErrorKind::PermissionDenied, gated(asked)),
        (_, "DisabledRepo") => lasting(
            ErrorKind::PermissionDenied,
            "is disabled by the Hub".to_owned(),
        ),
        (_, "RevisionNotFound") => lasting(
            ErrorKind::NotFound,
            format!("has no such revision; {} lists them", asked.page),
        ),
        (_, "EntryNotFound") => lasting(
            ErrorKind::NotFound,
            format!("has no such file; {}/tree/main lists them", asked.page),
        ),
        (401, code) if asked.has_token && code != "RepoNotFound" => lasting(
            ErrorKind::PermissionDenied,
            "the token (HF_TOKEN, or the file that HF_TOKEN_PATH names) is refused".to_owned(),
        ),
        (401 | 404, _) | (_, "RepoNotFound") => lasting(ErrorKind::NotFound, absent(asked)),
        (403, _) => lasting(
            ErrorKind::PermissionDenied,
            format!("may not be read with this token; see {}", asked.page),
        ),
        _ => lasting(ErrorKind::Other, format!("the server answers {status}")),
    }
}

fn busy(status: StatusCode) -> String {
    match status.as_u16() {
        429 => "the server says that there were too many requests (429)".to_owned(),
        _ => format!("the server is busy or broken ({status})"),
    }
}

fn gated(asked: &Asked) -> String {
    let page = asked.page;
    match asked.has_token {
        true => format!(
            "is gated, and the account of this token may not read it yet; accept its licence at {page}"
        ),
        false => format!(
            "is gated; accept its licence at {page}, and give a token of that account in HF_TOKEN"
        ),
    }
}

fn absent(asked: &Asked) -> String {
    let page = asked.page;
    match asked.has_token {
        true => format!("there is no repository {page} that this token may read"),
        false => {
            format!("there is no repository {page}; if it is private, give a token in HF_TOKEN")
        }
    }
}

/// `Retry-After` in seconds, fractions too. A date is not read.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = header(headers, "retry-after")?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, headers: &[(&'static str, &str)], has_token: bool) -> Failure {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let asked = Asked {
            page: "https://h/a/b",
            has_token,
        };
        failure(StatusCode::from_u16(status).unwrap(), &map, &asked)
    }

    #[test]
    fn every_code_of_the_hub_has_its_sentence() {
        let cases = [
            (
                403,
                "GatedRepo",
                false,
                "accept its licence at https://h/a/b, and give a token",
            ),
            (
                401,
                "GatedRepo",
                true,
                "may not read it yet; accept its licence at https://h/a/b",
            ),
            (
                404,
                "RepoNotFound",
                false,
                "there is no repository https://h/a/b; if it is private",
            ),
            (
                401,
                "RepoNotFound",
                true,
                "https://h/a/b that this token may read",
            ),
            (401, "", false, "there is no repository"),
            (
                401,
                "",
                true,
                "the token (HF_TOKEN, or the file that HF_TOKEN_PATH names) is refused",
            ),
            (404, "RevisionNotFound", false, "has no such revision"),
            (404, "EntryNotFound", false, "has no such file"),
            (403, "DisabledRepo", false, "is disabled"),
            (418, "", false, "the server answers 418"),
        ];
        for (status, code, has_token, words) in cases {
            let Failure::Lasting(error) = told(status, &[("x-error-code", code)], has_token) else {
                panic!("{status} {code} does not pass");
            };
            assert!(
                error.to_string().contains(words),
                "{status} {code}: {error}"
            );
        }
    }

    #[test]
    fn a_busy_server_says_how_long() {
        for (value, seconds) in [
            ("7", Some(7.0)),
            ("0.5", Some(0.5)),
            ("-1", Some(0.0)),
            ("NaN", None),
        ] {
            let Failure::Passing { after, .. } = told(429, &[("retry-after", value)], false) else {
                panic!("429 passes");
            };
            let expected = seconds.map(Duration::from_secs_f64);
            assert!(after == expected || value == "NaN", "{value}: {after:?}");
        }
    }
}
