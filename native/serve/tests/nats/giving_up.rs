//! Jobs that nobody can do: wrong ones, and those that workers fail at or die of.

use std::time::Duration;

use x2i_serve::job::{Code, Failure, InputFile, InputId, Order, PartOrder, Status};
use x2i_serve::queue::Queue;

use crate::parts::*;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_wrong_fails_at_its_first_worker() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    let task = take(&desk, "a").await;
    let wrong = Failure::param("steps", "steps: 0 must be between 1 and 1000");
    fail(&desk, &task, wrong.clone()).await;
    let state = over(&queue, id).await;
    assert_eq!((state.status, state.error), (Status::Failed, Some(wrong)));
    assert_eq!(left(&server).await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cant_be_read_or_lacks_an_input_fails_with_its_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let jetstream = session(&server.url()).await.jetstream;
    let thread = studio(&desk, "a", Duration::ZERO);
    // As another program would publish them: the worker writes the first record.
    let missing = InputFile {
        id: InputId::of(b"gone"),
        name: "a.png".into(),
    };
    let gone = Order {
        parts: vec![PartOrder::Image(missing)],
        ..order("", 1)
    };
    let bodies = [
        b"{\"parts\": 5}".to_vec(),
        serde_json::to_vec(&gone).unwrap(),
    ];
    for (body, reason) in bodies
        .into_iter()
        .zip(["can't read the order", "there is no upload"])
    {
        let id = submit(&queue, order("a", 1)).await; // makes the subject known
        over(&queue, id).await;
        let id = x2i_serve::job::JobId::new();
        let subject = format!("x2i.jobs.some=20one=2fmodel=20v1=2e0=20=3e.{id}");
        jetstream
            .publish(subject, body.into())
            .await
            .unwrap()
            .await
            .unwrap();
        let state = when(&queue, id, |state| state.status.is_over()).await;
        let error = state.error.unwrap();
        assert_eq!(error.code, Code::InvalidRequest);
        assert!(error.message.contains(reason), "{error}");
    }
    crate::parts::gone(&server).await;
    desk.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_three_workers_fail_at_is_given_up_with_the_reason() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, desk) = (gateway(&server).await, desk(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    for turn in 1..=3 {
        let task = take(&desk, "a").await;
        assert_eq!(task.id, id);
        fail(
            &desk,
            &task,
            Failure::new(Code::Internal, format!("the device was lost, {turn}")),
        )
        .await;
        if turn < 3 {
            when(&queue, id, |state| state.status == Status::Queued).await;
        }
    }
    let state = over(&queue, id).await;
    assert_eq!(state.status, Status::Failed);
    assert_eq!(state.error.unwrap().message, "the device was lost, 3");
    assert_eq!(left(&server).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_kills_three_workers_is_buried_once_by_any_of_two_gateways() {
    let Some(server) = Server::start() else {
        return;
    };
    let (queue, other) = (gateway(&server).await, gateway(&server).await);
    let id = submit(&queue, order("a", 1)).await;
    let mut watch = other.watch(id).await.unwrap().unwrap();
    for name in ["one", "two", "three"] {
        let dying = Mortal::start(&server).await;
        assert_eq!(take(&dying.desk, name).await.id, id);
        dying.die();
    }
    // The server finds out when the next worker asks for a job; that one does not get it.
    let next = desk(&server).await;
    let thread = studio(&next, "next", Duration::ZERO);
    let state = over(&queue, id).await;
    assert_eq!(state.status, Status::Failed);
    let reason = state.error.unwrap().message;
    assert!(
        reason.starts_with("3 workers began the job") && reason.contains("the last: three"),
        "{reason}"
    );
    let end = async { while watch.events.recv().await.is_ok() {} };
    tokio::time::timeout(LIMIT, end).await.unwrap();
    assert_eq!(left(&server).await, [0, 1]);
    assert_eq!(messages(&server, "X2I_ADVISORIES").await, 0);
    // The order is kept for those who look.
    let jetstream = session(&server.url()).await.jetstream;
    let dead = jetstream.get_stream("X2I_DEAD").await.unwrap();
    let kept = dead.get_raw_message(1).await.unwrap();
    assert_eq!(
        serde_json::from_slice::<Order>(&kept.payload).unwrap(),
        order("a", 1)
    );
    assert!(
        kept.headers
            .get("X2i-Reason")
            .unwrap()
            .as_str()
            .contains("3 workers")
    );
    next.drain(LIMIT).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_dies_while_no_gateway_is_there_is_buried_by_the_next() {
    let Some(server) = Server::start() else {
        return;
    };
    let queue = gateway(&server).await;
    let id = submit(&queue, order("a", 1)).await;
    drop(queue);
    for name in ["one", "two", "three"] {
        let dying = Mortal::start(&server).await;
        assert_eq!(take(&dying.desk, name).await.id, id);
        dying.die();
    }
    let idle = desk(&server).await;
    let thread = studio(&idle, "idle", Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(messages(&server, "X2I_ADVISORIES").await, 1);
    let next = gateway(&server).await;
    assert_eq!(over(&next, id).await.status, Status::Failed);
    assert!(next.job(id).await.unwrap().unwrap().error.is_some());
    idle.drain(LIMIT).await;
    thread.join().unwrap();
}
