//! Whole processes that are killed: workers that really paint, and gateways.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use x2i_engine::{DeviceList, EngineOptions, Model};
use x2i_serve::inputs::InputLimits;
use x2i_serve::job::{JobId, Numbers, Order, PartOrder, Status};
use x2i_serve::models::{Models, Served};
use x2i_serve::nats::{NatsOptions, NatsSettings, WorkerOptions, work};
use x2i_serve::queue::Queue;
use x2i_serve::studio::StudioOptions;

use crate::parts::*;
use crate::server::Server;

/// What a process of this program is started for, and the address of the queue.
const ROLE: &str = "X2I_TEST_ROLE";
const QUEUE: &str = "X2I_TEST_QUEUE";
const ACK_WAIT: &str = "X2I_TEST_ACK_WAIT";

/// As patient as processes need: a step takes some 10 ms.
fn patient() -> NatsSettings {
    let seconds = std::env::var(ACK_WAIT).map_or(2, |seconds| seconds.parse().unwrap());
    NatsSettings {
        ack_wait: Duration::from_secs(seconds),
        ..settings()
    }
}

/// A process, killed with the test.
struct Process(Child);

impl Process {
    /// Starts this program again as a worker or a gateway.
    fn start(role: &str, server: &Server) -> Self {
        Self::patient(role, server, 2)
    }

    /// One whose jobs are missed after so many seconds.
    fn patient(role: &str, server: &Server, ack_wait: u64) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::a_process_of_its_own", "--nocapture"])
            .env(ROLE, role)
            .env(QUEUE, server.url())
            .env(ACK_WAIT, ack_wait.to_string())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No test by itself: what processes of other tests do.
#[test]
fn a_process_of_its_own() {
    let (Ok(role), Ok(url)) = (std::env::var(ROLE), std::env::var(QUEUE)) else {
        return;
    };
    match role.as_str() {
        "gateway" => submit_and_hang(&url),
        name => work_as(name, url),
    }
}

fn work_as(name: &str, servers: String) {
    let mut models = Models::default();
    let served = Served {
        model: Model::open("emoji").unwrap(),
        control_weights: None,
    };
    models.add("emoji", served).unwrap();
    let models = Arc::new(models);
    let studio = StudioOptions {
        opened: vec![],
        name: name.into(),
        devices: "cpu".parse::<DeviceList>().unwrap(),
        precision: x2i_engine::device::Precision::default(),
        engine: EngineOptions::default(),
        models: models.clone(),
        preload: Some("emoji".into()),
    };
    let options = WorkerOptions {
        nats: NatsOptions {
            servers,
            name: name.into(),
            ..NatsOptions::default()
        },
        settings: patient(),
        models,
        studios: vec![studio],
        inputs: InputLimits {
            bytes: 1 << 28,
            keep: LIMIT,
        },
        drain: Duration::from_millis(100),
        address: None,
        metrics: None,
    };
    work(options).unwrap();
}

/// Hands a job in, says which, and never comes back.
fn submit_and_hang(url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let queue = x2i_serve::nats::NatsQueue::open(session(url).await, patient())
            .await
            .unwrap();
        let id = JobId::new();
        submit_as(&queue, id, emoji(40)).await.unwrap();
        let _watch = queue.watch(id).await.unwrap();
        println!("job {id}");
        tokio::time::sleep(LIMIT).await;
    });
}

fn emoji(steps: usize) -> Order {
    Order {
        model: Some("emoji".into()),
        parts: vec![PartOrder::Text("a red apple".into())],
        numbers: Numbers {
            steps: Some(steps),
            seed: Some(7),
            ..Numbers::default()
        },
        ..Order::default()
    }
}

async fn stepping(queue: &x2i_serve::nats::NatsQueue, id: JobId) {
    when(queue, id, |state| {
        state
            .progress
            .as_ref()
            .is_some_and(|progress| progress.step > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_mid_step_leaves_its_job_to_another_which_paints_the_same_image() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway_with(&server, patient()).await;
    let mut first = Process::start("first", &server);
    let expected = submit(&queue, emoji(1000)).await;
    assert_eq!(over(&queue, expected).await.status, Status::Succeeded);
    let canceled = submit(&queue, emoji(1000)).await;
    stepping(&queue, canceled).await;
    first.kill();
    queue.cancel(canceled).await.unwrap(); // nobody hears it: the next worker reads it
    let id = submit(&queue, emoji(1000)).await;
    let mut second = Process::start("second", &server);
    stepping(&queue, id).await;
    second.kill();
    let _third = Process::start("third", &server);
    let state = over(&queue, id).await;
    assert_eq!((state.status, state.outputs.len()), (Status::Succeeded, 1));
    let (record, _) = stored(&server, id).await;
    assert_eq!((record.worker.as_str(), record.deliveries), ("third", 2));
    let image = queue.output(id, 0).await.unwrap().unwrap();
    assert_eq!(
        image,
        queue.output(expected, 0).await.unwrap().unwrap(),
        "a seed is an image"
    );
    assert_eq!(over(&queue, canceled).await.status, Status::Canceled);
    gone(&server).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_terminated_gives_its_job_to_another_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway_with(&server, patient()).await;
    let mut first = Process::patient("first", &server, 600);
    let id = submit(&queue, emoji(1000)).await;
    stepping(&queue, id).await;
    let _second = Process::patient("second", &server, 600);
    let pid = first.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(first.0.wait().unwrap().success());
    let state = over(&queue, id).await; // long before the server would miss the first
    assert_eq!(state.status, Status::Succeeded);
    assert_eq!(stored(&server, id).await.0.worker, "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_takes_no_job_with_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let mut gateway = Process::start("gateway", &server);
    let lines = BufReader::new(gateway.0.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("job ").map(|(_, id)| id.to_owned()));
    let id: JobId = line.unwrap().parse().unwrap();
    gateway.kill();
    let _worker = Process::start("worker", &server);
    let other = gateway_with(&server, patient()).await;
    assert_eq!(other.job(id).await.unwrap().unwrap().id, id);
    let state = over(&other, id).await;
    assert_eq!((state.status, state.outputs.len()), (Status::Succeeded, 1));
    assert!(
        other
            .output(id, 0)
            .await
            .unwrap()
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}
