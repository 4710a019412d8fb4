//! Not trying what does not work: data that did not become smaller is followed by more of its kind.

/// Blocks in a row that did not become smaller before others are let pass without trying.
const FAILURES_MIN: u32 = 4;
/// Blocks that are let pass at once, at most.
const PASSED_MAX: u32 = 256;

/// What a volume's blocks were like of late. Counts blocks, not time: the same writes are treated alike wherever they run.
#[derive(Clone, Default, Debug)]
pub struct Bypass {
    /// Blocks in a row that were tried in vain.
    failures: u32,
    /// Blocks that are still let pass.
    passing: u32,
}

impl Bypass {
    /// Whether the next block is worth trying.
    pub fn tries(&mut self) -> bool {
        if self.passing > 0 {
            self.passing -= 1;
            return false;
        }
        true
    }

    /// Tells how a block that was tried came out. The longer nothing works, the more are let pass before the next one is tried.
    pub fn note(&mut self, smaller: bool) {
        if smaller {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let more = self.failures.saturating_sub(FAILURES_MIN);
        if self.failures >= FAILURES_MIN {
            self.passing = (8 << more.min(8)).min(PASSED_MAX);
        }
    }
}
