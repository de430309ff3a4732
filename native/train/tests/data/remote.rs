//! Shards at URLs, from a server in the test. curl reads them; without it the tests say so.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Serves bytes on a free port for as long as the test runs; gives the server's address, and how often it
/// was asked.
fn serve(bytes: Vec<u8>, answers: Answers) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
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
    (format!("http://{address}"), asked)
}

#[test]
fn a_shard_at_a_url_is_read_by_ranges_and_its_texts_once() {
    if !has_curl() {
        return;
    }
    let key = |sample: usize| format!("s{sample}");
    let members = (0..40).flat_map(|sample| {
        let picture = member(&format!("{}.jpg", key(sample)), &vec![7; 100_000]);
        [picture, caption(&key(sample), &format!("caption {sample}"))]
    });
    let mut tar = members.collect::<Vec<_>>().concat();
    tar.extend([0; 1024]);
    let megabytes = tar.len() >> 20;
    let (server, asked) = serve(tar, Answers::Ranges);
    let set = open(shards(format!("{server}/x-{{0..0}}.tar")), Task::Distill).unwrap();
    assert_eq!(set.len(), 40);
    assert!(set.notes().is_empty());
    let before = asked.load(Ordering::SeqCst);
    assert!(
        before <= megabytes + 4,
        "{before} requests for {megabytes} MiB"
    );
    for sample in (0..40).rev() {
        let caption = set.sample(sample).unwrap().caption;
        assert_eq!(caption, Some(format!("caption {sample}")));
    }
    assert_eq!(asked.load(Ordering::SeqCst), before);
    let set = open(shards(format!("{server}/x-0.tar")), Task::Control).unwrap();
    assert_eq!(set.sample(7).unwrap().picture.unwrap().bytes.len(), 100_000);
}

#[test]
fn servers_without_ranges_or_files_are_named() {
    if !has_curl() {
        return;
    }
    let (server, _) = serve(vec![0; 1 << 20], Answers::Whole);
    let said = refusal(shards(format!("{server}/a.tar")), Task::Distill);
    assert!(
        said.contains("gives no ranges of files; save the file"),
        "{said}"
    );
    let (server, _) = serve(vec![], Answers::NotFound);
    let said = refusal(shards(format!("{server}/a.tar")), Task::Distill);
    assert!(
        said.starts_with(&format!("{server}/a.tar: can't be read: ")) && said.contains("404"),
        "{said}"
    );
}
