//! What the Hub says of a repository: its commit, its files, and one file's length, etag and hash.

use std::io;
use std::io::Read;

use serde::Deserialize;
use ureq::http::HeaderMap;
use x2i_core::{Error, Result};

use super::answers::header;
use super::client::{Answer, Client, Question};
use super::meter::{Meter, Pulling};
use super::names::{is_commit, is_etag, is_path, plain_etag};
use super::patience::{Failure, Patience};
use super::reference::Reference;
use super::verify::Hash;

/// The longest description of a repository, in bytes.
const LONGEST: u64 = 64 << 20;
/// The most files of a repository.
const MOST_FILES: usize = 100_000;

/// The longest file, in bytes: far above the largest models, and few enough parts.
const LONGEST_FILE: u64 = 1 << 44;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) commit: String,
    pub(super) files: Vec<Listed>,
}

/// A file as the list of the repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: String,
    /// In bytes, where the list says it.
    pub(super) size: Option<u64>,
    pub(super) hash: Option<Hash>,
}

/// A file that can be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) path: String,
    pub(super) size: u64,
    /// It names the file's blob.
    pub(super) etag: String,
    pub(super) hash: Option<Hash>,
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

/// The page of a repository, for people.
pub(super) fn page(client: &Client, reference: &Reference) -> String {
    format!("{}/{}", client.endpoint(), reference.repository())
}

/// Asks for the commit and the files of a revision.
///
/// # Errors
/// [`Error::Io`] with the Hub's reason; [`Error::Format`] for an answer that can't be the Hub's, or a
/// file's name that leads out of its folder; [`Error::Cancelled`].
pub(super) fn describe(client: &Client, reference: &Reference, meter: &Meter) -> Result<Described> {
    let revision = escaped(reference.revision().unwrap_or("main"), Slash::Escaped);
    let (endpoint, repository) = (client.endpoint(), reference.repository());
    let url = format!("{endpoint}/api/models/{repository}/revision/{revision}?blobs=true");
    let page = page(client, reference);
    let (what, question) = (reference.to_string(), Question::plain(&url, &page));
    let json = patiently(&what, meter, || {
        client.get(&question).and_then(|answer| whole(answer, &url))
    })?;
    let broken = |reason: String| Error::format(what.clone(), reason);
    let info: Info = serde_json::from_slice(&json).map_err(|error| {
        broken(format!(
            "the server's description is not the Hub's: {error}"
        ))
    })?;
    if !is_commit(&info.sha) || info.siblings.len() > MOST_FILES {
        return Err(broken(
            "the server's description is not the Hub's".to_owned(),
        ));
    }
    if let Some(evil) = info.siblings.iter().find(|file| !is_path(&file.rfilename)) {
        let name = &evil.rfilename;
        let reason = format!("lists the file {name:?}, which is no name of a file inside of it");
        return Err(broken(reason));
    }
    Ok(Described {
        commit: info.sha,
        files: info.siblings.into_iter().map(listed).collect(),
    })
}

fn listed(sibling: Sibling) -> Listed {
    let hash = match sibling.lfs {
        Some(lfs) => lfs.sha256,
        None => sibling.blob_id,
    };
    Listed {
        path: sibling.rfilename,
        size: sibling.size,
        hash: hash.as_deref().and_then(Hash::of_etag),
    }
}

/// Asks for a file's length and etag.
///
/// # Errors
/// As [`describe`]; [`Error::Format`] for headers that say neither.
pub(super) fn remote(
    client: &Client,
    (reference, commit): (&Reference, &str),
    listed: &Listed,
    meter: &Meter,
) -> Result<Remote> {
    let page = page(client, reference);
    let path = escaped(&listed.path, Slash::Plain);
    let url = format!("{page}/resolve/{commit}/{path}");
    let (what, question) = (
        format!("{reference}: {}", listed.path),
        Question::plain(&url, &page),
    );
    let headers = patiently(&what, meter, || client.describe(&question))?;
    let broken = |reason: &'static str| Error::format(what.clone(), reason);
    let etag = header(&headers, "x-linked-etag").or_else(|| header(&headers, "etag"));
    let etag = etag.map(plain_etag).filter(|etag| is_etag(etag));
    let etag = etag.ok_or_else(|| broken("the server gives no etag for it"))?;
    let size = size(&headers).or(listed.size);
    let size = size.ok_or_else(|| broken("the server does not say how long it is"))?;
    if size > LONGEST_FILE {
        return Err(broken("the server says that it is longer than 16 TiB"));
    }
    Ok(Remote {
        path: listed.path.clone(),
        size,
        hash: Hash::of_etag(etag).or_else(|| listed.hash.clone()),
        etag: etag.to_owned(),
        url,
    })
}

/// The file's own length; that of a redirect's body is another.
fn size(headers: &HeaderMap) -> Option<u64> {
    let linked = header(headers, "x-linked-size");
    let plain = header(headers, "content-length").filter(|_| !headers.contains_key("location"));
    linked.or(plain)?.trim().parse().ok()
}

/// Asks until there is an answer.
fn patiently<T>(
    what: &str,
    meter: &Meter,
    mut ask: impl FnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut patience = Patience::default();
    loop {
        meter.ask(Pulling::Ask)?;
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(failure) => patience.wait(what, failure, meter)?,
        }
    }
}

/// The bytes of a short answer.
fn whole(mut answer: Answer, url: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let reader = answer.body.as_reader().take(LONGEST + 1);
    let mut reader = reader;
    reader.read_to_end(&mut bytes).map_err(|error| {
        let reason = format!("the answer of {url} was cut: {error}");
        Failure::passing(io::Error::new(error.kind(), reason))
    })?;
    match bytes.len() as u64 > LONGEST {
        true => Err(Failure::Lasting(io::Error::other(
            "the server's description is too long",
        ))),
        false => Ok(bytes),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slash {
    Plain,
    Escaped,
}

/// Text as a part of an address.
fn escaped(text: &str, slash: Slash) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        match is_plain || (byte == b'/' && slash == Slash::Plain) {
            true => escaped.push(byte.into()),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_addresses() {
        assert_eq!(escaped("refs/pr/1", Slash::Escaped), "refs%2Fpr%2F1");
        assert_eq!(
            escaped("a b/猫?.json", Slash::Plain),
            "a%20b/%E7%8C%AB%3F.json"
        );
    }
}
