//! Time.

use std::time::Instant;

/// Repeats and keeps the fastest: what disturbs only ever adds.
#[derive(Clone, Copy)]
pub struct Sampler {
    pub rounds: u32,
}

impl Sampler {
    /// Nanoseconds of the fastest run.
    pub fn fastest_ns(self, mut work: impl FnMut()) -> f64 {
        let mut once = || {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as f64
        };
        (0..self.rounds).map(|_| once()).fold(f64::INFINITY, f64::min)
    }

    /// Nanoseconds of one of many short runs.
    pub fn short_ns(self, mut work: impl FnMut()) -> f64 {
        const RUNS: u32 = 200;
        self.fastest_ns(|| (0..RUNS).for_each(|_| work())) / f64::from(RUNS)
    }
}
