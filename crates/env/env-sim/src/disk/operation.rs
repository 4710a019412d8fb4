//! One operation of a disk from the asking to the end. It owns its buffers and runs on when its process dies.

use std::io;

use quarry_env::{Buffer, Completer, View};

use crate::agenda::Event;
use crate::fault::{DiskId, FaultKind, Verb};
use crate::shared::Shared;
use crate::slab::Key;

use super::contract::check;
use super::course::Course;
use super::fate::Fate;
use super::source::Source;
use super::state::{DiskState, DiskStatus};

/// Who asked for a read, with the memory for it.
pub(crate) type Reader = (Buffer, Completer<(Buffer, io::Result<()>)>);

/// What is asked for, with the buffers and whom to tell. Nobody is told when the process has died.
pub(crate) enum Request {
    Read(Option<Reader>),
    Write(Vec<View>, Option<Completer<io::Result<()>>>),
    Flush(Option<Completer<io::Result<()>>>),
    Discard(Option<Completer<io::Result<()>>>),
}

impl Request {
    pub(super) fn verb(&self) -> Verb {
        match self {
            Request::Read(_) => Verb::Read,
            Request::Write(..) => Verb::Write,
            Request::Flush(_) => Verb::Flush,
            Request::Discard(_) => Verb::Discard,
        }
    }
}

/// What becomes readable before the operation completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Early {
    Nothing,
    Part,
    All,
}

/// An operation under way.
pub(crate) struct Operation {
    pub(super) process: u32,
    pub(super) locked: bool,
    pub(super) request: Request,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) course: Course,
    pub(super) moved_to: Option<u64>,
    /// What a flush covers.
    pub(super) mark: u64,
    pub(super) early: Early,
    /// Whether all of it has become readable before its end.
    pub(super) landed: bool,
    pub(super) landings: [Option<u64>; 2],
    /// Number of the appointment that counts.
    pub(super) step: u32,
}

/// Who has to be told what, once no part of the world is borrowed.
pub(crate) enum Ended {
    Nobody,
    Reader(Reader, io::Result<()>),
    Asker(Completer<io::Result<()>>, io::Result<()>),
}

impl Ended {
    pub(crate) fn tell(self) {
        match self {
            Ended::Nobody => {}
            Ended::Reader((buffer, completer), result) => completer.complete((buffer, result)),
            Ended::Asker(completer, result) => completer.complete(result),
        }
    }
}

impl Shared {
    /// Starts an operation. `locked` says that its handle holds the lock.
    pub(crate) fn begin(
        &self,
        disk: DiskId,
        process: u32,
        locked: bool,
        request: Request,
        offset: u64,
        length: u64,
    ) {
        let mut disks = self.disks.borrow_mut();
        let state = disks.get(disk);
        check(state, &request, offset, length);
        let verb = request.verb();
        let (course, moved_to) = self.choose_course(disk, state, verb, offset, length);
        self.trace.fold(&[
            verb as u64,
            u64::from(disk.0),
            offset,
            length,
            self.now(),
            content_word(&request),
        ]);
        self.trace
            .line(self.now(), || format!("p{process} {disk} {verb:?} {offset:#x}+{length:#x} {course:?}"));
        let mut operation = Operation {
            process,
            locked,
            mark: state.medium.flush_mark(),
            request,
            offset,
            length,
            course,
            moved_to,
            early: Early::Nothing,
            landed: false,
            landings: [None; 2],
            step: 0,
        };
        if verb == Verb::Write
            && state.spec.spindle.is_none()
            && matches!(course, Course::Normal | Course::Fault(FaultKind::Never))
        {
            operation.early = match self.dice.below(8) {
                0 => Early::Part,
                1 | 2 => Early::All,
                _ => Early::Nothing,
            };
        }
        if locked {
            state.begin_locked();
        }
        self.appoint_first(disk, state, operation);
    }

    /// Sets the time of the first step.
    fn appoint_first(&self, disk: DiskId, state: &mut DiskState, operation: Operation) {
        if state.spec.spindle.is_some() && matches!(operation.request.verb(), Verb::Read | Verb::Write) {
            let (offset, length) = (operation.offset, operation.length);
            let key = state.operations.insert(operation);
            state.head.add(key, offset, length);
            return self.move_head(disk, state);
        }
        let latency = &state.spec.latency;
        let mut delay = match operation.request.verb() {
            Verb::Read | Verb::Write => latency.draw_transfer(operation.length, &self.dice),
            Verb::Flush | Verb::Discard => latency.draw_flush(&self.dice),
        };
        if operation.course == Course::Fault(FaultKind::Stall) {
            delay += self.dice.nanos(&state.spec.faults.stall);
        }
        let never = operation.course == Course::Fault(FaultKind::Never) && operation.early == Early::Nothing;
        let key = state.operations.insert(operation);
        if !never {
            self.schedule(delay, Event::Operation { disk, key, step: 0 });
        }
    }

    /// Lets the head of a spinning disk begin with what it can begin first.
    fn move_head(&self, disk: DiskId, state: &mut DiskState) {
        let DiskState { spec, head, .. } = state;
        let Some(spindle) = &spec.spindle else { return };
        if let Some((key, delay)) = head.begin(spindle, self.now(), spec.size_bytes) {
            self.schedule(delay, Event::Operation { disk, key, step: 0 });
        }
    }

    /// Goes one step on with an operation, unless the appointment was cancelled.
    pub(crate) fn advance(&self, disk: DiskId, key: Key, step: u32) -> Option<Ended> {
        let mut disks = self.disks.borrow_mut();
        let state = disks.get(disk);
        let operation = state.operations.get_mut(key)?;
        if operation.step != step {
            return None;
        }
        if let Some(held) = &mut state.held {
            held.push((key, step));
            return None;
        }
        if operation.early != Early::Nothing {
            self.land_early(disk, key, state);
            return None;
        }
        let mut operation = state.operations.remove(key)?;
        if state.head.end(key) {
            self.move_head(disk, state);
        }
        let result = self.finish(disk, state, &mut operation);
        if operation.locked {
            state.end_locked();
        }
        let verb = operation.request.verb();
        self.trace.fold(&[
            16 + verb as u64,
            u64::from(disk.0),
            operation.offset,
            self.now(),
            u64::from(result.is_ok()),
        ]);
        self.trace.line(self.now(), || {
            let Operation { process, offset, course, .. } = operation;
            format!("p{process} {disk} {verb:?} {offset:#x} {course:?} ends {result:?}")
        });
        Some(operation.end(result))
    }

    /// Lets a disk that hangs go on. What has waited comes in any order.
    pub(crate) fn go_on(&self, disk: DiskId, state: &mut DiskState) {
        for (key, step) in state.held.take().into_iter().flatten() {
            let delay = state.spec.latency.draw_transfer(0, &self.dice);
            self.schedule(delay, Event::Operation { disk, key, step });
        }
    }

    fn land_early(&self, disk: DiskId, key: Key, state: &mut DiskState) {
        let DiskState { operations, medium, spec, status, .. } = state;
        let Some(operation) = operations.get_mut(key) else { return };
        let (offset, length) = (operation.offset, operation.length);
        let mut fate = match std::mem::replace(&mut operation.early, Early::Nothing) {
            Early::All => {
                operation.landed = *status == DiskStatus::Online;
                Fate::all()
            }
            _ => Fate::torn(&self.dice, offset, length, spec.atomic_bytes),
        };
        if let (Request::Write(data, _), DiskStatus::Online) = (&operation.request, *status) {
            operation.landings[0] = medium.land(offset, length, Source::views(data), &mut fate, &self.dice);
        }
        operation.step += 1;
        if operation.course != Course::Fault(FaultKind::Never) {
            let delay = spec.latency.draw_transfer(0, &self.dice);
            self.schedule(delay, Event::Operation { disk, key, step: operation.step });
        }
    }
}

impl Operation {
    fn end(self, result: io::Result<()>) -> Ended {
        match self.request {
            Request::Read(Some(reader)) => Ended::Reader(reader, result),
            Request::Write(_, Some(asker)) | Request::Flush(Some(asker)) | Request::Discard(Some(asker)) => {
                Ended::Asker(asker, result)
            }
            _ => Ended::Nobody,
        }
    }

    /// Takes away whom to tell; a write keeps its data, because it may still land.
    pub(super) fn forget_asker(&mut self) -> Request {
        match &mut self.request {
            Request::Read(asker) => Request::Read(asker.take()),
            Request::Write(_, asker) => Request::Write(Vec::new(), asker.take()),
            Request::Flush(asker) => Request::Flush(asker.take()),
            Request::Discard(asker) => Request::Discard(asker.take()),
        }
    }
}

/// What the data of an operation adds to the trace.
fn content_word(request: &Request) -> u64 {
    match request {
        Request::Write(data, _) => {
            data.iter().fold(0, |word: u64, view| word.rotate_left(7) ^ crate::trace::sample(view))
        }
        _ => 0,
    }
}
