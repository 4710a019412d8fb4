//! One operation of a disk from the asking to the end. It owns its buffers and runs on when its process dies.

use std::io;

use quarry_env::{Buffer, Completer, View};

use crate::agenda::Event;
use crate::fault::{DiskId, FaultKind, FaultRecord, Verb};
use crate::shared::Shared;
use crate::slab::Key;

use super::fate::Fate;
use super::medium::FlushLoss;
use super::source::Source;
use super::state::{DiskState, DiskStatus, eio, enospc};

/// Longest list of views of one write, as the kernel limits it (IOV_MAX).
const VIEWS_MAX: usize = 1024;

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
    fn verb(&self) -> Verb {
        match self {
            Request::Read(_) => Verb::Read,
            Request::Write(..) => Verb::Write,
            Request::Flush(_) => Verb::Flush,
            Request::Discard(_) => Verb::Discard,
        }
    }
}

/// What has been decided about an operation when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    Normal,
    Fault(FaultKind),
    /// The disk did not answer from the beginning.
    Refused,
    /// Its process has died: it ends as it likes.
    Orphan,
}

/// What becomes readable before the operation completes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Early {
    Nothing,
    Part,
    All,
}

/// An operation under way.
pub(crate) struct Operation {
    process: u32,
    locked: bool,
    request: Request,
    offset: u64,
    length: u64,
    course: Course,
    moved_to: Option<u64>,
    /// What a flush covers.
    mark: u64,
    early: Early,
    /// Whether all of it has become readable before its end.
    landed: bool,
    landings: [Option<u64>; 2],
    /// Number of the appointment that counts.
    step: u32,
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

/// Checks what O_DIRECT and the geometry demand: a bug here would be EINVAL on a real disk.
fn check(state: &DiskState, request: &Request, offset: u64, length: u64) {
    let sector = u64::from(state.spec.sector_bytes);
    let verb = request.verb();
    if verb == Verb::Flush {
        return;
    }
    assert!(length > 0, "an empty {verb:?} at {offset:#x}");
    assert!(
        offset.is_multiple_of(sector) && length.is_multiple_of(sector),
        "{verb:?} of {length:#x} bytes at {offset:#x} is not aligned to sectors of {sector}"
    );
    let end = offset.checked_add(length);
    assert!(
        end.is_some_and(|end| end <= state.spec.size_bytes),
        "{verb:?} of {length:#x} bytes at {offset:#x} leaves the disk of {:#x}",
        state.spec.size_bytes
    );
    let aligned = |bytes: &[u8]| {
        (bytes.as_ptr() as usize).is_multiple_of(sector as usize)
            && bytes.len().is_multiple_of(sector as usize)
    };
    match request {
        Request::Read(Some((buffer, _))) => assert!(aligned(buffer), "a read into unaligned memory"),
        Request::Write(data, _) => {
            assert!(data.len() <= VIEWS_MAX, "a write of {} views", data.len());
            assert!(data.iter().all(|view| aligned(view)), "a write from unaligned memory: {data:?}");
        }
        _ => {}
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
        if verb == Verb::Write && matches!(course, Course::Normal | Course::Fault(FaultKind::Never)) {
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

    /// Decides what befalls an operation, by script, by the state of the disk, or by chance within the budget.
    fn choose_course(
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
            self.faults.borrow_mut().admit(disk, drawn).then_some(drawn)
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
            _ => {}
        }
        let moved_to = record.moved_to;
        self.log_fault(record);
        (Course::Fault(fault), moved_to)
    }

    fn fail_by_chance(&self, disk: DiskId, state: &mut DiskState) {
        state.status = DiskStatus::Failed;
        let away = &state.spec.faults.failure;
        if !away.is_empty() {
            self.schedule(self.dice.nanos(away), Event::DiskReturns(disk));
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

    /// Goes one step on with an operation, unless the appointment was cancelled.
    pub(crate) fn advance(&self, disk: DiskId, key: Key, step: u32) -> Option<Ended> {
        let mut disks = self.disks.borrow_mut();
        let state = disks.get(disk);
        let operation = state.operations.get_mut(key)?;
        if operation.step != step {
            return None;
        }
        if operation.early != Early::Nothing {
            self.land_early(disk, key, state);
            return None;
        }
        let mut operation = state.operations.remove(key)?;
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

    /// Does what the operation does to the disk in its end.
    fn finish(&self, disk: DiskId, state: &mut DiskState, operation: &mut Operation) -> io::Result<()> {
        let failed =
            state.status != DiskStatus::Online || operation.course == Course::Fault(FaultKind::DeviceFailure);
        let cut_off = failed && operation.course != Course::Refused;
        let result = match operation.request.verb() {
            _ if operation.course == Course::Refused => Err(eio()),
            Verb::Read if failed => Err(eio()),
            Verb::Read => operation.read(state),
            Verb::Write => self.finish_write(state, operation, cut_off),
            Verb::Flush if failed => Err(eio()),
            Verb::Flush => self.finish_flush(disk, state, operation),
            Verb::Discard if failed => Err(eio()),
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

    fn finish_write(
        &self,
        state: &mut DiskState,
        operation: &mut Operation,
        cut_off: bool,
    ) -> io::Result<()> {
        let Operation { offset, length, moved_to, course, .. } = *operation;
        let unit = state.spec.atomic_bytes;
        let dice = &self.dice;
        let (mut fate, result) = match course {
            _ if cut_off => (Fate::any(dice, offset, length, unit), Err(eio())),
            Course::Fault(FaultKind::LostWrite) => (Fate::none(), Ok(())),
            Course::Fault(FaultKind::WriteError) => (Fate::any(dice, offset, length, unit), Err(eio())),
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
                    Course::Normal | Course::Fault(FaultKind::Never | FaultKind::Stall)
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
        given_up
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
    fn forget_asker(&mut self) -> Request {
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
