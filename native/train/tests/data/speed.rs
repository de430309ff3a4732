//! Large data sets are opened in the time that reading them takes.

use std::time::{Duration, Instant};

use x2i_train::data::{Order, Task};

use crate::tar::{caption, write};
use crate::{open, shards};

#[test]
fn a_shard_of_100_000_captions_is_opened_and_read_in_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let members: Vec<Vec<u8>> = (0..100_000)
        .map(|sample| caption(&format!("{sample:06}"), "a red fox in the snow"))
        .collect();
    let path = write(folder.path(), "a.tar", &members);
    let start = Instant::now();
    let set = open(shards(path), Task::Distill).unwrap();
    let opened = start.elapsed();
    let mut order = Order::new(set.len(), 1, 1, 0).unwrap();
    for k in 0..1000 {
        set.sample(order.at(k)).unwrap();
    }
    let read = start.elapsed() - opened;
    eprintln!("opened in {opened:?}, 1000 samples in {read:?}");
    assert_eq!(set.len(), 100_000);
    assert!(opened < Duration::from_secs(20) && read < Duration::from_secs(2));
}
