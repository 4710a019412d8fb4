//! Requests that took too long, with what they waited for.
//!
//! Whoever serves volumes notes them here, a few at most; somebody else comes by now and then and takes them away. So a device that
//! has become slow costs neither memory nor a flood of messages.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use quarry_types::VolumeId;

use crate::Verb;

/// Entries that are kept until somebody takes them. Those beyond are only counted.
pub const SLOW_REQUESTS_MAX: usize = 32;

/// Parts of the way of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    /// A change waits for space, for its turn among others of the same blocks, and for compression, until it is in a batch.
    Queue,
    /// Its batch fills, is written to every copy, and waits for those before it.
    Log,
    /// A device flush, where the change or the volume asks for one.
    Flush,
    /// A read waits for nodes of the map that are not in memory.
    Lookup,
    /// A read waits for devices.
    Device,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Log, Self::Flush, Self::Lookup, Self::Device];

    /// Its name for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Log => "log",
            Self::Flush => "flush",
            Self::Lookup => "lookup",
            Self::Device => "device",
        }
    }
}

/// A request that took too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlowRequest {
    /// The volume, or the snapshot.
    pub volume: VolumeId,
    /// What was asked for.
    pub verb: Verb,
    /// Where, in bytes; 0 for a flush.
    pub offset: u64,
    /// How much, in bytes; 0 for a flush.
    pub length: u64,
    /// When it ended, by the clock of the core.
    pub ended: Duration,
    /// How long it took.
    pub took: Duration,
    /// How much of that was spent where; what is missing was spent elsewhere.
    pub stages: Vec<(Stage, Duration)>,
    /// Whether it was done in the end.
    pub is_done: bool,
}

/// The slow requests of one core's part of a pool, until they are taken.
#[derive(Default)]
pub struct SlowLog {
    /// What is too long; nothing when zero.
    threshold: Cell<Duration>,
    kept: RefCell<Vec<SlowRequest>>,
    count: Cell<u64>,
}

impl SlowLog {
    /// What is too long from now on; zero for nothing.
    pub fn set_threshold(&self, threshold: Duration) {
        self.threshold.set(threshold);
    }

    /// Whether a request that took so long is to be noted.
    #[inline]
    pub fn is_slow(&self, took: Duration) -> bool {
        took >= self.threshold.get() && !self.threshold.get().is_zero()
    }

    /// Notes one.
    pub fn note(&self, request: SlowRequest) {
        self.count.set(self.count.get() + 1);
        let mut kept = self.kept.borrow_mut();
        if kept.len() < SLOW_REQUESTS_MAX {
            kept.push(request);
        }
    }

    /// How many were noted since this was asked last, and those of them that were kept.
    pub fn take(&self) -> (u64, Vec<SlowRequest>) {
        (self.count.take(), self.kept.take())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn request(offset: u64) -> SlowRequest {
        let (ended, took) = (Duration::from_secs(9), Duration::from_secs(2));
        let volume = VolumeId(Uuid::nil());
        SlowRequest {
            volume,
            verb: Verb::Read,
            offset,
            length: 4096,
            ended,
            took,
            stages: vec![],
            is_done: true,
        }
    }

    #[test]
    fn nothing_is_slow_before_there_is_a_threshold() {
        let log = SlowLog::default();
        assert!(!log.is_slow(Duration::from_secs(100)));
        log.set_threshold(Duration::from_secs(1));
        assert!(log.is_slow(Duration::from_secs(1)) && !log.is_slow(Duration::from_millis(999)));
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let log = SlowLog::default();
        (0..1000).for_each(|offset| log.note(request(offset)));
        let (count, kept) = log.take();
        assert_eq!((count, kept.len(), kept[31].offset), (1000, SLOW_REQUESTS_MAX, 31));
        log.note(request(5));
        let (count, kept) = log.take();
        assert_eq!((count, &kept[..]), (1, &[request(5)][..]));
    }
}
