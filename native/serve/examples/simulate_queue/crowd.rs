//! Workers that sleep: one thread and one connection each, and a few that die on the way.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use x2i_serve::job::{Failure, InputId, Output, Progress, Stage};
use x2i_serve::nats::{NatsDesk, NatsSettings, Stores, Upkeep};
use x2i_serve::queue::Worker;
use x2i_serve::studio::{Desk, News};

use crate::plan::{MODEL, Plan, inputs, session};

/// A job of so many images takes no time.
pub const SHORT: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// Steps that a job tells of.
const STEPS: usize = 4;
/// Bytes of an output.
const BYTES: usize = 10_000;

/// The workers.
pub struct Crowd {
    staying: Vec<Arc<NatsDesk>>,
    /// Those that die, with the runtime that all of their signs of life run on.
    dying: Option<(Runtime, Vec<Arc<NatsDesk>>)>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    done: AtomicUsize,
    /// Between the end of a job's sleep and the begin of the next, in each worker.
    pauses: Mutex<Vec<Duration>>,
}

impl Crowd {
    pub async fn start(plan: &Plan) -> Result<Self, Failure> {
        let told: Arc<Told> = Arc::default();
        let mut staying = vec![];
        for number in plan.deaths..plan.workers {
            staying.push(desk(plan).await?);
            work(staying.last().expect("it was pushed"), number, plan, &told);
        }
        let (url, told_too) = (plan.clone(), told.clone());
        let dying = tokio::task::spawn_blocking(move || {
            let runtime = Runtime::new().expect("a runtime");
            let desks: Result<Vec<Arc<NatsDesk>>, Failure> = runtime.block_on(async {
                let mut desks = vec![];
                for _ in 0..url.deaths {
                    desks.push(desk(&url).await?);
                }
                Ok(desks)
            });
            for (number, desk) in desks.iter().flatten().enumerate() {
                work(desk, number, &url, &told_too);
            }
            desks.map(|desks| (runtime, desks))
        });
        let dying = Some(dying.await.expect("no panic")?);
        Ok(Self {
            staying,
            dying,
            told,
        })
    }

    /// Kills those that die when so many jobs are done.
    pub async fn kill_some_when(&mut self, done: usize) {
        while self.told.done.load(Ordering::Relaxed) < done {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if let Some((runtime, desks)) = self.dying.take() {
            eprintln!("{} workers die", desks.len());
            runtime.shutdown_background();
            std::mem::forget(desks); // their threads sleep in them
        }
    }

    pub fn pauses(&self) -> Vec<Duration> {
        self.told
            .pauses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub async fn end(self) {
        let drains = self
            .staying
            .iter()
            .map(|desk| desk.drain(Duration::from_secs(10)));
        futures_util::future::join_all(drains).await;
    }
}

async fn desk(plan: &Plan) -> Result<Arc<NatsDesk>, Failure> {
    let settings = NatsSettings {
        jobs: plan.jobs,
        ..NatsSettings::default()
    };
    let stores = Stores::open(session(plan).await?, settings, Upkeep::Worker).await?;
    Ok(Arc::new(
        NatsDesk::new(stores, Arc::new(inputs()?), [MODEL].into_iter()).await?,
    ))
}

fn work(desk: &Arc<NatsDesk>, number: usize, plan: &Plan, told: &Arc<Told>) {
    let (desk, told, mean) = (desk.clone(), told.clone(), plan.mean);
    let (workers, jobs) = (plan.workers, plan.jobs);
    let worker = Worker {
        name: format!("worker-{number}"),
        device: "none".into(),
        description: "sleeps".into(),
        models: vec![MODEL.into()],
        facts: Default::default(),
        loaded: vec![MODEL.into()],
        memory: 0,
        up: true,
        version: "0".into(),
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10);
    let started = thread.spawn(move || {
        desk.worker(worker.clone());
        let mut ended: Option<Instant> = None;
        while let Some(task) = desk.take(&worker) {
            // At the end, workers wait for jobs.
            let many_wait = told.done.load(Ordering::Relaxed) + 2 * workers < jobs;
            if let Some(ended) = ended.filter(|_| many_wait) {
                let pause = ended.elapsed();
                told.pauses
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(pause);
            }
            let seed = task.order.numbers.seed.unwrap_or_default();
            let share =
                0.5 + (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
            for step in 1..=STEPS {
                if task.order.images != SHORT {
                    std::thread::sleep(mean.mul_f64(share / STEPS as f64));
                }
                let value = step as f64 / STEPS as f64;
                let progress = Progress {
                    value,
                    step,
                    steps: STEPS,
                    image: 0,
                    stage: Stage::Denoise,
                };
                desk.tell(task.id, News::Progress(progress));
            }
            ended = Some(Instant::now());
            let file = seed.to_le_bytes().repeat(BYTES / 8);
            desk.output(task.id, output(&file, seed), file);
            desk.over(task.id, Ok(()));
            told.done.fetch_add(1, Ordering::Relaxed);
        }
    });
    started.expect("the system starts threads");
}

fn output(file: &[u8], seed: u64) -> Output {
    Output {
        index: 0,
        media_type: "image/webp".into(),
        bytes: file.len() as u64,
        sha256: InputId::of(file).to_string(),
        seed: Some(seed),
        width: None,
        height: None,
    }
}
