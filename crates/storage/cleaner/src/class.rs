//! Classes of estimated remaining life.
//!
//! What is moved has survived one cleaning; how much longer it will live shows best in how long it has lived: its age, in segments
//! that the log has written since. Data of like age goes into the same chunks, so that a chunk dies as a whole rather than a
//! little everywhere (SepBIT, FAST'22, for what is moved). A log address tells the segment in which a record was written, so
//! nothing has to be remembered for it. The unit is the age at which segments as they were written come to be cleaned.

use quarry_types::SegmentId;

/// The youngest class ends at so many units; each further one is as many times as old as the one before.
const FACTOR: u64 = 4;
/// The unit follows the last so many victims that lay as they were written.
const WEIGHT: u64 = 16;
/// Knows the unit.
#[derive(Default)]
pub(crate) struct Classifier {
    /// Age in segments at which segments as they were written are cleaned, times [`WEIGHT`].
    unit_weighted: u64,
}

impl Classifier {
    /// Takes note of a victim that lay as it was written `age` segments ago.
    pub(crate) fn note_written(&mut self, age: u64) {
        match self.unit_weighted {
            0 => self.unit_weighted = age * WEIGHT,
            _ => self.unit_weighted = self.unit_weighted - self.unit_weighted / WEIGHT + age,
        }
    }

    /// The class, below `classes`, of what was written in `segment`; `now` is the log's count of segments.
    pub(crate) fn class_of(&self, segment: SegmentId, now: u64, classes: usize) -> usize {
        let age = now.saturating_sub(segment.sequence());
        let mut end = (self.unit_weighted / WEIGHT).max(1).saturating_mul(FACTOR);
        let mut class = 0;
        while class + 1 < classes && age > end {
            class += 1;
            end = end.saturating_mul(FACTOR);
        }
        class
    }
}

#[cfg(test)]
mod tests {
    use quarry_types::LogId;

    use super::*;

    #[test]
    fn older_data_is_of_a_higher_class() {
        let mut classifier = Classifier::default();
        (0..100).for_each(|_| classifier.note_written(10));
        let class = |age: u64| classifier.class_of(SegmentId::new(LogId(0), 100_000 - age), 100_000, 6);
        assert_eq!([0, 40, 41, 160, 161, 640, 2_560, 10_240, 99_999].map(class), [0, 0, 1, 1, 2, 2, 3, 4, 5]);
        assert_eq!(classifier.class_of(SegmentId::new(LogId(0), 0), 100_000, 1), 0);
    }
}
