//! How far the sanitize operation of a unit has come (SBC-4 4.11), for the nexuses of all cores.
//!
//! One word, so that a command pays one load for it where there is none.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::sense::{Code, Key, Sense};

const IDLE: u32 = 0;
/// Under way; the lower 16 bits are its progress in 65536ths.
const RUNNING: u32 = 1 << 16;
/// It failed, and an initiator may go on with what is there (AUSE).
const FAILED: u32 = 2 << 16;
/// It failed, and only another one that succeeds helps.
const FAILED_FOR_GOOD: u32 = 3 << 16;
const PROGRESS: u32 = 0xFFFF;

/// The sanitize operation of one unit, if there is one.
#[derive(Default)]
pub(crate) struct Sanitizing(AtomicU32);

impl Sanitizing {
    /// What a command that it keeps out is told; nothing where there is none.
    pub(crate) fn hindrance(&self) -> Result<(), Sense> {
        match self.0.load(Ordering::Acquire) {
            IDLE => Ok(()),
            state if state < FAILED => {
                let progress = (state & PROGRESS) as u16;
                Err(Sense::new(Key::NotReady, Code::SANITIZE_IN_PROGRESS).progressed(progress))
            }
            _ => Err(Sense::new(Key::MediumError, Code::SANITIZE_FAILED)),
        }
    }

    /// Begins one. What another one that is under way tells, if there is one.
    pub(crate) fn begin(&self) -> Result<(), Sense> {
        let begun = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state == IDLE || state >= FAILED).then_some(RUNNING)
        });
        if begun.is_ok() { Ok(()) } else { self.hindrance() }
    }

    /// It has done `done` parts of `all`.
    pub(crate) fn progress(&self, done: u64, all: u64) {
        let part = done * u64::from(PROGRESS) / all.max(1);
        self.0.store(RUNNING | part.min(u64::from(PROGRESS)) as u32, Ordering::Release);
    }

    /// It has ended well.
    pub(crate) fn succeed(&self) {
        self.0.store(IDLE, Ordering::Release);
    }

    /// It has failed.
    pub(crate) fn fail(&self, may_exit: bool) {
        self.0.store(if may_exit { FAILED } else { FAILED_FOR_GOOD }, Ordering::Release);
    }

    /// EXIT FAILURE MODE: whether nothing stands in the way of commands any more.
    pub(crate) fn exit(&self) -> Result<(), Sense> {
        match self.0.compare_exchange(FAILED, IDLE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(_) => self.hindrance(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_commands_out_until_it_has_succeeded() {
        let one = Sanitizing::default();
        assert_eq!(one.hindrance(), Ok(()));
        assert_eq!(one.begin(), Ok(()));
        one.progress(1, 2);
        let sense = one.begin().expect_err("there is one");
        assert_eq!((sense.key, sense.code), (Key::NotReady, Code::SANITIZE_IN_PROGRESS));
        assert_eq!(sense.fixed()[15..], [0x80, 0x7F, 0xFF], "half of it is done");
        assert!(one.exit().is_err(), "it has not failed");
        one.succeed();
        assert_eq!((one.hindrance(), one.exit()), (Ok(()), Ok(())));
    }

    #[test]
    fn a_failure_stays_until_it_may_be_left() {
        let one = Sanitizing::default();
        for may_exit in [false, true] {
            assert_eq!(one.begin(), Ok(()), "after a failure another one may be tried");
            one.fail(may_exit);
            let sense = one.hindrance().expect_err("it failed");
            assert_eq!((sense.key, sense.code), (Key::MediumError, Code::SANITIZE_FAILED));
            assert_eq!(one.exit().is_ok(), may_exit);
        }
        assert_eq!(one.hindrance(), Ok(()));
    }
}
