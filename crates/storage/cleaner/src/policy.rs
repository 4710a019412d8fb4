//! What a cleaner goes by: which chunks first, and how finely it separates what it moves.

/// Which of two chunks is cleaned first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The one with less alive.
    Greedy,
    /// The one with the higher `(1-u)^2 * age / u`, where `u` is the live share of the chunk.
    ///
    /// The benefit of cleaning is the space gained, worth more the longer it will stay gained; what is left in a chunk that was
    /// filled long ago has shown that it lives long. The cost is what has to be moved. Age counts from when the chunk was filled,
    /// not from when its data was written: by simulation 2 to 7 % fewer moves.
    CostBenefit,
}

impl Order {
    /// What cleaning a chunk with this live share and age in segments is worth.
    pub(crate) fn score(self, live: f64, age: u64) -> f64 {
        match self {
            Self::Greedy => 1.0 - live,
            Self::CostBenefit => (1.0 - live).powi(2) * age as f64 / live.max(1e-6),
        }
    }
}

/// A policy. The product runs the default; `cargo xtask cleaning` compares it with the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Victims.
    pub order: Order,
    /// Classes of what is moved, at most; from 1 to [`Policy::CLASSES_MAX`].
    pub classes_max: usize,
}

impl Policy {
    /// Most classes of any policy.
    pub const CLASSES_MAX: usize = 6;
    /// A pool has one class for so many chunks: each has a chunk that is half full.
    const CHUNKS_PER_CLASS: u64 = 64;

    /// How many classes a pool of so many chunks has.
    pub(crate) fn classes(self, total_chunks: u64) -> usize {
        ((total_chunks / Self::CHUNKS_PER_CLASS) as usize).clamp(1, self.classes_max)
    }

    /// Chunks that one round may take, at least: one for each class, and some more.
    pub fn chunks_wanted(self, total_chunks: u64) -> u64 {
        self.classes(total_chunks) as u64 + 3
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { order: Order::CostBenefit, classes_max: Self::CLASSES_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pools_have_one_class() {
        let policy = Policy::default();
        assert_eq!([10, 127, 128, 320, 100_000].map(|chunks| policy.classes(chunks)), [1, 1, 2, 5, 6]);
        assert_eq!(Policy { classes_max: 3, ..policy }.classes(100_000), 3);
    }

    #[test]
    fn an_old_chunk_is_worth_more_than_a_young_one_unless_only_garbage_counts() {
        let worth = |order: Order| order.score(0.5, 100).total_cmp(&order.score(0.4, 10));
        assert!(worth(Order::CostBenefit).is_gt() && worth(Order::Greedy).is_lt());
    }
}
