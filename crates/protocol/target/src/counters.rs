//! What a session has done, counted by its core and readable from every other one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one session. One core writes them, so that counting costs a plain addition and no locked instruction.
#[derive(Default, Debug)]
pub struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    write_bytes: AtomicU64,
    others: AtomicU64,
    errors: AtomicU64,
}

/// A reading of [`Counters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Reads asked for.
    pub reads: u64,
    /// Bytes asked for by reads.
    pub read_bytes: u64,
    /// Writes asked for.
    pub writes: u64,
    /// Bytes of writes.
    pub write_bytes: u64,
    /// Other requests: flush, discard, write zeroes, block status.
    pub others: u64,
    /// Requests answered by an error.
    pub errors: u64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Counters {
    /// A read of `bytes` was asked for. Only the session's core calls this, as all that follow.
    pub fn read(&self, bytes: u64) {
        add(&self.reads, 1);
        add(&self.read_bytes, bytes);
    }

    /// A write of `bytes` was asked for.
    pub fn write(&self, bytes: u64) {
        add(&self.writes, 1);
        add(&self.write_bytes, bytes);
    }

    /// Something else was asked for.
    pub fn other(&self) {
        add(&self.others, 1);
    }

    /// A request was answered by an error.
    pub fn error(&self) {
        add(&self.errors, 1);
    }

    /// What they show now.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            reads: read(&self.reads),
            read_bytes: read(&self.read_bytes),
            writes: read(&self.writes),
            write_bytes: read(&self.write_bytes),
            others: read(&self.others),
            errors: read(&self.errors),
        }
    }
}
