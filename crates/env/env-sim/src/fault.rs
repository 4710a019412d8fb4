//! What may break, how often, and where: the faults of disks, their budget, and the log of those that were injected.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::dice::Dice;

/// A disk of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DiskId(pub u32);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {}", self.0)
    }
}

/// The verbs of a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// `Disk::read`
    Read,
    /// `Disk::write`
    Write,
    /// `Disk::flush`
    Flush,
    /// `Disk::discard`
    Discard,
}

/// One way in which a disk breaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// A read fails with EIO.
    ReadError,
    /// A write fails with EIO; any of its sectors may have landed.
    WriteError,
    /// A flush fails with EIO; what it should have made durable may be dropped, at once or after having been readable
    /// for a while, or may still be there.
    FlushError,
    /// The disk stops answering: this operation and all later ones fail with EIO.
    DeviceFailure,
    /// The disk hangs: this operation and all others make no step before it goes on, if it ever does.
    Hang,
    /// The operation completes very late.
    Stall,
    /// The operation never completes, unless its process dies.
    Never,
    /// A write fails with ENOSPC (files only); a prefix of it may have landed.
    NoSpace,
    /// A write is acknowledged and never lands.
    LostWrite,
    /// A write is acknowledged and lands elsewhere on the same disk.
    MisdirectedWrite,
    /// A read returns the data of another place of the same disk.
    MisdirectedRead,
    /// A few bits of stored data flip.
    BitRot,
}

/// What a fault does to the promises of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultClass {
    /// Wrong data without an error: [`FaultPlan::corruptible`] disks only.
    Silent,
    /// An error or no answer, perhaps with loss: [`FaultPlan::failing`] disks only.
    Reported,
    /// Harmless to data: any disk.
    Harmless,
}

impl FaultKind {
    /// Every kind, for tables and tests.
    pub const ALL: [FaultKind; 12] = [
        FaultKind::ReadError,
        FaultKind::WriteError,
        FaultKind::FlushError,
        FaultKind::DeviceFailure,
        FaultKind::Hang,
        FaultKind::Stall,
        FaultKind::Never,
        FaultKind::NoSpace,
        FaultKind::LostWrite,
        FaultKind::MisdirectedWrite,
        FaultKind::MisdirectedRead,
        FaultKind::BitRot,
    ];

    /// Which disks may suffer it.
    pub fn class(self) -> FaultClass {
        match self {
            FaultKind::ReadError
            | FaultKind::WriteError
            | FaultKind::FlushError
            | FaultKind::DeviceFailure
            | FaultKind::Hang
            | FaultKind::Never => FaultClass::Reported,
            FaultKind::LostWrite
            | FaultKind::MisdirectedWrite
            | FaultKind::MisdirectedRead
            | FaultKind::BitRot => FaultClass::Silent,
            FaultKind::Stall | FaultKind::NoSpace => FaultClass::Harmless,
        }
    }

    /// The verbs that it can befall.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            FaultKind::ReadError | FaultKind::MisdirectedRead => &[Verb::Read],
            FaultKind::WriteError
            | FaultKind::NoSpace
            | FaultKind::LostWrite
            | FaultKind::MisdirectedWrite => &[Verb::Write],
            FaultKind::FlushError => &[Verb::Flush],
            FaultKind::DeviceFailure | FaultKind::Hang | FaultKind::Stall => {
                &[Verb::Read, Verb::Write, Verb::Flush, Verb::Discard]
            }
            FaultKind::Never => &[Verb::Read, Verb::Write, Verb::Flush],
            FaultKind::BitRot => &[Verb::Read, Verb::Write],
        }
    }
}

/// How often a disk breaks: for each kind, the chance per operation that it can befall.
#[derive(Clone, Debug, Default)]
pub struct FaultRates {
    chances: [Vec<(FaultKind, f64)>; 4],
    /// How long a stall lasts.
    pub stall: Range<Duration>,
    /// How long a disk that failed by chance stays away; an empty range means for ever.
    pub failure: Range<Duration>,
    /// How long a disk hangs; an empty range means for ever.
    pub hang: Range<Duration>,
}

impl FaultRates {
    /// A disk that never breaks, whose stalls last 0.1 to 30 s when they are asked for.
    pub fn none() -> Self {
        Self { stall: Duration::from_millis(100)..Duration::from_secs(30), ..Self::default() }
    }

    /// The same with `kind` befalling each of its verbs' operations with this chance.
    ///
    /// # Panics
    /// When the chances of one verb add up to more than 1.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, chance: f64) -> Self {
        for &verb in kind.verbs() {
            let chances = &mut self.chances[verb as usize];
            chances.retain(|&(other, _)| other != kind);
            if chance > 0.0 {
                chances.push((kind, chance));
            }
            let sum: f64 = chances.iter().map(|&(_, chance)| chance).sum();
            assert!(sum <= 1.0, "the chances of {verb:?} add up to {sum}");
        }
        self
    }

    /// Draws what befalls an operation. Costs one draw where anything can happen, else none.
    pub(crate) fn draw(&self, verb: Verb, dice: &Dice) -> Option<FaultKind> {
        let chances = &self.chances[verb as usize];
        if chances.is_empty() {
            return None;
        }
        let mut drawn = dice.unit();
        for &(kind, chance) in chances {
            if drawn < chance {
                return Some(kind);
            }
            drawn -= chance;
        }
        None
    }
}

/// The budget of faults by chance, so that a checker knows what must survive. Faults that are asked for by name
/// ([`World::script_fault`](crate::World::script_fault) and its like) are outside of it.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// Disks that may return wrong data without an error. With two copies of everything: one disk.
    pub corruptible: BTreeSet<DiskId>,
    /// Disks that may return errors, lose what was not flushed after an error, hang or fail.
    pub failing: BTreeSet<DiskId>,
    /// Most faults in the life of the world.
    pub faults_max: u64,
}

/// A fault that was injected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultRecord {
    /// Virtual time since the world began.
    pub at: Duration,
    /// Where.
    pub disk: DiskId,
    /// What.
    pub kind: FaultKind,
    /// Bytes of the disk that the operation was for, or that rotted. Empty for a flush or a whole disk.
    pub range: Range<u64>,
    /// Where a misdirected operation went instead.
    pub moved_to: Option<u64>,
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, disk, kind, range, moved_to } = self;
        write!(f, "{:>14.9} {disk} {kind:?} {:#x}..{:#x}", at.as_secs_f64(), range.start, range.end)?;
        moved_to.map_or(Ok(()), |place| write!(f, " at {place:#x} instead"))
    }
}

/// The plan and what came of it.
pub(crate) struct Faults {
    pub(crate) plan: FaultPlan,
    pub(crate) enabled: bool,
    pub(crate) injected: Vec<FaultRecord>,
    by_chance: u64,
}

impl Default for Faults {
    fn default() -> Self {
        let plan = FaultPlan { faults_max: u64::MAX, ..FaultPlan::default() };
        Self { plan, enabled: true, injected: Vec::new(), by_chance: 0 }
    }
}

impl Faults {
    /// Whether the budget allows a fault drawn by chance; counts it if so.
    pub(crate) fn admit(&mut self, disk: DiskId, kind: FaultKind) -> bool {
        let allowed = match kind.class() {
            FaultClass::Silent => self.plan.corruptible.contains(&disk),
            FaultClass::Reported => self.plan.failing.contains(&disk),
            FaultClass::Harmless => true,
        };
        let admitted = self.enabled && allowed && self.by_chance < self.plan.faults_max;
        self.by_chance += u64::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_come_true_in_proportion_and_only_for_their_verbs() {
        let rates = FaultRates::none().with(FaultKind::ReadError, 0.25).with(FaultKind::Stall, 0.5);
        let dice = Dice::new(1);
        let draws: Vec<_> = (0..10_000).map(|_| rates.draw(Verb::Read, &dice)).collect();
        let count = |wanted| draws.iter().filter(|&&drawn| drawn == wanted).count();
        assert!((2_300..2_700).contains(&count(Some(FaultKind::ReadError))));
        assert!((4_800..5_200).contains(&count(Some(FaultKind::Stall))));
        assert!((0..1_000).all(|_| matches!(rates.draw(Verb::Flush, &dice), None | Some(FaultKind::Stall))));
    }

    #[test]
    fn the_budget_names_disks_and_a_number() {
        let (one, other) = (DiskId(1), DiskId(2));
        let plan = FaultPlan { corruptible: [one].into(), failing: [other].into(), faults_max: 2 };
        let mut faults = Faults { plan, ..Faults::default() };
        assert!(!faults.admit(other, FaultKind::LostWrite));
        assert!(!faults.admit(one, FaultKind::WriteError));
        assert!(faults.admit(one, FaultKind::LostWrite));
        faults.enabled = false;
        assert!(!faults.admit(other, FaultKind::Stall));
        faults.enabled = true;
        assert!(faults.admit(other, FaultKind::FlushError));
        assert!(!faults.admit(one, FaultKind::BitRot), "the budget is used up");
    }
}
