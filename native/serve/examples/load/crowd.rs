//! Many clients at once: is each of them answered, in which memory, and does the server stay awake?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::child::Serving;
use super::client::Client;
use super::outcome::Outcome;

/// Places in the queue: enough for all, and so few that many are refused.
const QUEUES: [&str; 2] = ["256", "64"];
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
    let mut columns = vec![];
    for queue in QUEUES {
        columns.push(told(queue, clients, requests).await?);
    }
    println!(
        "| {clients} clients at once, {requests} requests | queue of {} | queue of {} |",
        QUEUES[0], QUEUES[1]
    );
    println!("|---|---|---|");
    let names = [
        "answered",
        "answers a second",
        "seconds of an answer",
        "`/health` meanwhile",
        "peak memory",
    ];
    for (row, name) in names.iter().enumerate() {
        println!("| {name} | {} | {} |", columns[0][row], columns[1][row]);
    }
    Ok(())
}

/// What came of a crowd, a line each.
async fn told(queue: &str, clients: usize, requests: usize) -> Outcome<Vec<String>> {
    let serving = Serving::start(&["--queue-size", queue])?;
    crowd(serving.address, 1, ALONE).await?;
    let (_, alone) = serving.memory()?;
    let stop = Arc::new(AtomicBool::new(false));
    let probe = tokio::spawn(probe(serving.address, stop.clone()));
    let told = crowd(serving.address, clients, requests).await?;
    stop.store(true, Ordering::Relaxed);
    let health = probe.await??;
    let (_, crowded) = serving.memory()?;
    let answered: usize = told.statuses.values().sum();
    if answered != requests
        || told
            .statuses
            .keys()
            .any(|status| ![200, 429].contains(status))
    {
        return Err(format!(
            "a request was not answered with 200 or 429: {:?}",
            told.statuses
        )
        .into());
    }
    let statuses: Vec<_> = told
        .statuses
        .iter()
        .map(|(status, count)| format!("{count} with {status}"))
        .collect();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let more = crowded as f64 / alone as f64;
    Ok(vec![
        format!("all: {}", statuses.join(", ")),
        format!("{:.1}", answered as f64 / told.took),
        format!(
            "p50 {:.2}, p99 {:.2}",
            quantile(&told.seconds, 0.5),
            quantile(&told.seconds, 0.99)
        ),
        format!(
            "p50 {:.1} ms, p99 {:.1} ms",
            quantile(&health, 0.5) * 1e3,
            quantile(&health, 0.99) * 1e3
        ),
        format!(
            "{:.0} MB; of one client {:.0} MB ({more:.2} times)",
            megabytes(crowded),
            megabytes(alone)
        ),
    ])
}

async fn crowd(address: SocketAddr, clients: usize, requests: usize) -> Outcome<Told> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let crowd: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(one(address, next.clone(), requests)))
        .collect();
    let mut told = Told {
        statuses: BTreeMap::new(),
        seconds: vec![],
        took: 0.0,
    };
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

async fn one(
    address: SocketAddr,
    next: Arc<AtomicUsize>,
    requests: usize,
) -> Outcome<Vec<(u16, f64)>> {
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
    sorted
        .get((last as f64 * q).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}
