//! Which block is written next.

/// A workload of writes of one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Pattern {
    /// By Zipf's law with exponent 0.99; what is written often is scattered over the volume.
    Zipf,
    /// All alike.
    Uniform,
    /// One after the other, again and again.
    Sequential,
}

const ZIPF_EXPONENT: f64 = 0.99;

/// Draws blocks of a volume.
pub struct Workload {
    pattern: Pattern,
    blocks: u64,
    state: u64,
    next: u64,
    /// Sums of the ranks' weights, up to and including each.
    weights: Vec<f64>,
}

impl Workload {
    /// For a volume of so many blocks.
    pub fn new(pattern: Pattern, blocks: u64, seed: u64) -> Self {
        let ranks = if pattern == Pattern::Zipf { blocks } else { 0 };
        let weights = (1..=ranks).scan(0.0, |sum, rank| {
            *sum += (rank as f64).powf(-ZIPF_EXPONENT);
            Some(*sum)
        });
        Self { pattern, blocks, state: seed, next: 0, weights: weights.collect() }
    }

    /// The next block.
    pub fn block(&mut self) -> u64 {
        match self.pattern {
            Pattern::Uniform => self.draw() % self.blocks,
            Pattern::Sequential => {
                let block = self.next;
                self.next = (block + 1) % self.blocks;
                block
            }
            Pattern::Zipf => {
                let sum = self.weights.last().copied().unwrap_or(0.0);
                let point = (self.draw() >> 11) as f64 / (1u64 << 53) as f64 * sum;
                let rank = self.weights.partition_point(|&weight| weight <= point) as u64;
                scatter(rank.min(self.blocks - 1), self.blocks)
            }
        }
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Another place for each of `count` numbers: a Feistel network over the next power of four, walked until it is below `count`.
fn scatter(number: u64, count: u64) -> u64 {
    let half_bits = (u64::BITS - (count.max(2) - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half_bits) - 1;
    let mut at = number;
    loop {
        let (mut left, mut right) = (at >> half_bits, at & mask);
        for round in 1..=4u64 {
            (left, right) = (right, left ^ (mix(right ^ (round << 40)) & mask));
        }
        at = left << half_bits | right;
        if at < count {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scattering_loses_nothing() {
        for count in [1, 2, 3, 1000, 4096] {
            let places: BTreeSet<u64> = (0..count).map(|number| scatter(number, count)).collect();
            assert_eq!(places, (0..count).collect());
        }
    }

    #[test]
    fn zipf_prefers_few_blocks_and_uniform_none() {
        let share_of_best = |pattern| {
            let mut counts = vec![0u32; 1000];
            let mut workload = Workload::new(pattern, 1000, 1);
            (0..100_000).for_each(|_| counts[workload.block() as usize] += 1);
            counts.sort_unstable();
            counts.iter().rev().take(100).sum::<u32>() as f64 / 100_000.0
        };
        assert!((0.65..0.75).contains(&share_of_best(Pattern::Zipf)));
        assert!((0.10..0.15).contains(&share_of_best(Pattern::Uniform)));
    }
}
