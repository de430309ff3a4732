//! Jobs go in, and results come out.

use std::time::{Duration, Instant};

use x2i_serve::job::{Code, Event, InputFile, InputId, JobId, Order, PartOrder, Status};
use x2i_serve::nats::NatsSettings;
use x2i_serve::queue::{Queue, Submission, Worker};

use crate::parts::{self, *};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_an_input_is_done_elsewhere_and_its_watcher_sees_all_of_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let kept = parts::inputs();
    let large = "x".repeat(3 << 20); // more than a message may have
    let id = kept.keep(large.as_bytes()).unwrap();
    let input = InputFile {
        id,
        name: "a.png".into(),
    };
    let job = JobId::new();
    let order = Order {
        parts: vec![PartOrder::Image(input)],
        ..order("", 5)
    };
    let state = queue
        .submit(Submission {
            id: job,
            order,
            inputs: kept,
        })
        .await
        .unwrap();
    assert_eq!(
        (state.status, state.model.as_str()),
        (Status::Queued, MODEL)
    );
    assert_eq!(
        queue.job(job).await.unwrap().unwrap().queue_position,
        Some(0)
    );
    let mut watch = queue.watch(job).await.unwrap().unwrap();
    assert_eq!(watch.state.status, Status::Queued);
    let thread = studio(&desk, "a", Duration::from_millis(20));
    let mut seen = vec![];
    let mut last = None;
    while let Ok(event) = tokio::time::timeout(LIMIT, watch.events.recv())
        .await
        .unwrap()
    {
        seen.push(match event {
            Event::Status(state) => {
                last = Some(state.clone());
                state.status.name()
            }
            Event::Progress(_) => "progress",
            Event::Preview(preview) => {
                assert_eq!((preview.steps, preview.png.len()), (5, 1000));
                "preview"
            }
            Event::Answer(_) => "answer",
            Event::Output(_) => "output",
        });
    }
    let count = |what: &str| seen.iter().filter(|seen| **seen == what).count();
    assert_eq!(
        (seen[0], *seen.last().unwrap()),
        ("running", "succeeded"),
        "{seen:?}"
    );
    assert_eq!(
        [
            count("progress"),
            count("preview"),
            count("answer"),
            count("output")
        ],
        [5, 5, 1, 1]
    );
    let last = last.unwrap();
    assert_eq!(
        (last.outputs.len(), last.answer.as_deref()),
        (1, Some("an answer"))
    );
    assert_eq!(painted(&queue, job).await, format!("{large} by a"));
    empty(&queue).await;
    // A late viewer has the end at once.
    let mut late = queue.watch(job).await.unwrap().unwrap();
    assert_eq!(late.state.status, Status::Succeeded);
    assert!(late.events.recv().await.is_err());
    assert_eq!(queue.jobs(9).await.unwrap().len(), 1);
    assert!(queue.output(job, 1).await.unwrap().is_none());
    assert!(queue.job(JobId::new()).await.unwrap().is_none());
    desk.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_when_to_ask_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway_with(
        &server,
        NatsSettings {
            jobs: 2,
            ..settings()
        },
    )
    .await;
    for _ in 0..2 {
        submit(&queue, order("a", 1)).await;
    }
    let failure = submit_as(&queue, JobId::new(), order("a", 1))
        .await
        .unwrap_err();
    assert_eq!(failure.code, Code::QueueFull);
    assert!(failure.retry_after.unwrap() > 0.0);
    assert!(failure.message.contains("full (2 jobs"), "{failure}");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let load = queue.load().await.unwrap();
    assert_eq!((load.waiting, load.limit), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_sent_again_is_the_same_job() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = JobId::new();
    submit_as(&queue, id, order("a", 1)).await.unwrap();
    // While it waits, while it runs, and when it is done: within the window of duplicates.
    let again = submit_as(&queue, id, order("a", 1)).await.unwrap();
    assert_eq!(again.status, Status::Queued);
    assert_eq!(queue.load().await.unwrap().waiting, 1);
    let task = take(&desk, "a").await;
    assert_eq!(
        submit_as(&queue, id, order("a", 1)).await.unwrap().status,
        Status::Running
    );
    finish(&desk, &task, "a").await;
    over(&queue, id).await;
    assert_eq!(
        submit_as(&queue, id, order("a", 1)).await.unwrap().status,
        Status::Succeeded
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(queue.load().await.unwrap().waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_known_twice_after_the_window_too_while_it_waits() {
    let Some(server) = Server::start() else {
        return;
    };
    let short = NatsSettings {
        duplicates: Duration::from_millis(200),
        ..settings()
    };
    let queue = gateway_with(&server, short).await;
    let id = JobId::new();
    submit_as(&queue, id, order("a", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The subject of a job takes one message.
    assert_eq!(
        submit_as(&queue, id, order("a", 1)).await.unwrap().status,
        Status::Queued
    );
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(queue.load().await.unwrap().waiting, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_request_is_known_to_all_gateways() {
    let Some(server) = Server::start() else {
        return;
    };
    let (one, two) = (gateway(&server).await, gateway(&server).await);
    let (digest, id) = (InputId::of(b"request"), JobId::new());
    assert_eq!(
        one.remember("a key / with * anything", digest.clone(), id)
            .await
            .unwrap(),
        None
    );
    let known = two
        .remember(
            "a key / with * anything",
            InputId::of(b"other"),
            JobId::new(),
        )
        .await;
    assert_eq!(known.unwrap(), Some((digest, id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_known_while_they_say_so() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, staying) = (gateway(&server).await, desk(&server).await);
    let lost = desk(&server).await;
    let (first, second) = (
        studio(&staying, "a/b c", Duration::ZERO),
        studio(&lost, "lost", Duration::ZERO),
    );
    let names = async |count: usize| {
        for _ in 0..400 {
            let workers = queue.workers().await.unwrap();
            if workers.len() == count {
                return workers
                    .into_iter()
                    .map(|worker| worker.name)
                    .collect::<Vec<_>>();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there are not {count} workers: {:?}", queue.workers().await);
    };
    assert_eq!(names(2).await.len(), 2);
    assert_eq!(gateway(&server).await.workers().await.unwrap().len(), 2);
    assert_eq!(queue.load().await.unwrap().devices, 2);
    lost.drain(LIMIT).await; // says that it leaves
    assert_eq!(names(1).await, ["a/b c"]);
    staying.drain(LIMIT).await;
    first.join().unwrap();
    second.join().unwrap();
    assert!(names(0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_takes_nothing_more_and_waits_for_its_watchers() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    let watch = queue.watch(id).await.unwrap().unwrap();
    let task = take(&desk, "a").await;
    let draining = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.drain(LIMIT).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!draining.is_finished());
    assert_eq!(
        submit_as(&queue, JobId::new(), order("a", 1))
            .await
            .unwrap_err()
            .code,
        Code::Unavailable
    );
    finish(&desk, &task, "a").await;
    tokio::time::timeout(Duration::from_secs(10), draining)
        .await
        .unwrap()
        .unwrap();
    drop(watch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_two_models_takes_loaded_ones_first_but_not_for_ever_and_hears_of_new_jobs_at_once()
 {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let desk = desk_of(server.url(), &["first", "second"]).await;
    let both = Worker {
        models: vec!["first".into(), "second".into()],
        loaded: vec!["second".into()],
        ..worker("both")
    };
    let of = |model: &str| Order {
        model: Some(model.into()),
        ..order("a", 1)
    };
    let mut ids = vec![submit(&queue, of("first")).await];
    for _ in 0..10 {
        ids.push(submit(&queue, of("second")).await);
    }
    let mut models = vec![];
    for _ in 0..ids.len() {
        let task = take_as(&desk, both.clone(), LIMIT).await;
        models.push(task.order.model.clone().unwrap());
        finish(&desk, &task, "both").await;
    }
    let at = models.iter().position(|model| model == "first").unwrap();
    assert!((1..10).contains(&at), "{models:?}");
    // An idle one. It looks by itself every two seconds; the disk of a busy machine may be slow, but not each time.
    for model in ["first", "second"] {
        let mut waits = vec![];
        for _ in 0..4 {
            let taking = {
                let (desk, both) = (desk.clone(), both.clone());
                tokio::spawn(async move { take_as(&desk, both, LIMIT).await })
            };
            tokio::time::sleep(Duration::from_millis(700)).await;
            let begun = Instant::now();
            let id = submit(&queue, of(model)).await;
            let task = taking.await.unwrap();
            assert_eq!(task.id, id);
            waits.push(begun.elapsed());
            finish(&desk, &task, "both").await;
        }
        let least = waits.iter().min().unwrap();
        assert!(*least < Duration::from_millis(600), "{waits:?}");
    }
}
