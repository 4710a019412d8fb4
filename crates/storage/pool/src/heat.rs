//! How much a chunk is read: counted at each read, and decaying when somebody looks.
//!
//! It is in memory only. After a restart everything is cold, and where chunks lie is what is left of what was known.

use std::cell::Cell;

/// How much a chunk is read.
#[derive(Default)]
pub struct Heat {
    /// Device reads for hosts since somebody looked last.
    reads: Cell<u32>,
    /// Reads before that, each worth half as much after each half-life.
    before: Cell<f32>,
    /// Whether somebody has looked at it at all.
    known: Cell<bool>,
    /// When it was last moved for its heat, by the clock in seconds, and to which tier.
    moved: Cell<Option<(f64, u8)>>,
}

impl Heat {
    /// A host has read something of it.
    pub(crate) fn note_read(&self) {
        self.reads.set(self.reads.get().wrapping_add(1));
    }

    /// Looks at it: what is left of what was known, and what was read since. `remains` is the part that is left of one read since the last
    /// look, `at_birth` what one that nobody has looked at yet begins with.
    pub fn look(&self, remains: f32, at_birth: f32) -> f32 {
        let before = if self.known.replace(true) { self.before.get() } else { self.before.get() + at_birth };
        let heat = before * remains + self.reads.take() as f32;
        self.before.set(heat);
        heat
    }

    /// What it was when somebody looked last, and what was read since.
    pub fn now(&self) -> f32 {
        self.before.get() + self.reads.get() as f32
    }

    /// So much of what was read of another chunk lies here now. It is no newcomer.
    pub fn inherit(&self, heat: f32) {
        self.before.set(self.before.get() + heat);
        self.known.set(true);
    }

    /// It was moved to a tier for its heat, or others are with which it belongs together.
    pub fn note_moved(&self, now_s: f64, tier: u8) {
        self.moved.set(Some((now_s, tier)));
    }

    /// When it was last moved for its heat, by the clock in seconds, and to which tier.
    pub fn moved(&self) -> Option<(f64, u8)> {
        self.moved.get()
    }

    pub(crate) fn take_over(&self, other: &Self) {
        self.reads.set(other.reads.get());
        self.before.set(other.before.get());
        self.known.set(other.known.get());
        self.moved.set(other.moved.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_count_and_decay() {
        let heat = Heat::default();
        (0..8).for_each(|_| heat.note_read());
        assert_eq!(heat.look(0.5, 4.0), 10.0, "what it begins with is as old as the last look");
        assert_eq!(heat.look(0.5, 4.0), 5.0);
        heat.note_read();
        assert_eq!((heat.now(), heat.look(0.5, 4.0)), (6.0, 3.5));
        let next = Heat::default();
        next.inherit(2.0);
        assert_eq!(next.look(1.0, 4.0), 2.0, "it is no newcomer");
        next.take_over(&heat);
        assert_eq!(next.now(), 3.5);
    }
}
