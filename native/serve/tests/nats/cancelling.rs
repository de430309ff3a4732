//! Jobs are cancelled while they wait, run, and after their end.

use std::time::{Duration, Instant};

use x2i_serve::job::Status;
use x2i_serve::queue::Queue;

use crate::parts::*;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled_at_once_and_never_begun() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let (id, next) = (
        submit(&queue, order("a", 1)).await,
        submit(&queue, order("b", 1)).await,
    );
    let mut watch = queue.watch(id).await.unwrap().unwrap();
    let state = queue.cancel(id).await.unwrap().unwrap();
    assert_eq!((state.status, state.started_at), (Status::Canceled, None));
    let event = tokio::time::timeout(LIMIT, watch.events.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(format!("{event:?}").contains("Canceled"), "{event:?}");
    let desk = desk(&server).await;
    assert_eq!(take(&desk, "a").await.id, next);
    assert_eq!(queue.job(id).await.unwrap().unwrap(), state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_ends_within_a_step_and_the_next_begins() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let thread = studio(&desk, "a", Duration::from_millis(10));
    let (id, next) = (
        submit(&queue, order("a", 100_000)).await,
        submit(&queue, order("b", 1)).await,
    );
    running(&queue, id).await;
    let begun = Instant::now();
    assert_eq!(
        queue.cancel(id).await.unwrap().unwrap().status,
        Status::Canceling
    );
    let state = over(&queue, id).await;
    assert_eq!((state.status, state.error), (Status::Canceled, None));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(over(&queue, next).await.status, Status::Succeeded);
    // One that is over stays as it is.
    for id in [id, next] {
        let state = queue.job(id).await.unwrap();
        assert_eq!(queue.cancel(id).await.unwrap(), state);
    }
    empty(&queue).await;
    desk.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_worker_died_before_it_heard_of_its_end_is_cancelled_by_the_next() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, dying) = (gateway(&server).await, Mortal::start(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    take(&dying.desk, "dying").await;
    dying.die();
    assert_eq!(
        queue.cancel(id).await.unwrap().unwrap().status,
        Status::Canceling
    );
    let next = desk(&server).await;
    let thread = studio(&next, "next", Duration::ZERO);
    assert_eq!(over(&queue, id).await.status, Status::Canceled);
    assert!(queue.output(id, 0).await.unwrap().is_none());
    next.drain(LIMIT).await;
    thread.join().unwrap();
}
