//! Operations whose process, or whose power, is gone.

use crate::agenda::Event;
use crate::fault::FaultKind;
use crate::shared::Shared;

use super::course::Course;
use super::fate::Fate;
use super::operation::{Early, Operation, Request};
use super::source::Source;
use super::spindle::Head;
use super::state::DiskState;

impl Shared {
    /// The process of these operations has died: nobody is told, and they end later, whole, in part or not at all.
    pub(crate) fn orphan_operations(&self, process: u32) -> Vec<Request> {
        let mut disks = self.disks.borrow_mut();
        let mut given_up = Vec::new();
        for disk in disks.ids() {
            let operations = &mut disks.get(disk).operations;
            for key in operations.keys() {
                let Some(operation) = operations.get_mut(key) else { continue };
                if operation.process != process {
                    continue;
                }
                given_up.push(operation.forget_asker());
                operation.step += 1;
                if matches!(
                    operation.course,
                    Course::Normal | Course::Fault(FaultKind::Never | FaultKind::Stall | FaultKind::Hang)
                ) {
                    operation.course = Course::Orphan;
                    operation.early = Early::Nothing;
                }
                let delay = self.dice.nanos(&self.config.late_landing);
                self.schedule(delay, Event::Operation { disk, key, step: operation.step });
            }
        }
        given_up
    }

    /// The power fails: writes under way are judged like those that wait in the cache. Returns what nobody is told.
    pub(crate) fn cut_operations(&self, state: &mut DiskState) -> Vec<Request> {
        let mut given_up = Vec::new();
        for key in state.operations.keys() {
            let Some(mut operation) = state.operations.remove(key) else { continue };
            let silent = matches!(
                operation.course,
                Course::Refused | Course::Fault(FaultKind::LostWrite | FaultKind::MisdirectedWrite)
            );
            if let (Request::Write(data, _), false) = (&operation.request, silent) {
                let Operation { offset, length, .. } = operation;
                let mut fate = Fate::any(&self.dice, offset, length, state.spec.atomic_bytes);
                state.medium.land(offset, length, Source::views(data), &mut fate, &self.dice);
            }
            given_up.push(operation.forget_asker());
        }
        (state.head, state.held) = (Head::default(), None);
        given_up
    }
}
