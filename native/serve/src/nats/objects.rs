//! Inputs and outputs in object stores, whole or not at all.

use std::time::Duration;

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind, ObjectStore};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::refusal::unavailable;
use crate::job::{Code, Failure, InputId};

/// How long nothing may come of an object that is read.
const SILENCE: Duration = Duration::from_secs(15);
/// How often an object is read that was replaced meanwhile.
const READS: usize = 2;
/// The largest piece of an object that is taken at once.
const PIECE: usize = 128 << 10;

/// Stores an object, unless one of this name is there that is younger than `fresh`.
///
/// # Errors
/// When the queue can't be reached, or has no room.
pub(super) async fn put(
    store: &ObjectStore,
    name: &str,
    fresh: Duration,
    data: &mut (impl AsyncRead + Unpin),
) -> Result<(), Failure> {
    match store.info(name).await {
        Ok(info) if !info.deleted && info.modified.is_some_and(|at| is_younger(at, fresh)) => {
            return Ok(());
        }
        Err(error) if error.kind() != InfoErrorKind::NotFound => {
            return Err(unavailable("an object", error));
        }
        _ => {}
    }
    let stored = store.put(name, data).await;
    stored
        .map(drop)
        .map_err(|error| unavailable("an object can't be stored", error))
}

fn is_younger(at: time::OffsetDateTime, than: Duration) -> bool {
    let age = time::OffsetDateTime::now_utc() - at;
    age < than
}

/// Reads an object in pieces, which `take` gets in order after [`Piece::Start`]. False where there is none.
///
/// # Errors
/// When the queue can't be reached, or the bytes are not those that were stored; those of `take`.
pub(super) async fn read(
    store: &ObjectStore,
    name: &str,
    mut take: impl FnMut(Piece<'_>) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut last = None;
    for _ in 0..READS {
        let mut object = match store.get(name).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unavailable("an object", error)),
        };
        take(Piece::Start)?;
        match pieces(&mut object, &mut take).await? {
            Ok(()) => return Ok(true),
            Err(error) => last = Some(error),
        }
    }
    Err(unavailable("an object", last.unwrap_or_default()))
}

/// A piece of an object.
pub(super) enum Piece<'a> {
    /// It begins, perhaps again.
    Start,
    /// The next bytes.
    Bytes(&'a [u8]),
}

/// The outer error is that of `take`, the inner one that of reading.
async fn pieces(
    object: &mut (impl AsyncRead + Unpin),
    take: &mut impl FnMut(Piece<'_>) -> Result<(), Failure>,
) -> Result<Result<(), String>, Failure> {
    let mut piece = vec![0; PIECE];
    loop {
        match tokio::time::timeout(SILENCE, object.read(&mut piece)).await {
            Err(_) => return Ok(Err("nothing came".into())),
            Ok(Err(error)) => return Ok(Err(error.to_string())),
            Ok(Ok(0)) => return Ok(Ok(())),
            Ok(Ok(count)) => take(Piece::Bytes(&piece[..count]))?,
        }
    }
}

/// A whole object of these many bytes and this hash, which are what a job's state says.
///
/// # Errors
/// When the queue can't be reached, or the bytes are others.
pub(super) async fn whole(
    store: &ObjectStore,
    name: &str,
    bytes: u64,
    sha256: &str,
) -> Result<Option<Bytes>, Failure> {
    let mut all = Vec::new();
    let found = read(store, name, |piece| {
        match piece {
            Piece::Start => all.clear(),
            Piece::Bytes(piece) if (all.len() + piece.len()) as u64 > bytes => {
                return Err(damaged(name));
            }
            Piece::Bytes(piece) => all.extend_from_slice(piece),
        }
        Ok(())
    });
    if !found.await? {
        return Ok(None);
    }
    match InputId::of(&all).as_str() == sha256 {
        true => Ok(Some(all.into())),
        false => Err(damaged(name)),
    }
}

pub(super) fn damaged(name: &str) -> Failure {
    Failure::new(
        Code::Internal,
        format!("the stored object {name} is damaged"),
    )
}
