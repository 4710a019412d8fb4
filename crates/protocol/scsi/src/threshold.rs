//! The soft threshold of thin provisioning (SBC-4 4.7.3.7): initiators are told when the pool behind a unit is so full that somebody
//! should do something.
//!
//! Its level is the pool's warning level. Each nexus hears of it once, when it is reached or when the nexus begins while it is.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::limits::BLOCK_BYTES;

/// Logical blocks of a threshold set, as an exponent of 2: 16 MiB. Thresholds are counted in sets.
pub const SET_EXPONENT: u8 = 15;

/// The pool behind a unit, and when it is too full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SoftThreshold {
    /// From so many bytes in use on.
    pub used_bytes: u64,
    /// Whether so many are in use.
    pub is_reached: bool,
}

/// What is known of the threshold of a unit.
#[derive(Default)]
pub(crate) struct Threshold {
    /// 0 before anything is known.
    sets: AtomicU32,
    is_reached: AtomicBool,
}

impl Threshold {
    /// Takes note of it; whether it has just been reached.
    pub(crate) fn note(&self, threshold: SoftThreshold) -> bool {
        let sets = threshold.used_bytes / (u64::from(BLOCK_BYTES) << SET_EXPONENT);
        self.sets.store(u32::try_from(sets).unwrap_or(u32::MAX), Ordering::Relaxed);
        !self.is_reached.swap(threshold.is_reached, Ordering::AcqRel) && threshold.is_reached
    }

    /// In threshold sets; 0 where it is not known.
    pub(crate) fn sets(&self) -> u32 {
        self.sets.load(Ordering::Relaxed)
    }

    /// Whether the pool is too full.
    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Acquire)
    }
}
