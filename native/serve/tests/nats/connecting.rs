//! Who may connect, to what, and what is there already.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use x2i_serve::nats::{NatsOptions, NatsQueue, NatsSettings, Session, Stores, Upkeep};
use x2i_serve::queue::Queue;

use crate::parts::*;
use crate::server::{Server, not_run};

fn to(servers: String) -> NatsOptions {
    NatsOptions {
        servers,
        name: "test".into(),
        ..NatsOptions::default()
    }
}

async fn refusal(options: &NatsOptions) -> String {
    Session::connect(options).await.err().unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_too_old_or_without_jetstream_is_refused_in_a_sentence() {
    let message = refusal(&to("nats://127.0.0.1:1".into())).await;
    assert!(message.contains("nats://127.0.0.1:1"), "{message}");
    let message = refusal(&to(format!("nats://{}", fake("2.9.10")))).await;
    assert!(
        message.ends_with("is NATS 2.9.10; x2i needs 2.10 or newer"),
        "{message}"
    );
    let message = refusal(&to(format!("nats://{}", fake("2.10.0")))).await;
    assert!(message.contains("has no JetStream"), "{message}");
}

/// A server of this version that answers pings and nothing else.
fn fake(version: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let info = format!(
                "INFO {{\"server_id\":\"x\",\"version\":\"{version}\",\"max_payload\":1048576,\"headers\":true}}\r\n"
            );
            stream.write_all(info.as_bytes()).unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                if line.is_ok_and(|line| line.starts_with("PING")) {
                    let _ = stream.write_all(b"PONG\r\n");
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn users_passwords_and_tokens_of_addresses_are_used() {
    let Some(server) = Server::with("authorization { user: \"me\", password: \"se@cret\" }") else {
        return;
    };
    let address = format!("127.0.0.1:{}", server.port);
    Session::connect(&to(format!("nats://me:se%40cret@{address}")))
        .await
        .unwrap();
    for wrong in [
        format!("nats://{address}"),
        format!("nats://me:wrong@{address}"),
    ] {
        let message = refusal(&to(wrong)).await;
        assert!(message.contains("authorization violation"), "{message}");
        assert!(!message.contains("wrong"), "{message}");
    }
    let server = Server::with("authorization { token: \"t0ken\" }").unwrap();
    Session::connect(&to(format!("nats://t0ken@127.0.0.1:{}", server.port)))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_of_nkeys_are_read_from_files() {
    let user = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
    let Some(server) = Server::with(&format!(
        "authorization {{ users: [ {{ nkey: \"{user}\" }} ] }}"
    )) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed");
    std::fs::write(
        &seed,
        "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y\n", // of the bytes 0 to 31
    )
    .unwrap();
    let right = NatsOptions {
        nkey: Some(seed),
        ..to(server.url())
    };
    Session::connect(&right).await.unwrap();
    let missing = NatsOptions {
        nkey: Some(folder.path().join("none")),
        ..to(server.url())
    };
    assert!(refusal(&missing).await.contains("none: "));
    let credentials = NatsOptions {
        credentials: Some(folder.path().join("none")),
        ..to(server.url())
    };
    assert!(refusal(&credentials).await.contains("none: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_somebody_else_are_left_alone_and_named() {
    let Some(server) = Server::start() else {
        return;
    };
    let session = session(&server.url()).await;
    let theirs = Config {
        name: "X2I_JOBS".into(),
        subjects: vec!["x2i.jobs.>".into()],
        retention: RetentionPolicy::Limits,
        ..Config::default()
    };
    session.jetstream.create_stream(theirs).await.unwrap();
    let failure = Stores::open(session.clone(), settings(), Upkeep::Gateway)
        .await
        .err()
        .unwrap();
    let expected = "stream X2I_JOBS is there with retention Limits, and x2i needs WorkQueue";
    assert!(failure.message.starts_with(expected), "{failure}");
    let info = session.jetstream.get_stream("X2I_JOBS").await.unwrap();
    assert_eq!(info.cached_info().config.retention, RetentionPolicy::Limits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_changes_sizes_and_times_while_jobs_wait_and_a_worker_does_not() {
    let Some(server) = Server::start() else {
        return;
    };
    let first = gateway(&server).await;
    let id = submit(&first, order("a", 1)).await;
    let larger = NatsSettings {
        jobs: 500,
        keep_state: Duration::from_secs(1000),
        keep_results: Duration::from_secs(50),
        ..settings()
    };
    let session = session(&server.url()).await;
    Stores::open(session.clone(), larger.clone(), Upkeep::Worker)
        .await
        .unwrap();
    assert_eq!(gateway(&server).await.load().await.unwrap().limit, 100);
    let second = NatsQueue::open(session.clone(), larger).await.unwrap();
    assert_eq!(second.load().await.unwrap().limit, 500);
    for (stream, seconds) in [
        ("KV_X2I_STATE", 1000),
        ("OBJ_X2I_INPUTS", 1000),
        ("OBJ_X2I_RESULTS", 50),
    ] {
        let stream = session.jetstream.get_stream(stream).await.unwrap();
        assert_eq!(
            stream.cached_info().config.max_age,
            Duration::from_secs(seconds)
        );
    }
    assert!(second.job(id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_where_it_is_asked_for_and_strangers_certificates_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost".split(' '))
        .args("-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE".split(' '))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        not_run("there is no openssl that makes a certificate");
        return;
    }
    let settings = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        certificate.display(),
        key.display()
    );
    let Some(server) = Server::with(&settings) else {
        return;
    };
    let address = format!("tls://127.0.0.1:{}", server.port);
    let known = NatsOptions {
        root_certificate: Some(certificate),
        ..to(address.clone())
    };
    Session::connect(&known).await.unwrap();
    let message = refusal(&to(address)).await;
    assert!(message.contains("certificate"), "{message}");
}
