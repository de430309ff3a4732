//! A server that plays the Hugging Face Hub and the host that it redirects to, with their faults.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod pulling;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The repository that it has.
pub const REPOSITORY: &str = "x2i/emoji";
/// Its newest commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// An older one, which the branch `old` names.
pub const OLD: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Hub,
    Cdn,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub host: Host,
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// Bytes of the body that were sent.
    pub sent: u64,
}

/// What the server does wrong; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Ranges are not given.
    pub no_ranges: bool,
    /// Bodies end after so many bytes, so often.
    pub cuts: Option<(usize, usize)>,
    /// Requests for bytes are answered with 429 so often, with this `Retry-After`.
    pub busy: (usize, &'static str),
    /// A byte of this file is another one, so often.
    pub wrong: Option<(&'static str, usize)>,
    /// After so many bytes this file becomes another one.
    pub change: Option<(&'static str, u64)>,
    /// Bodies come slowly: a pause after each 64 KiB.
    pub pause: Option<Duration>,
    /// All requests get this status and code, unless they have the token.
    pub refuses: Option<(u16, &'static str)>,
    /// The token that is expected.
    pub token: Option<&'static str>,
    /// Addresses of the host are good for so many requests.
    pub expires: Option<usize>,
    /// Names that are listed beside the files.
    pub names: Vec<&'static str>,
    /// The length of every large file.
    pub size: Option<&'static str>,
    /// The etag of every file.
    pub etag: Option<&'static str>,
}

/// Files of one commit.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct State {
    commits: BTreeMap<&'static str, Files>,
    asked: Vec<Asked>,
    faults: Faults,
    cdn: u16,
    /// The signature of the host's addresses that is good now, and how often it was used.
    signature: (usize, usize),
}

/// The server. Its threads end with the test's process.
pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn new(files: Files) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, cdn) = (listen(), listen());
        let address = format!("http://{}", hub.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            commits: BTreeMap::from([(COMMIT, files)]),
            asked: Vec::new(),
            faults: Faults::default(),
            cdn: cdn.local_addr().unwrap().port(),
            signature: (0, 0),
        }));
        for (listener, host) in [(hub, Host::Hub), (cdn, Host::Cdn)] {
            let state = state.clone();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = state.clone();
                    thread::spawn(move || serve(&stream, host, &state));
                }
            });
        }
        Self { address, state }
    }

    /// With the embedded model's folder as the repository.
    pub fn of_emoji() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core/models/emoji");
        let mut files = Files::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
        Self::new(files)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn does(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub fn add_commit(&self, commit: &'static str, files: Files) {
        self.state().commits.insert(commit, files);
    }

    pub fn files(&self) -> Files {
        self.state().commits[COMMIT].clone()
    }

    /// Requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// Bytes of weights that were sent since the last call of [`asked`](Self::asked).
    pub fn sent(&self) -> u64 {
        let state = self.state();
        state
            .asked
            .iter()
            .filter(|asked| asked.host == Host::Cdn)
            .map(|asked| asked.sent)
            .sum()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub fn git_hash(bytes: &[u8]) -> String {
    let digest = Sha1::new().chain_update(format!("blob {}\0", bytes.len()));
    hex(&digest.chain_update(bytes).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(name: &str) -> bool {
    name.ends_with(".gguf") || name.ends_with(".safetensors")
}

/// An answer before it is sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// Serves one connection.
fn serve(stream: &TcpStream, host: Host, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read_request(&mut reader, host) {
        let answer = {
            let mut state = state.lock().unwrap();
            match host {
                Host::Hub => of_hub(&mut state, &asked),
                Host::Cdn => of_cdn(&mut state, &asked),
            }
        };
        let index = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            state.asked.len() - 1
        };
        if !send(stream, &asked, &answer, state, index) {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>, host: Host) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())
            }
            None => break,
        };
    }
    Some(Asked {
        host,
        method,
        path,
        headers,
        sent: 0,
    })
}

/// Sends an answer; `false` when the connection is closed after it.
fn send(
    mut stream: &TcpStream,
    asked: &Asked,
    answer: &Answer,
    state: &Mutex<State>,
    index: usize,
) -> bool {
    let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
    let named = |name| answer.headers.iter().any(|(other, _)| *other == name);
    if !named("content-length") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if stream.write_all((head + "\r\n").as_bytes()).is_err() {
        return false;
    }
    if asked.method == "HEAD" {
        return true;
    }
    let (mut sent, mut end) = (0, answer.body.len());
    if let (Host::Cdn, Some((bytes, times @ 1..))) =
        (asked.host, &mut state.lock().unwrap().faults.cuts)
    {
        *times -= 1;
        end = end.min(*bytes);
    }
    while sent < end {
        let chunk = &answer.body[sent..end.min(sent + (64 << 10))];
        if stream.write_all(chunk).is_err() {
            return false;
        }
        sent += chunk.len();
        let mut state = state.lock().unwrap();
        let pause = state.faults.pause.filter(|_| asked.host == Host::Cdn);
        // The test may have taken the list.
        if let Some(asked) = state.asked.get_mut(index) {
            asked.sent = sent as u64;
        }
        let path = asked.path.split('?').next().unwrap();
        changed(&mut state, path.rsplit('/').next().unwrap());
        drop(state);
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
    end == answer.body.len()
}

/// Makes a file another one when enough of it was sent.
fn changed(state: &mut State, name: &str) {
    let of_file = |asked: &&Asked| asked.host == Host::Cdn && asked.path.contains(name);
    let sent: u64 = state
        .asked
        .iter()
        .filter(of_file)
        .map(|asked| asked.sent)
        .sum();
    if let Some((file, after)) = state.faults.change
        && file == name
        && sent >= after
    {
        state.faults.change = None;
        let files = state.commits.get_mut(COMMIT).unwrap();
        files
            .get_mut(name)
            .unwrap()
            .iter_mut()
            .for_each(|byte| *byte ^= 0x55);
    }
}

fn of_hub(state: &mut State, asked: &Asked) -> Answer {
    let faults = state.faults.clone();
    let token = asked
        .headers
        .get("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    if let Some((status, code)) = faults.refuses
        && (faults.token.is_none() || token != faults.token)
    {
        return Answer::of(status).with("x-error-code", code);
    }
    let path = asked.path.split('?').next().unwrap();
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPOSITORY}/revision/")) {
        return describe(state, revision);
    }
    if let Some(rest) = path.strip_prefix(&format!("/{REPOSITORY}/resolve/")) {
        let (commit, name) = rest.split_once('/').unwrap();
        let name = name.replace("%2F", "/");
        let found = state.commits.get(commit).and_then(|files| files.get(&name));
        return match found {
            Some(bytes) => resolve(state, (commit, &name), bytes, asked),
            None => Answer::of(404).with("x-error-code", "EntryNotFound"),
        };
    }
    Answer::of(404).with("x-error-code", "RepoNotFound")
}

fn describe(state: &State, revision: &str) -> Answer {
    let commit = match revision {
        "main" => COMMIT,
        "old" => OLD,
        other => other,
    };
    let Some((commit, files)) = state.commits.get_key_value(commit) else {
        return Answer::of(404).with("x-error-code", "RevisionNotFound");
    };
    let sibling = |(name, bytes): (&String, &Vec<u8>)| match is_large(name) {
        true => json!({"rfilename": name, "size": bytes.len(), "blobId": git_hash(b"pointer"),
            "lfs": {"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134}}),
        false => json!({"rfilename": name, "size": bytes.len(), "blobId": git_hash(bytes)}),
    };
    let mut siblings: Vec<_> = files.iter().map(sibling).collect();
    siblings.extend(
        state
            .faults
            .names
            .iter()
            .map(|name| json!({"rfilename": name, "size": 3})),
    );
    let mut answer = Answer::of(200).with("content-type", "application/json");
    answer.body = json!({"sha": commit, "siblings": siblings})
        .to_string()
        .into_bytes();
    answer
}

fn resolve(state: &State, (commit, name): (&str, &str), bytes: &[u8], asked: &Asked) -> Answer {
    let own = match is_large(name) {
        true => sha256(bytes),
        false => git_hash(bytes),
    };
    let etag = state.faults.etag.map_or(own, str::to_owned);
    if is_large(name) {
        return Answer::of(302)
            .with("x-repo-commit", commit)
            .with("x-linked-etag", format!("\"{etag}\""))
            .with(
                "x-linked-size",
                state
                    .faults
                    .size
                    .map_or(bytes.len().to_string(), str::to_owned),
            )
            .with(
                "location",
                format!(
                    "http://127.0.0.1:{}/{commit}/{name}?sign={}",
                    state.cdn, state.signature.0
                ),
            );
    }
    let mut answer = range(bytes, asked).with("etag", format!("\"{etag}\""));
    if asked.method == "HEAD" {
        answer = answer.with("content-length", bytes.len());
    }
    answer
}

fn of_cdn(state: &mut State, asked: &Asked) -> Answer {
    if state.faults.busy.0 > 0 {
        state.faults.busy.0 -= 1;
        return Answer::of(429).with("retry-after", state.faults.busy.1);
    }
    let (path, signature) = asked.path[1..].split_once("?sign=").unwrap();
    let (good, used) = state.signature;
    if signature != good.to_string() {
        return Answer::of(403);
    }
    state.signature = match state.faults.expires {
        Some(times) if used + 1 >= times => (good + 1, 0),
        _ => (good, used + 1),
    };
    let (commit, name) = path.split_once('/').unwrap();
    let mut bytes = state.commits[commit][name].clone();
    let etag = format!("\"cdn-{}\"", &sha256(&bytes)[..8]);
    if let Some((file, times @ 1..)) = &mut state.faults.wrong
        && *file == name
    {
        // Each part of the file comes in a request of its own: the first one counts a time.
        let first = asked
            .headers
            .get("range")
            .is_none_or(|range| range.starts_with("bytes=0-"));
        if first {
            *times -= 1;
            bytes[100] ^= 1;
        }
    }
    let same = asked
        .headers
        .get("if-range")
        .is_none_or(|before| *before == etag);
    match state.faults.no_ranges || !same {
        true => {
            let mut answer = Answer::of(200);
            answer.body = bytes;
            answer.with("etag", etag)
        }
        false => range(&bytes, asked).with("etag", etag),
    }
}

/// The range that was asked for, or all.
fn range(bytes: &[u8], asked: &Asked) -> Answer {
    let range = asked
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let Some((start, end)) = range.and_then(|range| range.split_once('-')) else {
        let mut answer = Answer::of(200);
        answer.body = bytes.to_vec();
        return answer;
    };
    let start: usize = start.parse().unwrap();
    let end = end.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
    if start > end {
        return Answer::of(416);
    }
    let mut answer = Answer::of(206);
    answer.body = bytes[start..=end].to_vec();
    answer.with(
        "content-range",
        format!("bytes {start}-{end}/{}", bytes.len()),
    )
}

/// A proxy that answers every request in place of the host that it is meant for; returns its address and
/// what it was asked.
pub fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let n = stream.read(&mut bytes).unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            heard
                .lock()
                .unwrap()
                .push(text.lines().next().unwrap_or_default().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (address, asked)
}
