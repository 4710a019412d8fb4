//! SANITIZE (SBC-4 5.30): overwrite and block erase.
//!
//! What it does here: the whole volume is discarded by one record of the log, durably, before anything is answered; so whatever
//! happens from then on, no initiator reads anything that was there before. OVERWRITE writes its pattern then, unless that is
//! zeroes, which freed blocks read as already. What it cannot do is reach where the log has put the blocks: they go when their
//! space is used again, and snapshots keep what they hold. The manual says so, and how to erase by destroying a key.
//!
//! The operation is a task of its own, which neither the end of the command that began it nor that of its session ends. While it
//! is under way the unit lets no command to the medium pass, and it begins when those that were under way have ended.

use std::rc::Rc;
use std::sync::Arc;

use futures::future::{Either, select};
use quarry_env::{BufferPool, Completer, View, completion};
use quarry_target::Drained;
use quarry_volume::{Volume, VolumeError, WriteFlags};

use crate::cdb::{Cdb, u16_at};
use crate::command::{Step, Work};
use crate::course::Course;
use crate::limits::{BLOCK_BYTES, STEP_BYTES};
use crate::nexus::Nexus;
use crate::reply::Reply;
use crate::sense::{Code, Key, Sense};
use crate::shared::{SharedUnit, Units};
use crate::unit::Unit;

/// Service actions.
pub(crate) const OVERWRITE: u8 = 0x01;
pub(crate) const BLOCK_ERASE: u8 = 0x02;
pub(crate) const EXIT_FAILURE_MODE: u8 = 0x1F;

const IMMED: u8 = 0x80;
/// ZNR, of zoned units only, is reserved here.
const RESERVED: u8 = 0x40;
const AUSE: u8 = 0x20;
const HEADER_BYTES: usize = 4;
const INVERT: u8 = 0x80;
const TEST: u8 = 0x60;
const COUNT: u8 = 0x1F;

/// What a SANITIZE asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    overwrites: bool,
    /// Whether it is answered before its end.
    immediate: bool,
    /// Whether a failure may be left without another one.
    may_exit: bool,
}

pub(crate) fn sanitize(nexus: &Nexus, unit: &Unit, cdb: &Cdb) -> Result<Step, Sense> {
    let action = cdb.service_action();
    if cdb.has(1, RESERVED) {
        return Err(Sense::field_in_cdb(1));
    }
    if let Some(place) = (2..7).find(|&place| cdb.u8(place) != 0) {
        return Err(Sense::field_in_cdb(place as u16));
    }
    let length = u32::from(cdb.u16(7));
    let fits = match action {
        OVERWRITE => length > HEADER_BYTES as u32 && length <= HEADER_BYTES as u32 + BLOCK_BYTES,
        _ => length == 0,
    };
    if !fits {
        return Err(Sense::field_in_cdb(7));
    }
    if action == EXIT_FAILURE_MODE {
        unit.shared.sanitizing.exit()?;
        nexus.shared_units().release(unit.id());
        return Ok(Reply::good().into());
    }
    let request =
        Request { overwrites: action == OVERWRITE, immediate: cdb.has(1, IMMED), may_exit: cdb.has(1, AUSE) };
    Ok(Step::with_data(Work::Sanitize(request), length))
}

/// The block that OVERWRITE leaves everywhere: the pattern of its last pass. Nothing where that is zeroes.
fn pattern(buffers: &BufferPool, list: &[u8]) -> Result<Option<View>, Sense> {
    if list.len() <= HEADER_BYTES {
        return Err(Sense::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    let (flags, passes, length) = (list[0], list[0] & COUNT, usize::from(u16_at(list, 2)));
    if flags & TEST != 0 || passes == 0 {
        return Err(Sense::field_in_parameters(0));
    }
    if list[1] != 0 {
        return Err(Sense::field_in_parameters(1));
    }
    let Some(pattern) = list[HEADER_BYTES..].get(..length).filter(|pattern| !pattern.is_empty()) else {
        return Err(Sense::field_in_parameters(2));
    };
    // Each pass inverts what the one before has written.
    let mask = if flags & INVERT != 0 && passes % 2 == 0 { 0xFF } else { 0 };
    if pattern.iter().all(|&byte| byte == mask) {
        return Ok(None);
    }
    let mut buffer = buffers.allocate(STEP_BYTES as usize);
    for block in buffer.chunks_exact_mut(BLOCK_BYTES as usize) {
        block.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, byte)| *to = byte ^ mask);
    }
    Ok(Some(buffer.freeze()))
}

pub(crate) async fn perform(
    nexus: &Rc<Nexus>,
    unit: &Rc<Unit>,
    request: Request,
    data: Option<View>,
    course: &Course,
) -> Result<Reply, Sense> {
    let volume = unit.volume_to_sanitize()?;
    let pattern = match request.overwrites {
        true => pattern(&unit.buffers, data.as_deref().unwrap_or_default())?,
        false => None,
    };
    unit.shared.sanitizing.begin()?;
    let units = nexus.shared_units().clone();
    units.keep(unit.id(), &unit.shared);
    let under_way = unit.shared.settle(|drain| course.own(drain));
    let (erased, is_erased) = completion();
    let (ended, has_ended) = completion();
    let operation = Operation { volume, shared: unit.shared.clone(), units, under_way, pattern };
    nexus.spawner().spawn(operation.run(request.may_exit, erased, ended)).detach();
    let outcome = if request.immediate { is_erased } else { has_ended };
    match select(outcome, Box::pin(course.abandoned())).await {
        Either::Left((Ok(()), _)) => Ok(Reply::good()),
        Either::Left((Err(Failure), _)) => Err(Sense::new(Key::MediumError, Code::SANITIZE_FAILED)),
        // Who began it gives up or is gone. It goes on.
        Either::Right(_) => Err(Sense::new(Key::AbortedCommand, Code::NONE)),
    }
}

/// It failed, which is logged.
struct Failure;

type Outcome = Completer<Result<(), Failure>>;

/// The operation, apart from the command and the session by which it was begun.
struct Operation {
    volume: Rc<dyn Volume>,
    shared: Arc<SharedUnit>,
    units: Units,
    /// Resolves when the commands that were under way have ended.
    under_way: Drained,
    pattern: Option<View>,
}

impl Operation {
    async fn run(self, may_exit: bool, erased: Outcome, ended: Outcome) {
        let info = self.volume.info();
        self.under_way.wait().await;
        match self.erase(info.size_bytes).await {
            Ok(()) => erased.complete(Ok(())),
            Err(error) => {
                tracing::error!(volume = %info.id, %error, "SANITIZE could not erase; nothing can be read until another one succeeds");
                self.shared.sanitizing.fail(may_exit);
                erased.complete(Err(Failure));
                return ended.complete(Err(Failure));
            }
        }
        if let Err(error) = self.write_pattern(info.size_bytes).await {
            tracing::error!(volume = %info.id, %error, "SANITIZE has erased, but could not write all of its pattern");
            self.shared.sanitizing.fail(may_exit);
            return ended.complete(Err(Failure));
        }
        tracing::info!(volume = %info.id, "sanitized");
        self.shared.sanitizing.succeed();
        self.units.release(info.id);
        ended.complete(Ok(()));
    }

    async fn erase(&self, size_bytes: u64) -> Result<(), VolumeError> {
        self.volume.discard(0, size_bytes, WriteFlags { fua: true }).await?;
        self.volume.flush().await
    }

    async fn write_pattern(&self, size_bytes: u64) -> Result<(), VolumeError> {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        let mut done = 0;
        while done < size_bytes {
            let now = (size_bytes - done).min(pattern.len() as u64);
            self.volume.write(done, pattern.slice(0..now as usize), WriteFlags::default()).await?;
            done += now;
            self.shared.sanitizing.progress(done, size_bytes);
        }
        self.volume.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_the_last_pass_counts() {
        let buffers = BufferPool::default();
        let block = |list: &[u8]| {
            let filled = pattern(&buffers, list).expect("it is right");
            filled.map(|view| [view[0], view[1], view[BLOCK_BYTES as usize - 1], view[BLOCK_BYTES as usize]])
        };
        assert_eq!(block(&[1, 0, 0, 3, 1, 2, 3]), Some([1, 2, 2, 1]), "each block begins anew");
        assert_eq!(block(&[0x82, 0, 0, 1, 0xF0]), Some([0x0F; 4]), "inverted once");
        assert_eq!(block(&[0x83, 0, 0, 1, 0xF0]), Some([0xF0; 4]), "inverted twice");
        assert_eq!(block(&[1, 0, 0, 2, 0, 0]), None);
        assert_eq!(block(&[0x82, 0, 0, 1, 0xFF]), None, "the second pass is zeroes");
        for wrong in
            [&[0, 0, 0, 1, 1][..], &[0x21, 0, 0, 1, 1], &[1, 1, 0, 1, 1], &[1, 0, 0, 0, 1], &[1, 0, 0, 2, 1]]
        {
            let sense = pattern(&buffers, wrong).expect_err("it is wrong");
            assert_eq!(sense.code, Code::INVALID_FIELD_IN_PARAMETERS, "{wrong:?}");
        }
    }
}
