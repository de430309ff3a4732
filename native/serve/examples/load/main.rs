//! Loads a server as many clients would, and prints what came of it as Markdown:
//!
//! ```text
//! cargo run --release --example load -- load [CLIENTS [REQUESTS]]
//! cargo run --release --example load -- overhead [IMAGES]
//! cargo run --release --example load -- cancel [JOBS]
//! cargo run --release --example load -- soak [MINUTES]
//! ```
//!
//! The server is `target/release/x2i serve` in a process of its own, with the embedded model on the CPU. `scripts/load-serve`
//! runs all four and writes docs/RELIABILITY.md.

mod cancel;
mod child;
mod client;
mod crowd;
mod outcome;
mod overhead;
mod soak;

use outcome::Outcome;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: usize| match arguments.get(at) {
        Some(text) => text.parse(),
        None => Ok(otherwise),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    match arguments.first().map(String::as_str) {
        Some("load") => runtime.block_on(crowd::run(number(1, 200)?, number(2, 5000)?)),
        Some("overhead") => runtime.block_on(overhead::run(number(1, 500)?)),
        Some("cancel") => runtime.block_on(cancel::run(number(1, 100)?)),
        Some("soak") => runtime.block_on(soak::run(number(1, 20)?)),
        _ => Err("say load, overhead, cancel or soak".into()),
    }
}
