//! What befalls an operation, decided when it begins.

use quarry_env::DiskKind;

use crate::agenda::Event;
use crate::fault::{DiskId, FaultKind, FaultRecord, Verb};
use crate::shared::Shared;

use super::state::{DiskState, DiskStatus};

/// What has been decided about an operation when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Course {
    Normal,
    Fault(FaultKind),
    /// The disk did not answer from the beginning.
    Refused,
    /// The disk failed while it was under way; what it brought may have been lost with the disk's power.
    CutOff,
    /// Its process has died: it ends as it likes.
    Orphan,
}

impl Shared {
    /// Decides what befalls an operation, by script, by the state of the disk, or by chance within the budget.
    pub(super) fn choose_course(
        &self,
        disk: DiskId,
        state: &mut DiskState,
        verb: Verb,
        offset: u64,
        length: u64,
    ) -> (Course, Option<u64>) {
        if state.status != DiskStatus::Online {
            return (Course::Refused, None);
        }
        let range = offset..offset + length;
        let scripted = state.scripted(verb, &range);
        let fault = scripted.or_else(|| {
            let drawn = state.spec.faults.draw(verb, &self.dice)?;
            let fits = drawn != FaultKind::NoSpace || state.spec.kind == DiskKind::File;
            (fits && self.faults.borrow_mut().admit(disk, drawn)).then_some(drawn)
        });
        let Some(fault) = fault else {
            let no_block = state.full && verb == Verb::Write && state.medium.has_hole(offset, length);
            return (if no_block { Course::Fault(FaultKind::NoSpace) } else { Course::Normal }, None);
        };
        let mut record = FaultRecord { at: self.time(), disk, kind: fault, range, moved_to: None };
        match fault {
            FaultKind::MisdirectedRead | FaultKind::MisdirectedWrite => {
                record.moved_to = self.another_place(state, offset, length);
                if record.moved_to.is_none() {
                    return (Course::Normal, None);
                }
            }
            FaultKind::BitRot => match self.rot_anywhere(state) {
                Some(byte) => record.range = byte..byte + 1,
                None => return (Course::Normal, None),
            },
            FaultKind::DeviceFailure => self.fail_by_chance(disk, state),
            FaultKind::Hang => self.hang_by_chance(disk, state),
            _ => {}
        }
        let moved_to = record.moved_to;
        self.log_fault(record);
        (Course::Fault(fault), moved_to)
    }

    fn fail_by_chance(&self, disk: DiskId, state: &mut DiskState) {
        self.go_on(disk, state);
        state.fail(DiskStatus::Failed);
        let away = &state.spec.faults.failure;
        if !away.is_empty() {
            self.schedule(self.dice.nanos(away), Event::DiskReturns(disk));
        }
    }

    fn hang_by_chance(&self, disk: DiskId, state: &mut DiskState) {
        state.held.get_or_insert_default();
        let hang = &state.spec.faults.hang;
        if !hang.is_empty() {
            self.schedule(self.dice.nanos(hang), Event::DiskGoesOn(disk));
        }
    }

    fn rot_anywhere(&self, state: &mut DiskState) -> Option<u64> {
        let byte = state.medium.any_written_byte(&self.dice)?;
        for _ in 0..=self.dice.below(3) {
            state.medium.rot(byte, self.dice.below(8) as u32);
        }
        Some(byte)
    }

    /// A place for a transfer that goes wrong, often one where it does harm.
    fn another_place(&self, state: &DiskState, offset: u64, length: u64) -> Option<u64> {
        let sector = u64::from(state.spec.sector_bytes);
        let last = state.spec.size_bytes - length;
        let written = match self.dice.below(2) {
            0 => None,
            _ => state.medium.any_written_byte(&self.dice),
        };
        let place = written.unwrap_or_else(|| self.dice.below(last + 1)).min(last);
        let place = place / sector * sector;
        (place != offset).then_some(place)
    }
}
