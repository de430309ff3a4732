//! Workers, gateways and servers die or are cut off. Nothing is lost, and one job has one result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use x2i_serve::job::{Event, Status};
use x2i_serve::nats::NatsDesk;
use x2i_serve::queue::Queue;
use x2i_serve::studio::News;

use crate::parts::*;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_worker_that_dies_is_done_by_another_from_the_start() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, dying) = (gateway(&server).await, Mortal::start(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    let task = take(&dying.desk, "dying").await;
    tell(&dying.desk, task.id, News::Warning("half done".into())).await;
    when(&queue, id, |state| !state.warnings.is_empty()).await;
    dying.die();
    let other = desk(&server).await;
    let task = take(&other, "other").await;
    let state = running(&queue, id).await;
    assert!(
        state.warnings.is_empty(),
        "nothing of the first run is left"
    );
    finish(&other, &task, "other").await;
    let state = over(&queue, id).await;
    assert_eq!((state.status, state.outputs.len()), (Status::Succeeded, 1));
    assert_eq!(painted(&queue, id).await, "a by other");
    let (record, _) = stored(&server, id).await;
    assert_eq!((record.worker.as_str(), record.deliveries), ("other", 2));
    gone(&server).await;
}

/// Two workers that have one job, since the first was silent for too long.
async fn two_on_one_job(server: &Server) -> [(Arc<NatsDesk>, x2i_serve::studio::Task); 2] {
    let (first, second) = (desk(server).await, desk(server).await);
    let slow = take_and_leave(&first, "first").await;
    let again = take(&second, "second").await;
    assert_eq!(slow.id, again.id);
    [(first, slow), (second, again)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_worker_that_is_first_makes_the_result_and_the_other_stops() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let id = submit(&queue, order("a", 1)).await;
    let [(first, slow), (second, again)] = two_on_one_job(&server).await;
    finish(&first, &slow, "first").await;
    assert_eq!(over(&queue, id).await.status, Status::Succeeded);
    let (record, revision) = stored(&server, id).await;
    assert_eq!((record.worker.as_str(), record.deliveries), ("first", 1));
    // The other learns that it paints in vain.
    let begun = Instant::now();
    while !again.is_cancelled() {
        assert!(begun.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    finish(&second, &again, "second").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stored(&server, id).await, (record, revision), "one result");
    assert_eq!(painted(&queue, id).await, "a by first");
    assert_eq!(
        (second.running(), messages(&server, "X2I_JOBS").await),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_worker_that_is_last_changes_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let id = submit(&queue, order("a", 1)).await;
    let [(first, slow), (second, again)] = two_on_one_job(&server).await;
    tell(&first, id, News::Warning("of the first".into())).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(
        queue.job(id).await.unwrap().unwrap().warnings.is_empty(),
        "the second has the record"
    );
    finish(&second, &again, "second").await;
    assert_eq!(over(&queue, id).await.status, Status::Succeeded);
    let before = stored(&server, id).await;
    finish(&first, &slow, "first").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stored(&server, id).await, before, "one result");
    assert_eq!(painted(&queue, id).await, "a by second");
    assert_eq!(
        (first.running(), messages(&server, "X2I_JOBS").await),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_loses_no_job_and_no_result() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let (done, waiting) = (
        submit(&queue, order("a", 1)).await,
        submit(&queue, order("b", 1)).await,
    );
    let task = take(&desk, "a").await;
    assert_eq!(task.id, done);
    let mut watch = queue.watch(done).await.unwrap().unwrap();
    server.kill();
    // The result is finished while the server is away.
    let finishing = {
        let (desk, task) = (desk.clone(), task.clone());
        tokio::spawn(async move { finish(&desk, &task, "a").await })
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!finishing.is_finished());
    server.start_again();
    let state = over(&queue, done).await;
    assert_eq!((state.status, state.outputs.len()), (Status::Succeeded, 1));
    assert_eq!(painted(&queue, done).await, "a by a");
    let (record, _) = stored(&server, done).await;
    assert_eq!(record.deliveries, 1, "it was not painted twice");
    // Who watched before hears the end after.
    let end = async {
        loop {
            if let Event::Status(state) = watch.events.recv().await.unwrap()
                && state.status.is_over()
            {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, end).await.unwrap();
    let task = take(&desk, "a").await;
    assert_eq!(task.id, waiting);
    finish(&desk, &task, "a").await;
    assert_eq!(over(&queue, waiting).await.status, Status::Succeeded);
    gone(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_workers_and_gateways_come_back_with_the_server() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let thread = studio(&desk, "a", Duration::ZERO);
    let id = submit(&queue, order("a", 1)).await;
    over(&queue, id).await;
    for _ in 0..2 {
        server.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.start_again();
        let begun = Instant::now();
        let id = submit(&queue, order("b", 1)).await;
        assert_eq!(over(&queue, id).await.status, Status::Succeeded);
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
    }
    desk.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_nothing_for_long_misses_previews_but_never_the_end() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = submit(&queue, order("a", 2000)).await;
    let mut watch = queue.watch(id).await.unwrap().unwrap();
    let thread = studio(&desk, "a", Duration::from_micros(200));
    over(&queue, id).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut missed, mut last) = (0, None);
    loop {
        use tokio::sync::broadcast::error::RecvError;
        match watch.events.recv().await {
            Ok(event) => last = Some(event),
            Err(RecvError::Lagged(events)) => missed += events,
            Err(RecvError::Closed) => break,
        }
    }
    assert!(missed > 1000, "{missed}");
    let Some(Event::Status(state)) = last else {
        panic!("{last:?}")
    };
    assert_eq!((state.status, state.outputs.len()), (Status::Succeeded, 1));
    desk.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_its_job_back_at_once_and_as_often_as_it_must() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let id = submit(&queue, order("a", 1)).await;
    // More often than a job is given to workers that die.
    for name in ["one", "two", "three", "four"] {
        let stopping = desk(&server).await;
        let task = take(&stopping, name).await;
        let begun = Instant::now();
        stopping.drain(Duration::from_millis(100)).await;
        assert!(task.is_cancelled() && begun.elapsed() < Duration::from_secs(3));
        let state = queue.job(id).await.unwrap().unwrap();
        assert!(!state.status.is_over(), "{state:?}");
    }
    let last = desk(&server).await;
    let task = take(&last, "last").await;
    finish(&last, &task, "last").await;
    assert_eq!(over(&queue, id).await.status, Status::Succeeded);
    assert_eq!(painted(&queue, id).await, "a by last");
    assert_eq!(left(&server).await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_the_server_missed_for_a_while_does_not_begin_its_job_again() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    let task = take(&desk, "a").await;
    let sibling = studio(&desk, "sibling", Duration::ZERO);
    server.kill();
    tokio::time::sleep(Duration::from_secs(3)).await; // the job is due for another worker
    server.start_again();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(running(&queue, id).await.outputs, []);
    finish(&desk, &task, "a").await;
    assert_eq!(over(&queue, id).await.status, Status::Succeeded);
    assert_eq!(painted(&queue, id).await, "a by a");
    assert_eq!(stored(&server, id).await.0.deliveries, 1);
    desk.drain(LIMIT).await;
    sibling.join().unwrap();
}
