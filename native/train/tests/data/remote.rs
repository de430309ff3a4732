//! Shards at URLs, from a server in the test. curl reads them; without it the tests say so.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

use x2i_train::data::Task;

use crate::tar::{caption, member};
use crate::{open, refusal, shards};

fn has_curl() -> bool {
    let there = Command::new("curl").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: curl is not installed");
    }
    there
}

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    Ranges,
    Whole,
    NotFound,
}

/// Serves bytes on a free port for as long as the test runs; gives the server's address.
fn serve(bytes: Vec<u8>, answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut range = None;
            while let Some(Ok(line)) = lines
                .next()
                .filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
            {
                if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    let (from, to) = asked.split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap()));
                }
            }
            let (status, more, body) = match (answers, range) {
                (Answers::Ranges, Some((from, to))) => (
                    "206 Partial Content",
                    format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len()),
                    &bytes[from..=to],
                ),
                (Answers::NotFound, _) => ("404 Not Found", String::new(), &b""[..]),
                _ => ("200 OK", String::new(), &bytes[..]),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            // A client that has enough hangs up.
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body));
        }
    });
    format!("http://{address}")
}

#[test]
fn a_shard_at_a_url_is_read_by_ranges() {
    if !has_curl() {
        return;
    }
    let mut tar = [
        caption("a", "a cat"),
        member("a.jpg", &[7; 5000]),
        caption("b", "a dog"),
    ]
    .concat();
    tar.extend([0; 1024]);
    let server = serve(tar, Answers::Ranges);
    let set = open(shards(format!("{server}/x-{{0..0}}.tar")), Task::Distill).unwrap();
    assert_eq!(set.len(), 2);
    assert_eq!(set.sample(1).unwrap().caption.as_deref(), Some("a dog"));
    assert!(set.notes().is_empty());
}

#[test]
fn servers_without_ranges_or_files_are_named() {
    if !has_curl() {
        return;
    }
    let server = serve(vec![0; 1 << 20], Answers::Whole);
    let said = refusal(shards(format!("{server}/a.tar")), Task::Distill);
    assert!(
        said.contains("gives no ranges of files; save the file"),
        "{said}"
    );
    let server = serve(vec![], Answers::NotFound);
    let said = refusal(shards(format!("{server}/a.tar")), Task::Distill);
    assert!(
        said.starts_with(&format!("{server}/a.tar: can't be read: ")) && said.contains("404"),
        "{said}"
    );
}
