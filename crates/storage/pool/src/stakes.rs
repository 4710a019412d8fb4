//! What each log of a pool counts on: free chunks are shared, and no log may promise its hosts what another one needs.
//!
//! A log counts in chunks with as many copies as it keeps of each. Others may keep more or fewer; what they count on is there if all of
//! it fits beside what this one takes ([`Allocator::free_chunks_beside`]).
//!
//! What a log takes comes out of its own claim, and what it frees goes to it, until it renews its stake. So a log that is in
//! debt, because its hosts overwrite in a full pool, owes that to itself: others neither lend nor notice.

use std::collections::BTreeMap;

use quarry_types::LogId;

use crate::Allocator;
use crate::allocator::Counts;

/// What a log needs besides what its hosts write, in chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Need {
    /// For segments: what a checkpoint appends at most.
    pub segments: u64,
    /// For packed chunks: what the cleaner writes before it frees anything.
    pub packed: u64,
    /// For the next image.
    pub image: u64,
    /// For overwrites when the pool is full: what they take until so much of what they free lies together that it can be gained.
    pub working: u64,
    /// For volumes with a reservation, on top of all this: what they have not used of it.
    pub kept: u64,
}

impl Need {
    /// Free chunks that segments may not take. Twice the image, because the one before is free only afterwards.
    fn aside(&self) -> u64 {
        self.aside_without(0)
    }

    /// The same where the cleaner, which writes nothing before the next image, gets so many chunks with that.
    fn aside_without(&self, freed_soon: u64) -> u64 {
        self.packed.saturating_sub(freed_soon) + 2 * self.image
    }

    /// All of it but what is kept for volumes.
    pub fn total(&self) -> u64 {
        self.segments + self.working + self.aside()
    }
}

/// What a chunk is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// An image: without it nothing becomes free, so it gets what is there.
    Image,
    /// A segment to be held ready, if it is to spare.
    ReadySegment {
        /// Chunks that are free when the next image is durable, and the cleaner's then.
        freed_soon: u64,
    },
    /// The only segment that is ready: a checkpoint may wait for it.
    NextSegment,
    /// Survivors.
    Packed,
}

/// What is free, as a log with so many copies counts it.
#[derive(Clone, Copy)]
pub(crate) struct Free<'a> {
    pub allocator: &'a Allocator,
    pub copies: usize,
}

impl Free<'_> {
    fn beside(&self, others: &Counts) -> i64 {
        self.allocator.free_chunks_beside(self.copies, others)
    }
}

/// What one log counts on.
#[derive(Clone, Copy, Default)]
struct Stake {
    need: Need,
    /// Copies of each of its chunks.
    copies: usize,
    /// What it may take out of the free chunks, the need included. Below 0 it holds what others may have.
    claim: i64,
    /// The last [`Stakes::want`] for which it has looked for space and found no more.
    looked: u64,
}

/// The stakes of a pool's logs.
#[derive(Default)]
pub(crate) struct Stakes {
    stakes: BTreeMap<LogId, Stake>,
    wanted: u64,
}

impl Stakes {
    /// Free chunks that logs other than `log` count on.
    fn claimed_by_others(&self, log: LogId) -> Counts {
        counts(self.others(log), |stake| stake.claim.max(0) as u64)
    }

    fn others(&self, log: LogId) -> impl Iterator<Item = &Stake> {
        self.stakes.iter().filter(move |(id, _)| **id != log).map(|(_, stake)| stake)
    }

    /// Renews the stake of `log`, which holds `ready` chunks for its next segments. Says how many chunks its hosts may
    /// take, of `free` ones and those that are ready; 0 or less when they may take none. At most `share_max` of them; with
    /// such a bound, which is for a log that is not alone, at most half of what nobody counts on.
    pub(crate) fn renew(
        &mut self,
        log: LogId,
        need: Need,
        (free, ready): (Free<'_>, u64),
        share_max: Option<u64>,
    ) -> i64 {
        let available = free.beside(&self.claimed_by_others(log));
        let unclaimed = available + ready as i64 - (need.total() + need.kept) as i64;
        let granted = match share_max {
            Some(share_max) if unclaimed > 0 => (unclaimed - unclaimed / 2).min(share_max as i64),
            _ => unclaimed,
        };
        let segments = need.segments + need.working + need.kept + granted.max(0) as u64;
        let stake = self.stakes.entry(log).or_default();
        (stake.need, stake.copies) = (need, free.copies);
        // What is not there is missing from its own claim, not from those of others.
        stake.claim = ((need.aside() + segments.saturating_sub(ready)) as i64).min(available);
        granted
    }

    /// `log` has taken so many free chunks, or given them back where that is negative.
    pub(crate) fn take(&mut self, log: LogId, chunks: i64) {
        if let Some(stake) = self.stakes.get_mut(&log) {
            stake.claim -= chunks;
        }
    }

    /// How many of the free chunks no log counts on.
    pub(crate) fn unclaimed(&self, free: Free<'_>) -> u64 {
        let claimed = counts(self.stakes.values(), |stake| stake.claim.max(0) as u64);
        free.beside(&claimed).max(0) as u64
    }

    /// How many of the free chunks `log` may take for `purpose`. What is to spare is what neither the log needs otherwise nor
    /// others count on; in need a log takes more, but leaves every log its next image.
    pub(crate) fn spare(&self, log: LogId, purpose: Purpose, free: Free<'_>) -> u64 {
        let (others, own) = match purpose {
            Purpose::Image => (Counts::new(), 0),
            Purpose::ReadySegment { freed_soon } => {
                let own = self.stakes.get(&log).map_or(0, |stake| stake.need.aside_without(freed_soon));
                (self.claimed_by_others(log), own)
            }
            Purpose::NextSegment | Purpose::Packed => {
                (counts(self.stakes.values(), |stake| stake.need.image), 0)
            }
        };
        (free.beside(&others) - own as i64).max(0) as u64
    }

    /// How many logs have a stake.
    pub(crate) fn logs(&self) -> usize {
        self.stakes.len()
    }

    /// What all logs need at most.
    pub(crate) fn need(&self) -> Counts {
        counts(self.stakes.values(), |stake| stake.need.total())
    }

    /// The same, and what is kept for volumes with a reservation.
    pub(crate) fn promised(&self) -> Counts {
        counts(self.stakes.values(), |stake| stake.need.total() + stake.need.kept)
    }

    /// What each log needs at most, in chunks of its own.
    pub(crate) fn needs(&self) -> BTreeMap<LogId, u64> {
        self.stakes.iter().map(|(log, stake)| (*log, stake.need.total())).collect()
    }

    /// A log whose hosts wait asks the others to look for space. The answer is the number of this request.
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted += 1;
        self.wanted
    }

    /// The newest request.
    pub(crate) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// `log` has looked for space since request `number` and found no more.
    pub(crate) fn note_looked(&mut self, log: LogId, number: u64) {
        let stake = self.stakes.entry(log).or_default();
        stake.looked = stake.looked.max(number);
    }

    /// Whether all logs but `log` have looked since request `number`.
    pub(crate) fn have_others_looked(&self, log: LogId, number: u64) -> bool {
        self.others(log).all(|stake| stake.looked >= number)
    }
}

fn counts<'a>(stakes: impl Iterator<Item = &'a Stake>, part: impl Fn(&Stake) -> u64) -> Counts {
    let mut counts = Counts::new();
    stakes.for_each(|stake| *counts.entry(stake.copies).or_default() += part(stake));
    counts.retain(|_, chunks| *chunks > 0);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEED: Need = Need { segments: 2, packed: 4, image: 2, working: 0, kept: 0 };

    /// Logs of one copy on one device.
    struct One(Stakes);

    fn free(chunks: u64) -> Allocator {
        let mut allocator = Allocator::default();
        allocator.add_device(0, chunks as u32, true);
        allocator
    }

    impl One {
        fn new() -> Self {
            Self(Stakes::default())
        }

        fn renew(&mut self, log: u16, need: Need, (chunks, ready): (u64, u64), max: Option<u64>) -> i64 {
            let free = Free { allocator: &free(chunks), copies: 1 };
            self.0.renew(LogId(log), need, (free, ready), max)
        }

        fn spare(&self, log: u16, purpose: Purpose, chunks: u64) -> u64 {
            self.0.spare(LogId(log), purpose, Free { allocator: &free(chunks), copies: 1 })
        }

        fn unclaimed(&self, chunks: u64) -> u64 {
            self.0.unclaimed(Free { allocator: &free(chunks), copies: 1 })
        }

        fn need(&self) -> u64 {
            self.0.need().values().sum()
        }
    }

    #[test]
    fn a_log_alone_gets_everything_that_it_does_not_need_itself() {
        let mut stakes = One::new();
        assert_eq!(stakes.renew(0, NEED, (100, 5), None), 95);
        assert_eq!(stakes.renew(0, NEED, (3, 5), None), -2);
        let spare = |purpose| stakes.spare(0, purpose, 9);
        assert_eq!([Purpose::Image, Purpose::NextSegment, Purpose::Packed].map(spare), [9, 7, 7]);
        // What an image is about to free covers the cleaner, and not the images.
        let ready = [0, 3, 4, 9].map(|freed_soon| spare(Purpose::ReadySegment { freed_soon }));
        assert_eq!(ready, [1, 4, 5, 5]);
        assert_eq!(stakes.need(), 10);
    }

    #[test]
    fn logs_that_are_not_alone_share() {
        let mut stakes = One::new();
        let mut renew = |log, free, max| stakes.renew(log, Need::default(), (free, 0), Some(max));
        assert_eq!(renew(1, 100, 8), 8, "a share is small, however much there is");
        assert_eq!(renew(0, 15, 8), 4, "half of what is left");
        assert_eq!(renew(2, 13, 8), 1, "the last chunk is not halved");
        assert_eq!(renew(0, 12, 8), 2);
        assert_eq!(renew(1, 12, 0), 0, "who wants nothing hinders nobody");
        assert_eq!(renew(0, 12, 8), 6);
    }

    #[test]
    fn what_is_kept_for_volumes_nobody_else_gets() {
        let mut stakes = One::new();
        let keeping = Need { working: 1, kept: 30, ..NEED };
        assert_eq!(stakes.renew(0, keeping, (100, 0), None), 100 - 11 - 30);
        assert_eq!(stakes.need(), 11);
        // The other log sees what the first counts on: its need, what it keeps, and what its hosts were granted.
        let mut stakes = One::new();
        assert_eq!(stakes.renew(0, keeping, (100, 0), Some(0)), 0);
        assert_eq!(stakes.renew(1, NEED, (100, 0), None), 100 - 41 - 10);
        // As the volume uses its reservation, others neither win nor lose.
        assert_eq!(stakes.renew(0, Need { kept: 20, ..keeping }, (90, 0), Some(0)), 0);
        assert_eq!(stakes.renew(1, NEED, (90, 0), None), 100 - 41 - 10);
        // When it was raised beyond what is free, hosts get nothing.
        assert_eq!(stakes.renew(0, Need { kept: 95, ..keeping }, (90, 0), None), 90 - 11 - 95 - 59);
    }

    #[test]
    fn everybody_looks_before_a_pool_is_called_full() {
        let mut stakes = One::new();
        (0..3).for_each(|log| _ = stakes.renew(log, NEED, (9, 0), None));
        let first = stakes.0.want();
        assert!(!stakes.0.have_others_looked(LogId(0), first));
        stakes.0.note_looked(LogId(1), stakes.0.wanted());
        assert!(!stakes.0.have_others_looked(LogId(0), first));
        stakes.0.note_looked(LogId(2), stakes.0.wanted());
        assert!(stakes.0.have_others_looked(LogId(0), first));
        let second = stakes.0.want();
        assert!(
            !stakes.0.have_others_looked(LogId(0), second) && stakes.0.have_others_looked(LogId(0), first)
        );
    }

    #[test]
    fn a_log_in_debt_owes_nobody_else() {
        let mut stakes = One::new();
        let need = Need { working: 2, ..NEED };
        assert_eq!(stakes.renew(0, need, (24, 0), Some(0)), 0);
        assert_eq!(stakes.renew(1, need, (24, 0), Some(0)), 0);
        assert_eq!(stakes.renew(1, need, (24, 0), Some(8)), 0);
        // The first takes what is for its overwrites; who looks first makes no difference.
        stakes.0.take(LogId(0), 2);
        assert_eq!(stakes.renew(1, need, (22, 0), Some(8)), 0);
        assert_eq!(stakes.renew(0, need, (22, 0), Some(8)), -2);
        assert_eq!(stakes.renew(1, need, (22, 0), Some(8)), 0);
        // What it gains back is its own too, and then everybody's.
        stakes.0.take(LogId(0), -3);
        assert_eq!(stakes.renew(1, need, (25, 0), Some(8)), 0);
        assert_eq!(stakes.renew(0, need, (25, 0), Some(0)), 0);
        assert_eq!(stakes.unclaimed(25), 1);
        assert_eq!(stakes.renew(1, need, (25, 0), Some(8)), 1);
    }

    proptest! {
        /// However the logs take turns in looking and taking, and however many copies each keeps, what they need is there.
        #[test]
        fn no_log_takes_what_another_needs(
            slots in prop::collection::vec(60u32..120, 4..7),
            copies in prop::array::uniform3(1usize..5),
            turns in prop::collection::vec((0u16..3, any::<bool>(), 0u64..40), 1..200),
        ) {
            let mut allocator = Allocator::default();
            (0..).zip(slots).for_each(|(index, slots)| allocator.add_device(index, slots, true));
            let (mut stakes, mut granted) = (Stakes::default(), [0u64; 3]);
            let look = |stakes: &mut Stakes, allocator: &Allocator, log: u16| {
                let free = Free { allocator, copies: copies[usize::from(log)] };
                stakes.renew(LogId(log), NEED, (free, 0), Some(40)).max(0) as u64
            };
            (0..3).for_each(|log| _ = look(&mut stakes, &allocator, log));
            for (log, looks, takes) in turns {
                let copies = copies[usize::from(log)];
                let granted = &mut granted[usize::from(log)];
                if looks {
                    *granted = look(&mut stakes, &allocator, log);
                } else {
                    let takes = takes.min(*granted);
                    *granted -= takes;
                    let before = allocator.free_chunks(copies);
                    for _ in 0..takes {
                        prop_assert!(!allocator.allocate(copies).is_empty());
                    }
                    stakes.take(LogId(log), before as i64 - allocator.free_chunks(copies) as i64);
                }
                prop_assert!(allocator.free_chunks_beside(1, &stakes.need()) >= 0, "{:?}", stakes.need());
            }
        }
    }
}
