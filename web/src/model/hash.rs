//! SHA-256 of files: by the browser where a file can be held, which is several times faster, else piece by
//! piece in wasm.

use js_sys::Uint8Array;
use sha2::{Digest, Sha256};

use super::store::{Reader, Store};
use crate::failure::Result;
use crate::js;

/// The largest file that is held to be hashed, in bytes.
pub const HELD: u64 = 64 << 20;
/// Bytes of a larger file that are read at a time.
const PIECE: u64 = 4 << 20;

/// The hash of bytes in memory, in hex.
pub async fn of_bytes(bytes: &Uint8Array) -> String {
    let subtle = js::global(&["crypto", "subtle"]);
    // Pages without a secure context have none.
    let digest = js::call_async(&subtle, "digest", &["SHA-256".into(), bytes.into()]).await;
    if let Ok(digest) = digest {
        return hex::encode(Uint8Array::new(&digest).to_vec());
    }
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < bytes.length() {
        let end = bytes.length().min(at + PIECE as u32);
        hash.update(bytes.subarray(at, end).to_vec());
        at = end;
    }
    hex::encode(hash.finalize())
}

/// Hashes the first `bytes` of a stored file.
///
/// # Errors
/// `cache-unavailable` when it can't be read.
pub async fn update(
    hash: &mut Sha256,
    reader: &Reader,
    bytes: u64,
    mut on_bytes: impl FnMut(u64),
) -> Result<()> {
    let mut at = 0;
    while at < bytes {
        let end = (at + PIECE).min(bytes);
        hash.update(reader.read(at..end).await?.to_vec());
        at = end;
        on_bytes(at);
    }
    Ok(())
}

/// Whether a stored file has these bytes.
pub async fn fits(store: &Store, key: &str, bytes: u64) -> bool {
    let found = async || -> Result<String> {
        let reader = store.reader(key).await?;
        if bytes <= HELD {
            return Ok(of_bytes(&reader.read(0..bytes).await?).await);
        }
        let mut hash = Sha256::new();
        update(&mut hash, &reader, bytes, |_| {}).await?;
        Ok(hex::encode(hash.finalize()))
    };
    let found = found().await;
    found.is_ok_and(|found| found == key)
}
