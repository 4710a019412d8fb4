//! What an operation does to its disk as it ends.

use std::io;

use crate::agenda::Event;
use crate::fault::{DiskId, FaultKind, Verb};
use crate::shared::Shared;

use super::course::Course;
use super::fate::Fate;
use super::medium::FlushLoss;
use super::operation::{Operation, Request};
use super::source::Source;
use super::state::{DiskState, eio, enospc};

impl Shared {
    /// Does what the operation does to the disk in its end.
    pub(super) fn finish(
        &self,
        disk: DiskId,
        state: &mut DiskState,
        operation: &mut Operation,
    ) -> io::Result<()> {
        let failed = matches!(
            operation.course,
            Course::Refused | Course::CutOff | Course::Fault(FaultKind::DeviceFailure)
        );
        let result = match operation.request.verb() {
            Verb::Write => self.finish_write(state, operation),
            _ if failed => Err(eio()),
            Verb::Read => operation.read(state),
            Verb::Flush => self.finish_flush(disk, state, operation),
            Verb::Discard => {
                self.finish_discard(state, operation);
                Ok(())
            }
        };
        if operation.request.verb() != Verb::Read {
            state.medium.complete(operation.landings);
            state.medium.write_back(state.spec.cache_bytes);
        }
        result
    }

    fn finish_write(&self, state: &mut DiskState, operation: &mut Operation) -> io::Result<()> {
        let Operation { offset, length, moved_to, course, .. } = *operation;
        let unit = state.spec.atomic_bytes;
        let dice = &self.dice;
        let (mut fate, result) = match course {
            Course::Refused => return Err(eio()),
            Course::CutOff | Course::Fault(FaultKind::WriteError | FaultKind::DeviceFailure) => {
                (Fate::any(dice, offset, length, unit), Err(eio()))
            }
            Course::Fault(FaultKind::LostWrite) => (Fate::none(), Ok(())),
            Course::Fault(FaultKind::NoSpace) => (Fate::torn(dice, offset, length, unit), Err(enospc())),
            Course::Orphan if dice.below(2) == 0 => (Fate::any(dice, offset, length, unit), Ok(())),
            _ => (Fate::all(), Ok(())),
        };
        if let (Request::Write(data, _), false) = (&operation.request, operation.landed) {
            let place = moved_to.unwrap_or(offset);
            operation.landings[1] = state.medium.land(place, length, Source::views(data), &mut fate, dice);
        }
        result
    }

    fn finish_flush(&self, disk: DiskId, state: &mut DiskState, operation: &Operation) -> io::Result<()> {
        if operation.course != Course::Fault(FaultKind::FlushError) {
            state.medium.flush(operation.mark);
            return Ok(());
        }
        let loss = state.medium.fail_flush(operation.mark, &self.dice);
        self.trace.line(self.now(), || format!("{disk} flush error: {loss:?}"));
        if let FlushLoss::Shown(loss) = loss {
            self.schedule(self.dice.within(&(0..10_000_000_000)), Event::Forget { disk, loss });
        }
        Err(eio())
    }

    /// The content of a discarded range is undefined: the old one, zeroes or anything.
    fn finish_discard(&self, state: &mut DiskState, operation: &mut Operation) {
        let Operation { offset, length, .. } = *operation;
        let fill = match self.dice.below(4) {
            0 => return,
            1 => 0xdd,
            _ => 0,
        };
        let mut fate = Fate::any(&self.dice, offset, length, state.spec.atomic_bytes);
        operation.landings[1] =
            state.medium.land(offset, length, Source::Filled(fill), &mut fate, &self.dice);
    }
}

impl Operation {
    fn read(&mut self, state: &DiskState) -> io::Result<()> {
        if self.course == Course::Fault(FaultKind::ReadError) {
            return Err(eio());
        }
        if let Request::Read(Some((buffer, _))) = &mut self.request {
            state.medium.read(self.moved_to.unwrap_or(self.offset), buffer);
        }
        Ok(())
    }
}
