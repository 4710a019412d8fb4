//! What each log of a pool counts on: free chunks are shared, and no log may promise its hosts what another one needs.

use std::collections::BTreeMap;

use quarry_types::LogId;

/// What a log needs besides what its hosts write, in chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Need {
    /// For segments: what a checkpoint appends at most.
    pub segments: u64,
    /// For packed chunks: what the cleaner writes before it frees anything.
    pub packed: u64,
    /// For the next image.
    pub image: u64,
}

impl Need {
    /// Free chunks that segments may not take. Twice the image, because the one before is free only afterwards.
    fn aside(&self) -> u64 {
        self.packed + 2 * self.image
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.segments + self.aside()
    }
}

/// What one log counts on.
#[derive(Clone, Copy, Default)]
struct Stake {
    need: Need,
    /// What it may take out of the free chunks, the need included.
    claim: u64,
}

/// The stakes of a pool's logs.
#[derive(Default)]
pub(crate) struct Stakes(BTreeMap<LogId, Stake>);

impl Stakes {
    fn others(&self, log: LogId) -> impl Iterator<Item = &Stake> {
        self.0.iter().filter(move |(id, _)| **id != log).map(|(_, stake)| stake)
    }

    /// Renews the stake of `log`, which holds `ready` chunks for its next segments. Says how many chunks its hosts may
    /// take, of `free` ones and those that are ready; 0 or less when they may take none.
    ///
    /// While other logs look for space too, nobody gets more than half of what nobody counts on.
    pub(crate) fn renew(&mut self, log: LogId, need: Need, free: u64, ready: u64) -> i64 {
        let claimed: u64 = self.others(log).map(|stake| stake.claim).sum();
        let unclaimed = (free + ready) as i64 - (need.total() + claimed) as i64;
        let shares = self.others(log).next().is_some() && unclaimed > 1;
        let granted = if shares { unclaimed / 2 } else { unclaimed };
        let segments = need.segments + granted.max(0) as u64;
        let claim = need.aside() + segments.saturating_sub(ready);
        self.0.insert(log, Stake { need, claim });
        granted
    }

    /// How many of `free` chunks `log` may make ready for segments without taking what it needs otherwise, or what others
    /// count on.
    pub(crate) fn spare(&self, log: LogId, free: u64) -> u64 {
        let own = self.0.get(&log).map_or(0, |stake| stake.need.aside());
        let claimed: u64 = self.others(log).map(|stake| stake.claim).sum();
        free.saturating_sub(own + claimed)
    }

    /// How many of `free` chunks `log` may take and still leave every log its next image, without which nothing becomes
    /// free.
    pub(crate) fn spare_in_need(&self, log: LogId, image: u64, free: u64) -> u64 {
        let images: u64 = self.others(log).map(|stake| stake.need.image).sum();
        free.saturating_sub(images + image)
    }

    /// What all logs need at most.
    pub(crate) fn need(&self) -> u64 {
        self.0.values().map(|stake| stake.need.total()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEED: Need = Need { segments: 2, packed: 4, image: 2 };

    #[test]
    fn a_log_alone_gets_everything_that_it_does_not_need_itself() {
        let mut stakes = Stakes::default();
        assert_eq!(stakes.renew(LogId(0), NEED, 100, 5), 95);
        assert_eq!(stakes.renew(LogId(0), NEED, 3, 5), -2);
        assert_eq!(
            (stakes.need(), stakes.spare(LogId(0), 9), stakes.spare_in_need(LogId(0), 2, 9)),
            (10, 1, 7)
        );
    }

    #[test]
    fn the_last_chunk_is_not_halved() {
        let mut stakes = Stakes::default();
        stakes.renew(LogId(1), Need::default(), 0, 0);
        assert_eq!(stakes.renew(LogId(0), Need::default(), 1, 0), 1);
        assert_eq!(stakes.renew(LogId(1), Need::default(), 1, 0), 0);
    }

    proptest! {
        /// However the logs take turns in looking and taking, what they need is there.
        #[test]
        fn no_log_takes_what_another_needs(turns in prop::collection::vec((0u16..3, any::<bool>(), 0u64..40), 1..200)) {
            let (mut stakes, mut free, mut granted) = (Stakes::default(), 200u64, [0u64; 3]);
            (0..3).for_each(|log| _ = stakes.renew(LogId(log), NEED, free, 0));
            for (log, looks, takes) in turns {
                let granted = &mut granted[usize::from(log)];
                if looks {
                    *granted = stakes.renew(LogId(log), NEED, free, 0).max(0) as u64;
                } else {
                    let takes = takes.min(*granted);
                    *granted -= takes;
                    free -= takes;
                }
                prop_assert!(free >= 30, "{free}");
            }
        }
    }
}
