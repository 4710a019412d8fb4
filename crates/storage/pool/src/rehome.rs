//! Where a chunk should lie, and copying it there: after a device has failed, is to be removed, or has joined.
//!
//! Invariants:
//! - Bytes that count are verified on their way; what fails on one copy comes from another. What is damaged on all of them stays
//!   recognisably so.
//! - A new copy counts when it has been flushed. An image that names it is committed by the caller; until then the old slots stay
//!   taken, because the durable image names them.
//! - The last good copy of a chunk is never given up: before a good copy goes and none is made instead, those that stay are verified,
//!   and mended from it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::OptionFuture;
use quarry_env::{Buffer, View, Work};
use quarry_format::anchor::Slot;
use quarry_types::limits::SECTOR_BYTES;
use quarry_types::{LogId, SegmentId};

use crate::chunk::Slots;
use crate::read::Around;
use crate::{Chunk, Expected, Group, LogStore, Pool, PoolError, PoolShared};

/// Bytes that are copied at once.
const WINDOW_BYTES: usize = 1 << 20;
/// What lies between two pieces and is not worth two reads.
const BRIDGED_BYTES: usize = 128 << 10;

/// Why a chunk should lie elsewhere. In order of urgency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Duty {
    /// So many good copies are left, fewer than there should be; of a chunk of a group, so many more devices may be lost, and one.
    Missing {
        /// Copies that can be read.
        left: usize,
    },
    /// A copy is on a device that is to be removed.
    Leaving,
    /// It is in a group that is not wanted: it needs copies before that can end.
    Ungroup,
    /// There are more copies than there should be.
    Surplus,
    /// One of its devices has much less free space than another one.
    Balance,
    /// It is read more, or less, than what else is in its tier.
    Tier,
}

/// What is to be done about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) duty: Duty,
    /// Copies that it is to have at most.
    pub(crate) copies: usize,
    /// Copies that stay.
    pub(crate) keep: Slots,
    /// Copies to be made.
    pub(crate) add: usize,
    /// Copies that may stay until enough new ones are made: those that can be read first.
    pub(crate) until_then: Slots,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rehomed {
    /// Bytes that were written to new copies.
    pub copied_bytes: u64,
    /// Pieces of which no copy is good; they were copied as they are.
    pub lost_pieces: u64,
}

/// A chunk on its way: copied, not flushed.
pub struct Moving {
    chunk: Rc<Chunk>,
    segments: Vec<SegmentId>,
    plan: Plan,
    fresh: Fresh,
    /// Good copies are given up and none is made: those that stay have to be verified.
    verifies: bool,
    /// How often the devices of copies on which this relies had failed before.
    failures: Vec<(u16, u32)>,
}

/// What is in a chunk.
pub struct Contents {
    /// What must be copied, each piece by its first sector, in order: what lives, and what tells of it.
    pub pieces: Vec<(u32, Expected)>,
    /// Where a recovery may look at everything, so that all of it is to be copied: up to this sector.
    pub whole_to_sector: Option<u32>,
}

/// Slots that nobody else knows of yet.
struct Fresh {
    shared: Arc<PoolShared>,
    log: LogId,
    slots: Vec<Slot>,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.shared.free(self.log, std::mem::take(&mut self.slots));
    }
}

impl Chunk {
    /// Why it should lie elsewhere, if so.
    pub fn duty(&self, shared: &PoolShared) -> Option<Duty> {
        self.plan(shared).map(|plan| plan.duty)
    }

    /// Whether no copy of it can be read.
    pub fn is_lost(&self, shared: &PoolShared) -> bool {
        let is_gone = self.slots().iter().all(|slot| shared.is_failed(slot.device));
        is_gone && self.group().is_none_or(|group| group.left(shared) == 0)
    }

    /// Whether fewer devices may be lost without losing it than the pool promises for new data.
    pub fn is_exposed(&self, shared: &PoolShared) -> bool {
        let of_group = self.group().map_or(0, |group| group.left(shared));
        self.healthy_copies().max(of_group) < shared.copies_now(self.log())
    }

    /// Whether fewer devices may be lost without losing it than the pool promises once it has its devices again.
    pub fn is_short(&self, shared: &PoolShared) -> bool {
        let of_group = self.group().map_or(0, |group| group.left(shared));
        self.healthy_copies().max(of_group) < shared.copies_of(self.log())
    }

    fn plan(&self, shared: &PoolShared) -> Option<Plan> {
        if let Some(group) = self.group() {
            return self.plan_member(&group, shared);
        }
        let slots = self.slots();
        let good: Slots = slots.iter().copied().filter(|slot| !shared.is_failed(slot.device)).collect();
        if good.is_empty() {
            return None;
        }
        let (wanted, copies) = (shared.copies_now(self.log()), shared.copies_of(self.log()));
        let mut keep: Slots = good.iter().copied().filter(|slot| shared.is_staying(slot.device)).collect();
        let is_surplus = keep.len() > copies;
        keep.truncate(copies);
        let gone = |slot: &Slot| shared.is_leaving(slot.device);
        let duty = if keep.len() < wanted {
            if good.len() < wanted { Duty::Missing { left: good.len() } } else { Duty::Leaving }
        } else if slots.iter().any(gone) {
            Duty::Leaving
        } else if is_surplus {
            Duty::Surplus
        } else if keep.len() == copies && slots.len() > keep.len() {
            // A copy on a device that has failed and has been replaced by another one.
            Duty::Surplus
        } else if let Some(fuller) = shared.relieved_device(&keep, &[]) {
            keep.retain(|slot| slot.device != fuller);
            Duty::Balance
        } else {
            return None;
        };
        let add = wanted.saturating_sub(keep.len());
        let rest = |slot: &Slot| !keep.contains(slot);
        let mut until_then: Slots = good.iter().copied().filter(rest).collect();
        // A device that has failed may come back, unless it is to be removed.
        let back = slots.iter().copied().filter(|slot| !good.contains(slot) && !gone(slot));
        until_then.extend(back);
        Some(Plan { duty, copies, keep, add, until_then })
    }

    /// A chunk of a group has one copy, on a device on which no other one is; where the group is to end it gets copies as others.
    fn plan_member(&self, group: &Group, shared: &PoolShared) -> Option<Plan> {
        let slots = self.slots();
        let index = group.index_of(self)?;
        let beside = group.devices_beside(index);
        let good: Slots = slots.iter().copied().filter(|slot| !shared.is_failed(slot.device)).collect();
        let left = group.left(shared);
        if good.is_empty() && left == 0 {
            return None;
        }
        let stays = Some(group.shape()) == shared.shape_of(self.log()) || group.is_parity(self);
        let (wanted, copies) =
            if stays { (1, 1) } else { (shared.copies_now(self.log()), shared.copies_of(self.log())) };
        let may_stay =
            |slot: &Slot| shared.is_staying(slot.device) && !(stays && beside.contains(&slot.device));
        let mut keep: Slots = good.iter().copied().filter(may_stay).collect();
        keep.truncate(copies);
        let gone = |slot: &Slot| shared.is_leaving(slot.device);
        let duty = if good.is_empty() {
            Duty::Missing { left }
        } else if keep.len() < wanted {
            if stays { Duty::Leaving } else { Duty::Ungroup }
        } else if slots.iter().any(gone) {
            Duty::Leaving
        } else if slots.len() > keep.len() {
            Duty::Surplus
        } else if let Some(fuller) = shared.relieved_device(&keep, &beside).filter(|_| stays) {
            keep.retain(|slot| slot.device != fuller);
            Duty::Balance
        } else {
            return None;
        };
        let add = wanted.saturating_sub(keep.len());
        let mut until_then: Slots = good.iter().copied().filter(|slot| !keep.contains(slot)).collect();
        until_then.extend(slots.iter().copied().filter(|slot| !good.contains(slot) && !gone(slot)));
        Some(Plan { duty, copies, keep, add, until_then })
    }

    /// Devices on which no other copy of it may be placed.
    fn devices_taken(&self, shared: &PoolShared) -> Vec<u16> {
        let mut taken: Vec<u16> = self.slots().iter().map(|slot| slot.device).collect();
        if let Some(group) = self.group()
            && let Some(index) = group.index_of(self)
            && (Some(group.shape()) == shared.shape_of(self.log()) || group.is_parity(self))
        {
            taken.extend(group.devices_beside(index));
        }
        taken
    }
}

impl Moving {
    /// Whether something is to be read, and not only copies that are lost anyway to be given up.
    pub fn reads(&self) -> bool {
        !self.fresh.slots.is_empty() || self.verifies
    }

    /// The copies that are good when this is done.
    fn relied_on(&self) -> impl Iterator<Item = &Slot> {
        let kept = self.plan.keep.iter().filter(|_| self.verifies);
        self.fresh.slots.iter().chain(kept)
    }
}

impl Plan {
    /// Where the chunk lies when so many new copies have been made.
    fn slots(&self, fresh: &[Slot]) -> Slots {
        let mut slots: Slots = self.keep.iter().chain(fresh).copied().collect();
        let missing = self.copies.saturating_sub(slots.len());
        let wanted = if fresh.len() < self.add { missing } else { 0 };
        slots.extend(self.until_then.iter().copied().take(wanted));
        slots
    }
}

impl LogStore {
    /// Takes slots for a chunk in which these segments lie, where it should be. `None` when there is nothing to be done about it, or
    /// no space for it.
    pub fn plan_rehoming(&self, chunk: &Rc<Chunk>, segments: &[SegmentId]) -> Option<Moving> {
        let shared = &self.pool.shared;
        let plan = chunk.plan(shared)?;
        let taken = chunk.devices_taken(shared);
        let tier = shared.tiers_of_slots(&chunk.slots()).1;
        let slots = shared.allocate_beside(self.log, &taken, (plan.add, tier));
        self.begin_moving(chunk, segments, plan, slots)
    }

    /// A chunk on its way, by a plan, to slots that were taken for it.
    pub(crate) fn begin_moving(
        &self,
        chunk: &Rc<Chunk>,
        segments: &[SegmentId],
        plan: Plan,
        slots: Vec<Slot>,
    ) -> Option<Moving> {
        let shared = &self.pool.shared;
        let fresh = Fresh { shared: shared.clone(), log: self.log, slots };
        if is_same(&plan.slots(&fresh.slots), &chunk.slots()) {
            return None;
        }
        let goes = |slot: &Slot| !plan.keep.contains(slot) && !shared.is_failed(slot.device);
        let verifies = fresh.slots.is_empty() && chunk.slots().iter().any(goes);
        let (chunk, segments) = (chunk.clone(), segments.to_vec());
        let mut moving = Moving { chunk, segments, plan, fresh, verifies, failures: Vec::new() };
        moving.failures =
            moving.relied_on().map(|slot| (slot.device, shared.failures_of(slot.device))).collect();
        Some(moving)
    }

    /// Copies what counts of a chunk to its new slots; where there are none, verifies and mends the copies that stay. `contents` is
    /// what the chunk tells of; of one with parity what each chunk with data of its group does.
    pub async fn copy_rehomed(&self, moving: &Moving, contents: &[Contents]) -> Result<Rehomed, PoolError> {
        let (chunk, own) = (&moving.chunk, contents.first().expect("something is told of each chunk"));
        match (chunk.group(), moving.verifies) {
            (_, true) => self.pool.mend_copies(chunk, own, &moving.plan.keep).await,
            (None, false) => self.pool.copy_chunk(chunk, own, &moving.fresh.slots).await,
            (Some(group), false) => {
                let copied = self.pool.copy_member(&group, chunk, contents, &moving.fresh.slots).await?;
                let (copied_bytes, lost_pieces) = (copied.written_bytes, copied.lost_pieces);
                Ok(Rehomed { copied_bytes, lost_pieces })
            }
        }
    }

    /// Makes new copies count, once they have been flushed. What is given up waits for the next commit. Says how many chunks have
    /// moved.
    pub async fn finish_rehoming(&self, moving: Vec<Moving>) -> usize {
        let relied_on = moving.iter().flat_map(Moving::relied_on);
        let devices: BTreeSet<u16> = relied_on.map(|slot| slot.device).collect();
        let failed = self.pool.flush(&devices).await;
        let mut moved = 0;
        for mut moving in moving {
            // One that has failed and is back may have lost what was written before.
            let is_safe = |slot: &Slot| {
                let failures = (slot.device, self.pool.shared.failures_of(slot.device));
                !failed.contains(&slot.device) && moving.failures.contains(&failures)
            };
            let stays = !moving.verifies || moving.plan.keep.iter().all(is_safe);
            let (good, bad) = std::mem::take(&mut moving.fresh.slots).into_iter().partition(is_safe);
            moving.fresh.slots = bad;
            let good: Vec<Slot> = good;
            let now = moving.chunk.slots();
            let mut slots = moving.plan.slots(&good);
            slots.retain(|slot| good.contains(slot) || now.contains(slot));
            let is_better = !is_same(&slots, &now);
            let is_readable = slots.iter().any(|slot| !self.pool.shared.is_failed(slot.device));
            if !is_better || !is_readable || !stays {
                moving.fresh.slots.extend(good);
                continue;
            }
            let next = moving.chunk.succeed(&slots);
            self.table_mut().replace_chunk(&moving.segments, &moving.chunk, &next);
            if let Some(group) = moving.chunk.group() {
                group.replace(&moving.chunk, &next);
            }
            self.retire(moving.chunk);
            moved += 1;
        }
        moved
    }
}

fn is_same(some: &Slots, others: &Slots) -> bool {
    some.len() == others.len() && some.iter().all(|slot| others.contains(slot))
}

/// A part of a chunk that is copied at once: whole granules, and the pieces that begin in it.
struct Window {
    bytes: Range<usize>,
    pieces: Range<usize>,
}

/// The parts of a chunk to be copied, in order. Where a piece ends inside the granule in which the next one begins, both parts have
/// that granule.
fn windows(contents: &Contents, granule: usize) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let whole_to = contents.whole_to_sector.map_or(0, |sector| offset_of(sector).next_multiple_of(granule));
    for (index, (sector, piece)) in contents.pieces.iter().enumerate() {
        let start = offset_of(*sector);
        let (first, end) = (start - start % granule, (start + piece.bytes()).next_multiple_of(granule));
        match windows.last_mut() {
            Some(last)
                if first <= last.bytes.end + BRIDGED_BYTES && end <= last.bytes.start + WINDOW_BYTES =>
            {
                last.bytes.end = last.bytes.end.max(end);
                last.pieces.end = index + 1;
            }
            _ => windows.push(Window { bytes: first..end, pieces: index..index + 1 }),
        }
    }
    if whole_to > 0 {
        fill_gaps(&mut windows, whole_to, contents.pieces.len());
    }
    windows
}

/// Adds what lies between windows, in front of them and behind them.
fn fill_gaps(windows: &mut Vec<Window>, end: usize, pieces: usize) {
    let (mut filled, mut at) = (Vec::with_capacity(windows.len()), 0);
    let gap = |from: usize, to: usize, piece: usize, filled: &mut Vec<Window>| {
        for start in (from..to).step_by(WINDOW_BYTES) {
            filled.push(Window { bytes: start..to.min(start + WINDOW_BYTES), pieces: piece..piece });
        }
    };
    for window in windows.drain(..) {
        gap(at, window.bytes.start, window.pieces.start, &mut filled);
        at = window.bytes.end;
        filled.push(window);
    }
    gap(at, end, pieces, &mut filled);
    *windows = filled;
}

fn offset_of(sector: u32) -> usize {
    sector as usize * SECTOR_BYTES
}

impl Pool {
    /// Copies what counts of a chunk to `slots`: reads one window while it writes the one before.
    async fn copy_chunk(
        &self,
        chunk: &Chunk,
        contents: &Contents,
        slots: &[Slot],
    ) -> Result<Rehomed, PoolError> {
        let mut rehomed = Rehomed::default();
        let windows = windows(contents, self.geometry().granule_bytes as usize);
        let mut before: Option<(View, &Window)> = None;
        for window in windows.iter().map(Some).chain([None]) {
            let bytes = window.map_or(0, |window| window.bytes.len() * (1 + slots.len()));
            let _passed = self.turn(Work::Rebuild, bytes as u64).await;
            let reading: OptionFuture<_> = window.map(|window| self.read_window(chunk, window)).into();
            let writing: OptionFuture<_> =
                before.as_ref().map(|(view, window)| self.write_window(slots, window, view)).into();
            let (read, written) = futures::join!(reading, writing);
            written.transpose()?;
            let (Some(window), Some(read)) = (window, read) else { break };
            let (slot, mut buffer) = read;
            if let Some((view, last)) = &before
                && last.bytes.end > window.bytes.start
            {
                let shared = last.bytes.end - window.bytes.start;
                buffer[..shared].copy_from_slice(&view[view.len() - shared..]);
            }
            let pieces = &contents.pieces[window.pieces.clone()];
            rehomed.lost_pieces +=
                self.mend_window(chunk, slot, (window.bytes.start, &mut buffer), pieces).await;
            rehomed.copied_bytes += (window.bytes.len() * slots.len()) as u64;
            before = Some((buffer.freeze(), window));
        }
        Ok(rehomed)
    }

    /// Verifies what counts of some copies of a chunk, and mends it from the others.
    async fn mend_copies(
        &self,
        chunk: &Chunk,
        contents: &Contents,
        slots: &[Slot],
    ) -> Result<Rehomed, PoolError> {
        let mut rehomed = Rehomed::default();
        let windows = windows(contents, self.geometry().granule_bytes as usize);
        for window in windows.iter().filter(|window| !window.pieces.is_empty()) {
            let (start, pieces) = (window.bytes.start, &contents.pieces[window.pieces.clone()]);
            for &slot in slots {
                let _passed = self.turn(Work::Rebuild, window.bytes.len() as u64).await;
                let read = self.read_copy_apart(slot, start as u64, window.bytes.len()).await;
                let mut buffer = read.map_err(|error| PoolError::Unreadable {
                    chunk: chunk.id(),
                    offset: start as u64,
                    source: Some(error),
                })?;
                rehomed.lost_pieces +=
                    self.mend_window(chunk, Some(slot), (start, &mut buffer), pieces).await;
            }
        }
        Ok(rehomed)
    }

    /// A window as one copy has it, and which; zeroes where none can be read as a whole.
    async fn read_window(&self, chunk: &Chunk, window: &Window) -> (Option<Slot>, Buffer) {
        let length = window.bytes.len();
        for slot in chunk.read_order(self) {
            if self.shared.is_failed(slot.device) {
                continue;
            }
            if let Ok(buffer) = self.read_copy_apart(slot, window.bytes.start as u64, length).await {
                return (Some(slot), buffer);
            }
        }
        (None, self.env.buffers.allocate_zeroed(length))
    }

    /// Replaces the pieces that are not good by those of other copies. Says of how many there is none.
    async fn mend_window(
        &self,
        chunk: &Chunk,
        slot: Option<Slot>,
        (start, buffer): (usize, &mut Buffer),
        pieces: &[(u32, Expected)],
    ) -> u64 {
        let mut lost = 0;
        for (sector, piece) in pieces {
            let offset = offset_of(*sector);
            let range = offset - start..offset - start + piece.bytes();
            if piece.holds(&buffer[range.clone()]) {
                continue;
            }
            let others: Slots = chunk.slots().into_iter().filter(|other| Some(*other) != slot).collect();
            match self.find_good_copy(chunk, &others, offset as u64, piece).await {
                Ok(good) => {
                    buffer[range].copy_from_slice(&good);
                    if let Some(slot) = slot {
                        self.repair(chunk, slot, (offset as u64, good), Around::Own).await;
                    }
                }
                Err(error) => {
                    tracing::error!(chunk = %chunk.id(), offset, %error, "a piece without a good copy was copied as it is");
                    lost += 1;
                }
            }
        }
        lost
    }

    /// A device that fails is out of use, and whoever makes the copies count sees that. One that is not open here has got nothing.
    async fn write_window(&self, slots: &[Slot], window: &Window, view: &View) -> Result<(), PoolError> {
        for slot in slots.iter().filter(|slot| !self.shared.is_failed(slot.device)) {
            let device = self.device(slot.device).ok_or(PoolError::TargetFailed)?;
            let offset = device.slot_offset(slot.index) + window.bytes.start as u64;
            if let Err(error) = device.write(offset, vec![view.clone()]).await {
                self.shared.fail_device(slot.device, format!("write failed: {error}"));
            }
        }
        match slots.iter().all(|slot| self.shared.is_failed(slot.device)) {
            true => Err(PoolError::TargetFailed),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
