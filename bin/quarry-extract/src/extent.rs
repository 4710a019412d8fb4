//! Ranges of bytes that could not be had, with the reason.

use std::ops::Range;

/// What is damaged in a volume, in order.
#[derive(Default)]
pub struct Damage(Vec<(Range<u64>, String)>);

impl Damage {
    /// Notes a range. One that goes on from the one before is joined to it, and the first reason stands.
    pub fn push(&mut self, bytes: Range<u64>, reason: String) {
        match self.0.last_mut() {
            Some((last, _)) if last.end == bytes.start => last.end = bytes.end,
            _ => self.0.push((bytes, reason)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line for each range.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.0
            .iter()
            .map(|(Range { start, end }, reason)| format!("bytes {start} to {end} are lost: {reason}"))
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(range, _)| range.end - range.start).sum()
    }
}
