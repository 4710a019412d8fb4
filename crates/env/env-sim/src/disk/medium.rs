//! The content of one disk: what reads see, what would survive power loss, and the writes in between.
//!
//! Invariants:
//! - `readable` is `durable` plus every landed write that is not durable yet, in landing order (plus data that the cache
//!   still shows after a failed flush; plus rot).
//! - A write never becomes durable before one that landed earlier on the same sectors.
//! - A successful flush makes durable every write that had completed before it was asked for; later ones it may take
//!   along only when the rule above demands it.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::dice::Dice;

use super::fate::Fate;
use super::pages::{PAGE_BYTES, PAGE_SECTORS, Page, Pages, SECTOR_BYTES};
use super::source::Source;

/// Sectors of one page that a write brought, as they were right after it.
pub(super) struct Piece {
    pub(super) number: u64,
    pub(super) mask: u8,
    pub(super) page: Page,
}

/// A write, or a part of one, that is readable and not durable.
pub(super) struct Landed {
    id: u64,
    /// The value of [`Medium::completions`] when its completion was delivered; the maximum before that.
    completed: u64,
    pub(super) pieces: Vec<Piece>,
}

impl Landed {
    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.mask.count_ones()) * SECTOR_BYTES as u64).sum()
    }

    fn overlaps(&self, other: &Landed) -> bool {
        let hits =
            |piece: &Piece, other: &Piece| piece.number == other.number && piece.mask & other.mask != 0;
        self.pieces.iter().any(|piece| other.pieces.iter().any(|other| hits(piece, other)))
    }
}

/// What became of the data under a failed flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlushLoss {
    /// It is still waiting; the next flush may succeed.
    Kept,
    /// Reads see the old data from now on.
    Dropped,
    /// Reads see it until the cache forgets it (the number names the loss), and it will never be durable.
    Shown(u64),
}

/// The content of a disk.
#[derive(Default)]
pub(crate) struct Medium {
    pub(super) readable: Pages,
    pub(super) durable: Pages,
    pub(super) waiting: VecDeque<Landed>,
    waiting_bytes: u64,
    landings: u64,
    completions: u64,
    pub(super) losses: Vec<(u64, Vec<Piece>)>,
}

impl Medium {
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        self.readable.read(offset, buffer);
    }

    /// Makes the parts of a write that `fate` keeps readable. Returns the name of the landing, if anything landed.
    pub(crate) fn land(
        &mut self,
        offset: u64,
        length: u64,
        mut source: Source<'_>,
        fate: &mut Fate,
        dice: &Dice,
    ) -> Option<u64> {
        let end = offset + length;
        let mut pieces = Vec::with_capacity((length / PAGE_BYTES as u64 + 2) as usize);
        let mut position = offset;
        while position < end {
            let number = position / PAGE_BYTES as u64;
            let page_end = ((number + 1) * PAGE_BYTES as u64).min(end);
            let mut mask = 0u8;
            for sector in (position..page_end).step_by(SECTOR_BYTES) {
                let bit = (sector as usize / SECTOR_BYTES) % PAGE_SECTORS;
                mask |= u8::from(fate.keeps(sector, dice)) << bit;
            }
            match self.land_page(number, position..page_end, mask, &mut source) {
                Some(page) => pieces.push(Piece { number, mask, page }),
                None => source.skip((page_end - position) as usize),
            }
            position = page_end;
        }
        if pieces.is_empty() {
            return None;
        }
        self.landings += 1;
        let landed = Landed { id: self.landings, completed: u64::MAX, pieces };
        self.waiting_bytes += landed.bytes();
        self.waiting.push_back(landed);
        Some(self.landings)
    }

    fn land_page(
        &mut self,
        number: u64,
        range: std::ops::Range<u64>,
        mask: u8,
        source: &mut Source<'_>,
    ) -> Option<Page> {
        if mask == 0 {
            return None;
        }
        if mask == u8::MAX
            && let Some(page) = source.page()
        {
            self.readable.set(number, page.clone());
            return Some(page);
        }
        let bytes = self.readable.modify(number);
        for position in range.step_by(SECTOR_BYTES) {
            let within = position as usize % PAGE_BYTES;
            if mask >> (within / SECTOR_BYTES) & 1 == 1 {
                source.take(&mut bytes[within..within + SECTOR_BYTES]);
            } else {
                source.skip(SECTOR_BYTES);
            }
        }
        self.readable.get(number).cloned()
    }

    /// Notes that the completion of a write was delivered: a flush that is asked for later covers it.
    pub(crate) fn complete(&mut self, landings: [Option<u64>; 2]) {
        self.completions += 1;
        for id in landings.into_iter().flatten() {
            let place = self.waiting.partition_point(|landed| landed.id < id);
            if let Some(landed) = self.waiting.get_mut(place)
                && landed.id == id
            {
                landed.completed = self.completions;
            }
        }
    }

    /// What a flush that is asked for now must cover.
    pub(crate) fn flush_mark(&self) -> u64 {
        self.completions
    }

    /// A flush has succeeded.
    pub(crate) fn flush(&mut self, mark: u64) {
        for landed in self.take_covered(mark) {
            self.persist(&landed);
        }
    }

    /// Makes the oldest writes durable until at most `bytes` wait: no cache is endless.
    pub(crate) fn write_back(&mut self, bytes: u64) {
        while self.waiting_bytes > bytes {
            let Some(landed) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= landed.bytes();
            self.persist(&landed);
        }
    }

    fn persist(&mut self, landed: &Landed) {
        for piece in &landed.pieces {
            self.durable.copy_sectors(piece.number, piece.mask, Some(&piece.page));
        }
    }

    /// Takes the writes that completed until `mark`, and whatever landed under one of them, in landing order.
    fn take_covered(&mut self, mark: u64) -> Vec<Landed> {
        let mut taken: Vec<Landed> = Vec::new();
        let mut kept = VecDeque::new();
        for landed in std::mem::take(&mut self.waiting).into_iter().rev() {
            if landed.completed <= mark || taken.iter().any(|later| later.overlaps(&landed)) {
                self.waiting_bytes -= landed.bytes();
                taken.push(landed);
            } else {
                kept.push_front(landed);
            }
        }
        self.waiting = kept;
        taken.reverse();
        taken
    }

    /// A flush has failed.
    pub(crate) fn fail_flush(&mut self, mark: u64, dice: &Dice) -> FlushLoss {
        match dice.below(3) {
            0 => FlushLoss::Kept,
            1 => {
                let dropped = self.take_covered(mark);
                self.revert(dropped.iter().flat_map(|landed| &landed.pieces));
                FlushLoss::Dropped
            }
            _ => {
                let shown = self.take_covered(mark).into_iter().flat_map(|landed| landed.pieces).collect();
                self.landings += 1;
                self.losses.push((self.landings, shown));
                FlushLoss::Shown(self.landings)
            }
        }
    }

    /// The cache forgets the data of a failed flush, as far as nothing was written to its pages since.
    pub(crate) fn forget(&mut self, loss: u64) {
        let Some(place) = self.losses.iter().position(|(id, _)| *id == loss) else { return };
        let (_, mut pieces) = self.losses.remove(place);
        pieces.retain(|piece| {
            self.readable.get(piece.number).is_some_and(|page| Rc::ptr_eq(page, &piece.page))
        });
        self.revert(pieces.iter());
    }

    /// Makes sectors read as what is durable, or as what still waits to be.
    fn revert<'a>(&mut self, pieces: impl Iterator<Item = &'a Piece>) {
        for piece in pieces {
            self.readable.copy_sectors(piece.number, piece.mask, self.durable.get(piece.number));
        }
        for piece in self.waiting.iter().flat_map(|landed| &landed.pieces) {
            self.readable.copy_sectors(piece.number, piece.mask, Some(&piece.page));
        }
    }

    /// Flips a bit of a byte, for readers and for good.
    pub(crate) fn rot(&mut self, position: u64, bit: u32) {
        for pages in [&mut self.readable, &mut self.durable] {
            pages.modify(position / PAGE_BYTES as u64)[position as usize % PAGE_BYTES] ^= 1 << bit;
        }
    }

    /// A place that holds data, if any does.
    pub(crate) fn any_written_byte(&self, dice: &Dice) -> Option<u64> {
        let present = self.readable.present();
        let number = *present.get(dice.index(present.len()))?;
        Some(number * PAGE_BYTES as u64 + dice.below(PAGE_BYTES as u64))
    }

    /// Sets bytes, for readers and for good.
    pub(crate) fn poke(&mut self, offset: u64, bytes: &[u8]) {
        for pages in [&mut self.readable, &mut self.durable] {
            let mut rest = bytes;
            let mut position = offset;
            while !rest.is_empty() {
                let within = position as usize % PAGE_BYTES;
                let (part, behind) = rest.split_at(rest.len().min(PAGE_BYTES - within));
                pages.modify(position / PAGE_BYTES as u64)[within..within + part.len()].copy_from_slice(part);
                position += part.len() as u64;
                rest = behind;
            }
        }
    }

    /// What readers see, shared by counting.
    pub(crate) fn image(&self) -> Pages {
        self.readable.clone()
    }

    /// Replaces everything, durably.
    pub(crate) fn set_image(&mut self, image: Pages) {
        drop(self.take_waiting());
        self.readable = image.clone();
        self.durable = image;
    }

    /// How many pages hold data.
    pub(crate) fn pages_present(&self) -> u64 {
        self.readable.present().len() as u64
    }

    /// Whether any page of a range was never written, so that a file would need space for it.
    pub(crate) fn has_hole(&self, offset: u64, length: u64) -> bool {
        let last = (offset + length).div_ceil(PAGE_BYTES as u64);
        (offset / PAGE_BYTES as u64..last).any(|number| self.readable.get(number).is_none())
    }

    /// Gives up everything that waits, in landing order, for a crash to judge.
    pub(super) fn take_waiting(&mut self) -> Vec<Landed> {
        self.waiting_bytes = 0;
        self.losses.clear();
        std::mem::take(&mut self.waiting).into()
    }
}
