//! A spinning disk: one head, which has to go to a track and wait for the sector to come round.
//!
//! The time of an operation is that of the seek, `shortest + (longest - shortest) * sqrt(distance)` with the distance as a share
//! of all tracks, then the wait until the first byte passes under the head, then the transfer at the speed at which bytes pass.
//! Tracks have the same length everywhere, and going on where the last transfer ended is no seek (tracks are skewed so that the
//! head is there in time). The disk looks at the oldest operations that wait, as many as its queue holds, and takes the one
//! that it can begin first, as disks with native command queueing do. It has no volatile cache of its own.

use std::time::Duration;

use crate::slab::Key;

/// What a spinning disk is like.
#[derive(Clone, Debug)]
pub struct Spindle {
    /// Time of a revolution.
    pub revolution: Duration,
    /// Bytes that pass under the head in one.
    pub track_bytes: u64,
    /// Seek to the next track.
    pub seek_shortest: Duration,
    /// Seek across the disk.
    pub seek_longest: Duration,
    /// Operations of which it chooses the next.
    pub queue: usize,
}

impl Spindle {
    /// 7200 revolutions a minute, 192 MiB/s, 8.5 ms for a seek on average, a queue of 32.
    pub fn desktop() -> Self {
        Self {
            revolution: Duration::from_nanos(8_333_333),
            track_bytes: 1600 << 10,
            seek_shortest: Duration::from_millis(1),
            seek_longest: Duration::from_millis(15),
            queue: 32,
        }
    }

    fn seek_ns(&self, from: u64, to: u64, size_bytes: u64) -> u64 {
        let tracks = size_bytes.div_ceil(self.track_bytes).max(1);
        let distance = (from / self.track_bytes).abs_diff(to / self.track_bytes);
        if distance == 0 || from == to {
            return 0;
        }
        let share = (distance as f64 / tracks as f64).sqrt();
        (self.seek_shortest + (self.seek_longest - self.seek_shortest).mul_f64(share)).as_nanos() as u64
    }

    /// Time until the first byte at `to` is under the head, which is at `from` at `now`.
    fn positioning_ns(&self, now: u64, from: u64, to: u64, size_bytes: u64) -> u64 {
        let seek = self.seek_ns(from, to, size_bytes);
        let revolution = self.revolution.as_nanos() as u64;
        let passes_at = self.transfer_ns(to % self.track_bytes);
        let angle = (now + seek) % revolution;
        seek + (passes_at + revolution - angle) % revolution
    }

    fn transfer_ns(&self, bytes: u64) -> u64 {
        (u128::from(bytes) * self.revolution.as_nanos() / u128::from(self.track_bytes)) as u64
    }
}

/// An operation that waits for the head.
struct Waiting {
    key: Key,
    offset: u64,
    length: u64,
}

/// What the head of a spinning disk does.
#[derive(Default)]
pub(crate) struct Head {
    /// Where it will be when it is free.
    position: u64,
    busy: Option<Key>,
    waiting: Vec<Waiting>,
}

impl Head {
    /// Adds an operation.
    pub(crate) fn add(&mut self, key: Key, offset: u64, length: u64) {
        self.waiting.push(Waiting { key, offset, length });
    }

    /// The operation has ended; says whether it was the head's.
    pub(crate) fn end(&mut self, key: Key) -> bool {
        let was_busy = self.busy == Some(key);
        if was_busy {
            self.busy = None;
        }
        self.waiting.retain(|waiting| waiting.key != key);
        was_busy
    }

    /// Begins with the operation that can begin first, if the head is free; says which, and how long it takes.
    pub(crate) fn begin(&mut self, spindle: &Spindle, now: u64, size_bytes: u64) -> Option<(Key, u64)> {
        if self.busy.is_some() {
            return None;
        }
        let cost = |waiting: &Waiting| spindle.positioning_ns(now, self.position, waiting.offset, size_bytes);
        let seen = self.waiting.iter().take(spindle.queue.max(1)).enumerate();
        let (index, positioning) =
            seen.map(|(index, waiting)| (index, cost(waiting))).min_by_key(|&(_, cost)| cost)?;
        let Waiting { key, offset, length } = self.waiting.remove(index);
        (self.busy, self.position) = (Some(key), offset + length);
        Some((key, positioning + spindle.transfer_ns(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 40;
    const MS: u64 = 1_000_000;

    fn keys(count: usize) -> Vec<Key> {
        let mut slab = crate::slab::Slab::default();
        (0..count).map(|_| slab.insert(())).collect()
    }

    #[test]
    fn going_on_costs_the_transfer_alone() {
        let (spindle, keys) = (Spindle::desktop(), keys(2));
        let mut head = Head::default();
        head.add(keys[0], 0, spindle.track_bytes);
        let (_, first) = head.begin(&spindle, 0, SIZE).expect("it is free");
        assert_eq!(first, 8_333_333, "a whole track at its beginning: one revolution");
        head.add(keys[1], spindle.track_bytes, 64 << 10);
        assert!(head.begin(&spindle, 0, SIZE).is_none(), "one at a time");
        assert!(head.end(keys[0]));
        let (key, second) = head.begin(&spindle, first, SIZE).expect("it is free");
        assert_eq!((key, second), (keys[1], spindle.transfer_ns(64 << 10)));
    }

    #[test]
    fn who_comes_late_waits_for_a_revolution() {
        let (spindle, keys) = (Spindle::desktop(), keys(2));
        let mut head = Head::default();
        head.add(keys[0], 0, 4096);
        let (_, first) = head.begin(&spindle, 0, SIZE).expect("it is free");
        head.end(keys[0]);
        head.add(keys[1], 4096, 4096);
        let (_, second) = head.begin(&spindle, first + MS, SIZE).expect("it is free");
        let missed = 8_333_333 - MS + spindle.transfer_ns(4096);
        assert!(second.abs_diff(missed) <= 1, "{second} ns instead of {missed}");
    }

    #[test]
    fn random_access_costs_a_seek_and_half_a_revolution() {
        let (spindle, keys) = (Spindle::desktop(), keys(1));
        let (mut head, mut now, mut state) = (Head::default(), 0, 1u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            head.add(keys[0], (state >> 24) % SIZE / 4096 * 4096, 4096);
            now += head.begin(&spindle, now, SIZE).expect("it is free").1;
            head.end(keys[0]);
        }
        let mean_us = now / 20_000 / 1000;
        assert!((12_400..12_900).contains(&mean_us), "{mean_us} us, not 8.5 ms and 4.2 ms");
    }
}
