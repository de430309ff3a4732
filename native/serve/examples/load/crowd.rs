//! Many clients at once: is each of them answered, in which memory, and does the server stay awake?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Outcome;
use super::child::Serving;
use super::client::Client;

/// Fewer than the clients, so that some are refused.
const QUEUE: &str = "128";
/// Requests of one client, for comparison.
const ALONE: usize = 300;
/// How often the server is asked for its health.
const PROBE: Duration = Duration::from_millis(20);

/// What came of a crowd.
struct Told {
    statuses: BTreeMap<u16, usize>,
    seconds: Vec<f64>,
    took: f64,
}

pub async fn run(clients: usize, requests: usize) -> Outcome {
    let serving = Serving::start(&["--queue-size", QUEUE])?;
    crowd(serving.address, 1, ALONE).await?;
    let (_, alone) = serving.memory()?;
    let stop = Arc::new(AtomicBool::new(false));
    let probe = tokio::spawn(probe(serving.address, stop.clone()));
    let told = crowd(serving.address, clients, requests).await?;
    stop.store(true, Ordering::Relaxed);
    let health = probe.await??;
    let (_, crowded) = serving.memory()?;
    let answered: usize = told.statuses.values().sum();
    let statuses: Vec<_> = told.statuses.iter().map(|(status, count)| format!("{count} with {status}")).collect();
    println!("| {clients} clients at once, {requests} requests, queue of {QUEUE} | |");
    println!("|---|---|");
    println!("| answered | {answered} of {requests}: {} |", statuses.join(", "));
    println!("| answers a second | {:.1} |", answered as f64 / told.took);
    println!("| seconds of an answer | p50 {:.2}, p99 {:.2} |", quantile(&told.seconds, 0.5), quantile(&told.seconds, 0.99));
    println!("| `/health` meanwhile | p50 {:.1} ms, p99 {:.1} ms |", quantile(&health, 0.5) * 1e3, quantile(&health, 0.99) * 1e3);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!("| peak memory | {:.0} MB; of one client {:.0} MB ({:.2} times) |", megabytes(crowded), megabytes(alone), crowded as f64 / alone as f64);
    match answered == requests && told.statuses.keys().all(|status| [200, 429].contains(status)) {
        true => Ok(()),
        false => Err("a request was not answered with 200 or 429".into()),
    }
}

async fn crowd(address: SocketAddr, clients: usize, requests: usize) -> Outcome<Told> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let crowd: Vec<_> = (0..clients).map(|_| tokio::spawn(one(address, next.clone(), requests))).collect();
    let mut told = Told { statuses: BTreeMap::new(), seconds: vec![], took: 0.0 };
    for client in crowd {
        for (status, seconds) in client.await?? {
            *told.statuses.entry(status).or_default() += 1;
            told.seconds.push(seconds);
        }
    }
    told.took = begun.elapsed().as_secs_f64();
    told.seconds.sort_by(f64::total_cmp);
    Ok(told)
}

async fn one(address: SocketAddr, next: Arc<AtomicUsize>, requests: usize) -> Outcome<Vec<(u16, f64)>> {
    let mut client = Client::connect(address).await?;
    let mut answers = vec![];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            return Ok(answers);
        }
        let body = format!(r#"{{"prompt": "a red apple", "seed": {number}}}"#);
        let begun = Instant::now();
        let (status, _) = client.post("/v1/images/generations", &body).await?;
        answers.push((status, begun.elapsed().as_secs_f64()));
    }
}

async fn probe(address: SocketAddr, stop: Arc<AtomicBool>) -> Outcome<Vec<f64>> {
    let mut client = Client::connect(address).await?;
    let mut seconds = vec![];
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.get("/health").await?;
        seconds.push(begun.elapsed().as_secs_f64());
        tokio::time::sleep(PROBE).await;
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// A quantile of sorted numbers.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}
