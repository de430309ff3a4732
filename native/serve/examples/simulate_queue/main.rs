//! Drives the queue over NATS JetStream with many workers that sleep in place of painting, and prints a report in
//! Markdown. Gateways and workers are those of the server and of `x2i worker`, each worker with a connection of its own.
//!
//! `simulate_queue NATS_URL [WORKERS JOBS SECONDS DEATHS]`

mod crowd;
mod plan;
mod report;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use x2i_serve::inputs::Inputs;
use x2i_serve::job::{Code, Event, Failure, JobId, JobState, Numbers, Order, PartOrder};
use x2i_serve::nats::{NatsQueue, NatsSettings, Record};
use x2i_serve::queue::{Queue, Submission};

use crowd::Crowd;
use plan::{MODEL, Plan, inputs, session};
use report::{Report, Single};

/// Gateways that take the jobs in, and submissions at once.
const GATEWAYS: usize = 4;
const AT_ONCE: usize = 32;
/// Jobs that are sent one after the other to idle workers.
const SINGLES: usize = 300;

fn plan() -> Option<Plan> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next()?;
    let mut number = |default: f64| match arguments.next() {
        Some(text) => text.parse().ok(),
        None => Some(default),
    };
    Some(Plan {
        url,
        workers: number(200.0)? as usize,
        jobs: number(20_000.0)? as usize,
        mean: Duration::from_secs_f64(number(2.0)?),
        deaths: number(10.0)? as usize,
    })
}

fn main() {
    let Some(plan) = plan() else {
        eprintln!("usage: simulate_queue NATS_URL [WORKERS JOBS SECONDS DEATHS]");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(simulate(&plan)) {
        Ok(report) => println!("{report}"),
        Err(failure) => {
            eprintln!("error: {failure}");
            std::process::exit(1);
        }
    }
}

async fn simulate(plan: &Plan) -> Result<Report, Failure> {
    let settings = NatsSettings {
        jobs: plan.jobs,
        ..NatsSettings::default()
    };
    let mut gateways = vec![];
    for _ in 0..GATEWAYS {
        gateways.push(Arc::new(
            NatsQueue::open(session(plan).await?, settings.clone()).await?,
        ));
    }
    let inputs = Arc::new(inputs()?);
    eprintln!("{} jobs go in", plan.jobs);
    let begun = Instant::now();
    let submitted = submit_all(plan, &gateways, &inputs).await?;
    let submitting = begun.elapsed();
    eprintln!("{} workers come", plan.workers);
    let mut crowd = Crowd::start(plan).await?;
    let begun = Instant::now();
    crowd.kill_some_when(plan.jobs / 4).await;
    let mut states = finished(&gateways, &submitted).await?;
    let working = begun.elapsed();
    let singles = singles(&gateways[0], &inputs).await?;
    let pauses = crowd.pauses();
    crowd.end().await;
    states.sort_by_key(|state| state.id);
    let redeliveries = redeliveries(plan, &states).await?;
    Ok(Report {
        plan: plan.clone(),
        submitting,
        working,
        latencies: latencies(submitted),
        states,
        pauses,
        singles,
        redeliveries,
    })
}

/// Ids of jobs, and how long handing each in took.
type Submitted = Vec<(JobId, Duration)>;

fn latencies(submitted: Submitted) -> Vec<Duration> {
    submitted.into_iter().map(|(_, took)| took).collect()
}

fn order(number: usize) -> Order {
    Order {
        model: Some(MODEL.into()),
        parts: vec![PartOrder::Text(format!(
            "picture {number} of a city in the rain, seen from above"
        ))],
        numbers: Numbers {
            seed: Some(number as u64),
            ..Numbers::default()
        },
        ..Order::default()
    }
}

async fn submit_all(
    plan: &Plan,
    gateways: &[Arc<NatsQueue>],
    inputs: &Arc<Inputs>,
) -> Result<Submitted, Failure> {
    let each = (0..plan.jobs).map(|number| {
        let (queue, inputs) = (gateways[number % gateways.len()].clone(), inputs.clone());
        async move {
            let (id, begun) = (JobId::new(), Instant::now());
            queue
                .submit(Submission {
                    id,
                    order: order(number),
                    inputs,
                })
                .await?;
            Ok((id, begun.elapsed()))
        }
    });
    let all: Vec<Result<_, Failure>> = stream::iter(each).buffer_unordered(AT_ONCE).collect().await;
    all.into_iter().collect()
}

/// The states of all jobs when they are over.
async fn finished(gateways: &[Arc<NatsQueue>], jobs: &Submitted) -> Result<Vec<JobState>, Failure> {
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let load = gateways[0].load().await?;
        eprintln!("{} wait, {} run", load.waiting, load.running);
        if load.waiting + load.running > 0 {
            continue;
        }
        let reads = jobs.iter().enumerate().map(|(number, (id, _))| {
            let queue = gateways[number % gateways.len()].clone();
            async move { queue.job(*id).await }
        });
        let states: Vec<_> = stream::iter(reads)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let states: Result<Vec<_>, Failure> = states.into_iter().collect();
        return Ok(states?.into_iter().flatten().collect());
    }
}

/// How often jobs were given to another worker.
async fn redeliveries(plan: &Plan, jobs: &[JobState]) -> Result<u64, Failure> {
    let refused =
        |error: &dyn std::fmt::Display| Failure::new(Code::Unavailable, error.to_string());
    let states = session(plan)
        .await?
        .jetstream
        .get_key_value("X2I_STATE")
        .await;
    let states = states.map_err(|error| refused(&error))?;
    let reads = jobs.iter().map(|job| states.get(job.id.to_string()));
    let records: Vec<_> = stream::iter(reads)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut sum = 0;
    for record in records {
        let record = record.map_err(|error| refused(&error))?.unwrap_or_default();
        let record: Record = serde_json::from_slice(&record).map_err(|error| refused(&error))?;
        sum += record.deliveries - 1;
    }
    Ok(sum)
}

/// Jobs that find idle workers: how long until one begins, and until a watcher hears of the end.
async fn singles(queue: &NatsQueue, inputs: &Arc<Inputs>) -> Result<Vec<Single>, Failure> {
    let mut singles = vec![];
    for number in 0..SINGLES {
        let id = JobId::new();
        let order = Order {
            images: crowd::SHORT,
            ..order(number)
        };
        let begun = Instant::now();
        queue
            .submit(Submission {
                id,
                order,
                inputs: inputs.clone(),
            })
            .await?;
        let submitted = begun.elapsed();
        let Some(mut watch) = queue.watch(id).await? else {
            continue;
        };
        let mut state = watch.state.clone();
        let mut running = state.started_at.map(|_| begun.elapsed());
        while let Ok(event) = watch.events.recv().await {
            if let Event::Status(new) = event {
                state = (*new).clone();
                if state.started_at.is_some() {
                    running.get_or_insert(begun.elapsed());
                }
            }
        }
        if let Some(running) = running {
            singles.push(Single {
                submitted,
                running,
                over: begun.elapsed(),
            });
        }
    }
    Ok(singles)
}
