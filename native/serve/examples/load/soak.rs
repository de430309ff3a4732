//! Hours in minutes: clients of every kind for a long time, and whether memory or open files grow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::child::Serving;
use super::client::Client;
use super::outcome::Outcome;

const CLIENTS: usize = 8;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// A picture of 2x2 pixels.
const PICTURE: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGM4IScHRAwQCgAfJgQRoo8irwAAAABJRU5ErkJggg==";

pub async fn run(minutes: usize) -> Outcome {
    let serving = Serving::start(&["--keep", "60", "--kept-jobs", "200", "--queue-size", "32"])?;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(serving.address, number, stop.clone(), done.clone())))
        .collect();
    let (begun, mut looks) = (Instant::now(), vec![]);
    while begun.elapsed() < Duration::from_secs(minutes as u64 * 60) {
        tokio::time::sleep(LOOK).await;
        looks.push((serving.memory()?.0 as f64 / 1e6, serving.files()?));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await??;
    }
    let fifth = (looks.len() / 5).max(1);
    let mean =
        |looks: &[(f64, usize)]| looks.iter().map(|look| look.0).sum::<f64>() / looks.len() as f64;
    let files = |looks: &[(f64, usize)]| looks.iter().map(|look| look.1).max().unwrap_or(0);
    // The first fifth warms up.
    let (early, late) = (&looks[fifth..2 * fifth], &looks[looks.len() - fifth..]);
    println!("| {minutes} minutes, {CLIENTS} clients of all kinds | |");
    println!("|---|---|");
    println!("| requests | {} |", done.load(Ordering::Relaxed));
    println!(
        "| memory, second fifth and last | {:.1} MB, {:.1} MB ({:+.1} %) |",
        mean(early),
        mean(late),
        (mean(late) / mean(early) - 1.0) * 100.0
    );
    println!(
        "| open files, at most, second fifth and last | {}, {} |",
        files(early),
        files(late)
    );
    Ok(())
}

/// Texts, pictures, jobs that are cancelled, callers that go away, mistakes.
async fn client(
    address: SocketAddr,
    number: usize,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) -> Outcome {
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address).await?;
        let image = format!(
            r#"{{"parts": [{{"image": "{PICTURE}"}}, {{"text": "a cat"}}], "seed": {turn}, "previews": true}}"#
        );
        let status = match turn % 6 {
            0 => client.post("/v1/x2i/jobs", &image).await?.0,
            1 => {
                let (status, job) = client
                    .post("/v1/x2i/jobs", r#"{"prompt": "a dog", "steps": 1000}"#)
                    .await?;
                let job: serde_json::Value = serde_json::from_slice(&job)?;
                let cancel = job["urls"]["cancel"].as_str().map(str::to_owned);
                tokio::time::sleep(Duration::from_millis(50)).await;
                match cancel {
                    Some(cancel) => client.post(&cancel, "{}").await?.0,
                    None => status,
                }
            }
            2 => {
                client
                    .begin(
                        "POST",
                        "/v1/images/generations",
                        r#"{"prompt": "a fox", "steps": 500}"#,
                    )
                    .await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                200 // it goes away
            }
            3 => {
                client
                    .post(
                        "/v1/images/generations",
                        r#"{"prompt": "a fox", "steps": 0}"#,
                    )
                    .await?
                    .0
            }
            4 => client.get("/metrics").await?.0,
            _ => {
                client
                    .post(
                        "/v1/images/generations",
                        r#"{"prompt": "ein Haus", "n": 2}"#,
                    )
                    .await?
                    .0
            }
        };
        if status >= 500 {
            return Err(format!("request {turn} was answered with {status}").into());
        }
        done.fetch_add(1, Ordering::Relaxed);
        turn += 1;
    }
    Ok(())
}
