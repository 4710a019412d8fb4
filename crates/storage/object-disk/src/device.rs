//! A device in a bucket: which objects a range lies in, in which order they are written, and what is kept of them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use quarry_types::limits::DEVICE_HEADER_BYTES;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{Bucket, Sent};
use crate::claim::Holding;
use crate::lease::Lease;
use crate::limits::{
    HEADER_OBJECT_BYTES, KEPT_OBJECTS_MAX, LATE_TIME_MAX, OBJECT_BYTES, OUTAGE_TIME_MAX, REQUEST_TIME_MAX,
};

/// Writes of objects that share one of so many locks follow each other.
const LOCKS: usize = 64;
/// How long a request that nobody waits for any more may be sent again and be carried out.
const ABANDONED_TIME_MAX: Duration =
    OUTAGE_TIME_MAX.saturating_add(REQUEST_TIME_MAX).saturating_add(LATE_TIME_MAX);
const HEADER_OBJECTS: u64 = DEVICE_HEADER_BYTES / HEADER_OBJECT_BYTES;

/// See the module. Shared by all cores of the process.
pub(crate) struct Device {
    pub bucket: Arc<Bucket>,
    holding: Arc<Holding>,
    locks: [tokio::sync::Mutex<()>; LOCKS],
    /// Objects as they are in the bucket, of which parts were written last; the newest at the end.
    kept: Mutex<VecDeque<Kept>>,
    /// Until when something may still be carried out on an object: what is on its way included.
    haunted: Mutex<BTreeMap<u64, Instant>>,
}

struct Kept {
    object: u64,
    bytes: Bytes,
    /// Under which it was written: as long as that is exclusive, nobody else has changed it.
    lease: Arc<Lease>,
}

/// A part of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    object: u64,
    /// Bytes of the object.
    range: Range<usize>,
    /// Length of the object.
    object_bytes: usize,
}

impl Part {
    fn is_whole(&self) -> bool {
        self.range.len() == self.object_bytes
    }
}

/// The objects that a range lies in, in order.
fn parts(offset: u64, length: u64) -> Vec<Part> {
    let (mut at, end) = (offset, offset + length);
    let mut parts = Vec::new();
    while at < end {
        let (object, start, object_bytes) = match at.checked_sub(DEVICE_HEADER_BYTES) {
            None => (at / HEADER_OBJECT_BYTES, at % HEADER_OBJECT_BYTES, HEADER_OBJECT_BYTES),
            Some(behind) => (HEADER_OBJECTS + behind / OBJECT_BYTES, behind % OBJECT_BYTES, OBJECT_BYTES),
        };
        let length = (object_bytes - start).min(end - at);
        let range = start as usize..(start + length) as usize;
        parts.push(Part { object, range, object_bytes: object_bytes as usize });
        at += length;
    }
    parts
}

fn name(object: u64) -> String {
    match object.checked_sub(HEADER_OBJECTS) {
        None => format!("header/{object:02x}"),
        Some(behind) => format!("data/{behind:09x}"),
    }
}

impl Device {
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket: Arc::new(bucket),
            holding: Arc::default(),
            locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            kept: Mutex::default(),
            haunted: Mutex::default(),
        }
    }

    /// Reads a range, in pieces.
    pub async fn read(&self, lease: &Arc<Lease>, offset: u64, length: u64) -> io::Result<Vec<Bytes>> {
        try_join_all(parts(offset, length).into_iter().map(|part| self.read_part(lease, part))).await
    }

    async fn read_part(&self, lease: &Arc<Lease>, part: Part) -> io::Result<Bytes> {
        if let Some(kept) = self.kept(lease, part.object) {
            return Ok(kept.slice(part.range));
        }
        let range = part.range.start as u64..part.range.end as u64;
        let found = self.bucket.get(&name(part.object), range, Sent::UntilAnswered).await?;
        Ok(found.unwrap_or_else(|| Bytes::from(vec![0; part.range.len()])))
    }

    /// Writes `bytes`. All of it is in the bucket when this returns well.
    pub async fn write(&self, lease: &Arc<Lease>, offset: u64, bytes: Bytes) -> io::Result<()> {
        let mut at = 0;
        let writes = parts(offset, bytes.len() as u64).into_iter().map(|part| {
            let piece = bytes.slice(at..at + part.range.len());
            at += piece.len();
            self.write_part(lease, part, piece)
        });
        try_join_all(writes).await.map(drop)
    }

    async fn write_part(&self, lease: &Arc<Lease>, part: Part, piece: Bytes) -> io::Result<()> {
        let _order = self.locks[part.object as usize % LOCKS].lock().await;
        let whole = match part.is_whole() {
            true => piece,
            false => {
                let all = Part { range: 0..part.object_bytes, ..part.clone() };
                let mut object = BytesMut::from(&self.read_part(lease, all).await?[..]);
                object[part.range.clone()].copy_from_slice(&piece);
                object.freeze()
            }
        };
        self.wait_for_what_is_late(part.object).await;
        self.forget(part.object);
        self.haunt(part.object, ABANDONED_TIME_MAX);
        let (name, check) = (name(part.object), || lease.check());
        let outcome = self.bucket.put(&name, whole.clone(), Sent::UntilAnswered, check).await;
        self.note_answer(part.object, outcome.in_doubt);
        outcome.result?;
        if !part.is_whole() {
            self.keep(lease, part.object, whole);
        }
        Ok(())
    }

    /// Deletes objects that lie in a range as a whole.
    pub async fn discard(&self, lease: &Arc<Lease>, offset: u64, length: u64) -> io::Result<()> {
        let whole = parts(offset, length).into_iter().filter(Part::is_whole);
        try_join_all(whole.map(|part| self.delete(lease, part.object))).await.map(drop)
    }

    async fn delete(&self, lease: &Arc<Lease>, object: u64) -> io::Result<()> {
        let _order = self.locks[object as usize % LOCKS].lock().await;
        self.wait_for_what_is_late(object).await;
        self.forget(object);
        self.haunt(object, ABANDONED_TIME_MAX);
        let outcome = self.bucket.delete(&name(object), || lease.check()).await;
        self.note_answer(object, outcome.in_doubt);
        outcome.result
    }

    fn kept(&self, lease: &Arc<Lease>, object: u64) -> Option<Bytes> {
        let kept = self.kept.lock().expect("no panic under it");
        let kept = kept.iter().find(|kept| kept.object == object && Arc::ptr_eq(&kept.lease, lease))?;
        lease.is_exclusive().then(|| kept.bytes.clone())
    }

    fn keep(&self, lease: &Arc<Lease>, object: u64, bytes: Bytes) {
        let mut kept = self.kept.lock().expect("no panic under it");
        if kept.len() == KEPT_OBJECTS_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { object, bytes, lease: lease.clone() });
    }

    fn forget(&self, object: u64) {
        self.kept.lock().expect("no panic under it").retain(|kept| kept.object != object);
    }

    /// Whether anything is on its way, or may still be carried out.
    fn is_haunted(&self) -> bool {
        let now = Instant::now();
        self.haunted.lock().expect("no panic under it").values().any(|&until| until > now)
    }

    fn haunt(&self, object: u64, time: Duration) {
        self.haunted.lock().expect("no panic under it").insert(object, Instant::now() + time);
    }

    /// The last request to change the object was answered, after one that was not when `in_doubt`.
    fn note_answer(&self, object: u64, in_doubt: bool) {
        match in_doubt {
            true => self.haunt(object, LATE_TIME_MAX),
            false => drop(self.haunted.lock().expect("no panic under it").remove(&object)),
        }
    }

    async fn wait_for_what_is_late(&self, object: u64) {
        let until = self.haunted.lock().expect("no panic under it").get(&object).copied();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    /// Holds the place for the process.
    pub async fn hold(&self, holder: u128) -> io::Result<Arc<Lease>> {
        self.holding.hold(&self.bucket, holder).await
    }

    /// Gives a lease back. The place is kept from others for a while when something of ours may still be carried out.
    pub async fn let_go(&self, holder: u128, lease: &Arc<Lease>) {
        self.holding.let_go(&self.bucket, holder, lease, || !self.is_haunted()).await;
    }
}

#[cfg(test)]
mod tests;
