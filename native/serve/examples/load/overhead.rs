//! What the server costs beside painting: the same images by `x2i generate --batch` and by the server, in turns.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::child::{Serving, cpu_of_children, program};
use super::client::Client;
use super::outcome::Outcome;

/// Turns of each; the best of them counts.
const TURNS: usize = 3;

pub async fn run(images: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (mut generate, mut served) = (vec![], vec![]);
    for _ in 0..TURNS {
        generate.push(by_generate(folder.path(), images)?);
        served.push(by_server(images).await?);
    }
    let best = |turns: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        turns.iter().map(of).fold(f64::INFINITY, f64::min)
    };
    let each = 1e3 / images as f64;
    println!("| {images} images one after the other, best of {TURNS} turns | wall | CPU |");
    println!("|---|---|---|");
    let (wall, cpu) = (
        best(&generate, |turn| turn.0),
        best(&generate, |turn| turn.1),
    );
    println!(
        "| `x2i generate --batch` | {:.1} ms | {:.1} ms |",
        wall * each,
        cpu * each
    );
    let (served_wall, served_cpu) = (best(&served, |turn| turn.0), best(&served, |turn| turn.1));
    println!(
        "| `x2i serve`, one client | {:.1} ms | {:.1} ms |",
        served_wall * each,
        served_cpu * each
    );
    println!(
        "| more | {:+.1} % | {:+.1} % |",
        (served_wall / wall - 1.0) * 100.0,
        (served_cpu / cpu - 1.0) * 100.0
    );
    Ok(())
}

/// Wall and CPU seconds; loading the model and starting the process are in them, as they are for the server's first
/// image.
fn by_generate(folder: &std::path::Path, images: usize) -> Outcome<(f64, f64)> {
    let mut lines = String::new();
    for number in 0..images {
        writeln!(lines, r#"{{"prompt": "a red apple", "seed": {number}}}"#)?;
    }
    let batch = folder.join("batch.jsonl");
    std::fs::write(&batch, lines)?;
    let (begun, cpu) = (Instant::now(), cpu_of_children()?);
    let mut command = Command::new(program());
    command
        .args(["generate", "--device", "cpu", "--quiet", "--batch"])
        .arg(&batch);
    command
        .arg("-o")
        .arg(folder.join("images/"))
        .stdout(Stdio::null());
    if !command.status()?.success() {
        return Err("x2i generate failed".into());
    }
    Ok((begun.elapsed().as_secs_f64(), cpu_of_children()? - cpu))
}

async fn by_server(images: usize) -> Outcome<(f64, f64)> {
    let begun = Instant::now();
    let serving = Serving::start(&[])?;
    let mut client = Client::connect(serving.address).await?;
    for number in 0..images {
        let body = format!(r#"{{"prompt": "a red apple", "seed": {number}}}"#);
        let (status, _) = client.post("/v1/images/generations", &body).await?;
        if status != 200 {
            return Err(format!("the server answers {status}").into());
        }
    }
    Ok((begun.elapsed().as_secs_f64(), serving.cpu()?))
}
