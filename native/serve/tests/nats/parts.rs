//! What tests of the queue are made of: gateways, desks, orders, and a studio that only pretends to paint.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use x2i_serve::inputs::{InputLimits, Inputs};
use x2i_serve::job::{
    Code, Failure, InputId, JobId, JobState, Numbers, Order, Output, PartOrder, Preview, Progress,
    Stage, Status,
};
use x2i_serve::nats::{
    NatsDesk, NatsOptions, NatsQueue, NatsSettings, Record, Session, Stores, Upkeep,
};
use x2i_serve::queue::{Queue, Submission, Worker};
use x2i_serve::studio::{Desk, News, Task};

use crate::server::Server;

/// The model of the tests: a name that must be encoded in subjects.
pub const MODEL: &str = "some one/model v1.0 >";

/// The longest that anything here may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// As patient as tests may be.
pub fn settings() -> NatsSettings {
    NatsSettings {
        jobs: 100,
        ack_wait: Duration::from_secs(1),
        keep_worker: Duration::from_secs(3),
        ..NatsSettings::default()
    }
}

pub async fn session(url: &str) -> Session {
    let options = NatsOptions {
        servers: url.into(),
        name: "test".into(),
        ..NatsOptions::default()
    };
    Session::connect(&options).await.unwrap()
}

pub async fn gateway(server: &Server) -> Arc<NatsQueue> {
    gateway_with(server, settings()).await
}

pub async fn gateway_with(server: &Server, settings: NatsSettings) -> Arc<NatsQueue> {
    Arc::new(
        NatsQueue::open(session(&server.url()).await, settings)
            .await
            .unwrap(),
    )
}

/// What is stored of a job, and how often it was changed.
pub async fn stored(server: &Server, id: JobId) -> (Record, u64) {
    let jetstream = session(&server.url()).await.jetstream;
    let states = jetstream.get_key_value("X2I_STATE").await.unwrap();
    let entry = states.entry(id.to_string()).await.unwrap().unwrap();
    (
        serde_json::from_slice(&entry.value).unwrap(),
        entry.revision,
    )
}

/// Jobs and dead jobs that are left when all is answered.
pub async fn left(server: &Server) -> [u64; 2] {
    tokio::time::sleep(Duration::from_millis(500)).await;
    [
        messages(server, "X2I_JOBS").await,
        messages(server, "X2I_DEAD").await,
    ]
}

/// Messages in a stream.
pub async fn messages(server: &Server, stream: &str) -> u64 {
    let jetstream = session(&server.url()).await.jetstream;
    jetstream
        .get_stream(stream)
        .await
        .unwrap()
        .cached_info()
        .state
        .messages
}

/// A desk of a worker with a connection of its own.
pub async fn desk(server: &Server) -> Arc<NatsDesk> {
    desk_at(server.url()).await
}

/// A desk that dies with its runtime, without a word to the server.
pub struct Mortal {
    runtime: tokio::runtime::Runtime,
    pub desk: Arc<NatsDesk>,
}

impl Mortal {
    pub async fn start(server: &Server) -> Self {
        let url = server.url();
        let made = tokio::task::spawn_blocking(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let desk = runtime.block_on(desk_at(url));
            Self { runtime, desk }
        });
        made.await.unwrap()
    }

    pub fn die(self) {
        self.runtime.shutdown_background();
    }
}

async fn desk_at(url: String) -> Arc<NatsDesk> {
    desk_of(url, &[MODEL]).await
}

/// A desk of a worker with these models.
pub async fn desk_of(url: String, models: &[&str]) -> Arc<NatsDesk> {
    let stores = Stores::open(session(&url).await, settings(), Upkeep::Worker)
        .await
        .unwrap();
    Arc::new(
        NatsDesk::new(stores, inputs(), models.iter().copied())
            .await
            .unwrap(),
    )
}

pub fn inputs() -> Arc<Inputs> {
    let limits = InputLimits {
        bytes: 1 << 28,
        keep: LIMIT,
    };
    Arc::new(Inputs::new(limits).unwrap())
}

pub fn worker(name: &str) -> Worker {
    Worker {
        name: name.into(),
        device: "cpu".into(),
        description: String::new(),
        models: vec![MODEL.into()],
        facts: Default::default(),
        loaded: vec![],
        memory: 0,
        up: true,
        version: "0".into(),
    }
}

/// An order of these steps; its prompt is what a pretended painting shows.
pub fn order(prompt: &str, steps: usize) -> Order {
    Order {
        model: Some(MODEL.into()),
        parts: vec![PartOrder::Text(prompt.into())],
        numbers: Numbers {
            steps: Some(steps),
            seed: Some(7),
            ..Numbers::default()
        },
        previews: true,
        ..Order::default()
    }
}

pub async fn submit(queue: &NatsQueue, order: Order) -> JobId {
    let id = JobId::new();
    submit_as(queue, id, order).await.unwrap();
    id
}

pub async fn submit_as(queue: &NatsQueue, id: JobId, order: Order) -> Result<JobState, Failure> {
    queue
        .submit(Submission {
            id,
            order,
            inputs: inputs(),
        })
        .await
}

/// The state of a job when `is` holds.
pub async fn when(queue: &NatsQueue, id: JobId, is: impl Fn(&JobState) -> bool) -> JobState {
    let begun = Instant::now();
    loop {
        let state = queue.job(id).await;
        match &state {
            Ok(Some(state)) if is(state) => return state.clone(),
            _ => {}
        }
        assert!(begun.elapsed() < LIMIT, "{state:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn over(queue: &NatsQueue, id: JobId) -> JobState {
    when(queue, id, |state| state.status.is_over()).await
}

pub async fn running(queue: &NatsQueue, id: JobId) -> JobState {
    when(queue, id, |state| state.status == Status::Running).await
}

/// Waits until no message of a job is left: the last answer comes after the state.
pub async fn gone(server: &Server) {
    let begun = Instant::now();
    while messages(server, "X2I_JOBS").await > 0 {
        assert!(begun.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Hears news of a job, from a thread that may block.
pub async fn tell(desk: &Arc<NatsDesk>, id: JobId, news: News) {
    let desk = desk.clone();
    tokio::task::spawn_blocking(move || desk.tell(id, news))
        .await
        .unwrap();
}

/// Waits until nothing waits or runs: counts may be half a second old.
pub async fn empty(queue: &NatsQueue) {
    let begun = Instant::now();
    loop {
        let load = queue.load().await.unwrap();
        if load.waiting + load.running == 0 {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{load:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an output says.
pub async fn painted(queue: &NatsQueue, id: JobId) -> String {
    let file = queue.output(id, 0).await.unwrap().unwrap();
    String::from_utf8(file.to_vec()).unwrap()
}

/// Takes the next job in a thread that may block, as studios' threads do. The thread stays, and with it its signs of life.
pub async fn take(desk: &Arc<NatsDesk>, name: &'static str) -> Task {
    take_in_thread_of(desk, name, LIMIT).await
}

/// The same in a thread that ends: the server hears no signs of life from then on, though the worker may end the job.
pub async fn take_and_leave(desk: &Arc<NatsDesk>, name: &'static str) -> Task {
    take_in_thread_of(desk, name, Duration::ZERO).await
}

async fn take_in_thread_of(desk: &Arc<NatsDesk>, name: &'static str, stays: Duration) -> Task {
    take_as(desk, worker(name), stays).await
}

/// The same for any worker, in a thread that stays for so long.
pub async fn take_as(desk: &Arc<NatsDesk>, worker: Worker, stays: Duration) -> Task {
    let desk = desk.clone();
    let (sent, task) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let task = desk.take(&worker).unwrap();
        let _ = sent.send(task);
        std::thread::sleep(stays);
    });
    tokio::time::timeout(LIMIT, task).await.unwrap().unwrap()
}

/// What a worker of this name paints of an order.
pub fn file(task: &Task, name: &str) -> (Output, Vec<u8>) {
    let prompt = match &task.order.parts[0] {
        PartOrder::Text(text) => text.clone(),
        part => {
            let path = task.inputs.path(&part.input().unwrap().id).unwrap();
            std::fs::read_to_string(path).unwrap()
        }
    };
    let bytes = format!("{prompt} by {name}").into_bytes();
    let output = Output {
        index: 0,
        media_type: "text/plain".into(),
        bytes: bytes.len() as u64,
        sha256: InputId::of(&bytes).to_string(),
        seed: Some(7),
        width: None,
        height: None,
    };
    (output, bytes)
}

/// Ends a job well, from a thread that may block.
pub async fn finish(desk: &Arc<NatsDesk>, task: &Task, name: &'static str) {
    let (desk, task) = (desk.clone(), task.clone());
    let finished = tokio::task::spawn_blocking(move || {
        let (output, bytes) = file(&task, name);
        desk.output(task.id, output, bytes);
        desk.over(task.id, Ok(()));
    });
    finished.await.unwrap();
}

pub async fn fail(desk: &Arc<NatsDesk>, task: &Task, failure: Failure) {
    let (desk, id) = (desk.clone(), task.id);
    tokio::task::spawn_blocking(move || desk.over(id, Err(failure)))
        .await
        .unwrap();
}

/// A studio that sleeps for each step, shows each, and ends when it is cancelled.
pub fn studio(desk: &Arc<NatsDesk>, name: &'static str, step: Duration) -> JoinHandle<()> {
    let desk = desk.clone();
    std::thread::spawn(move || {
        desk.worker(worker(name));
        while let Some(task) = desk.take(&worker(name)) {
            let outcome = paint(desk.as_ref(), &task, name, step);
            desk.over(task.id, outcome);
        }
    })
}

fn paint(desk: &NatsDesk, task: &Task, name: &str, step: Duration) -> Result<(), Failure> {
    let steps = task.order.numbers.steps.unwrap();
    for done in 1..=steps {
        std::thread::sleep(step);
        if task.is_cancelled() {
            return Err(Failure::new(Code::Canceled, "cancelled"));
        }
        let value = done as f64 / steps as f64;
        let progress = Progress {
            value,
            step: done,
            steps,
            image: 0,
            stage: Stage::Denoise,
        };
        desk.tell(task.id, News::Progress(progress));
        let png = vec![done as u8; 1000].into();
        desk.tell(
            task.id,
            News::Preview(Preview {
                image: 0,
                step: done,
                steps,
                png,
            }),
        );
    }
    desk.tell(task.id, News::Answer("an answer".into()));
    let (output, bytes) = file(task, name);
    desk.output(task.id, output, bytes);
    Ok(())
}
