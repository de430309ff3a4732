//! How long a device works on after a job was cancelled, until it begins the next one.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::child::Serving;
use super::client::Client;
use super::outcome::Outcome;

pub async fn run(turns: usize) -> Outcome {
    let serving = Serving::start(&[])?;
    let mut client = Client::connect(serving.address).await?;
    let mut milliseconds = vec![];
    for turn in 0..turns {
        let long = order(&mut client, r#"{"prompt": "a cat", "steps": 1000}"#).await?;
        let next = order(&mut client, r#"{"prompt": "a dog", "steps": 1}"#).await?;
        until(&mut client, &long, "running").await?;
        tokio::time::sleep(Duration::from_millis(turn as u64 * 7 % 40)).await; // at any moment of a step
        let begun = Instant::now();
        client
            .post(&format!("/v1/x2i/jobs/{long}/cancel"), "{}")
            .await?;
        until(&mut client, &next, "").await?;
        milliseconds.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    let at = |q: f64| milliseconds[((milliseconds.len() - 1) as f64 * q) as usize];
    let (_, metrics) = client.get("/metrics").await?;
    let metrics = String::from_utf8_lossy(&metrics);
    let number = |name: &str| {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        line.ok_or(format!("no {name}"))
    };
    let step = number("x2i_step_seconds_sum")? / number("x2i_step_seconds_count")? * 1e3;
    println!("| {turns} jobs cancelled while they ran | |");
    println!("|---|---|");
    println!(
        "| from the request to cancel to the next job's start | p50 {:.1} ms, p99 {:.1} ms |",
        at(0.5),
        at(0.99)
    );
    println!("| a step, of 6 blocks | {step:.1} ms |");
    Ok(())
}

async fn order(client: &mut Client, body: &str) -> Outcome<String> {
    let (_, job) = client.post("/v1/x2i/jobs", body).await?;
    let job: Value = serde_json::from_slice(&job)?;
    Ok(job["id"].as_str().ok_or("no id")?.to_owned())
}

/// Waits until a job has a status, or has begun.
async fn until(client: &mut Client, id: &str, status: &str) -> Outcome {
    loop {
        let (_, job) = client.get(&format!("/v1/x2i/jobs/{id}")).await?;
        let job: Value = serde_json::from_slice(&job)?;
        if job["status"] == status || (status.is_empty() && !job["started_at"].is_null()) {
            return Ok(());
        }
    }
}
