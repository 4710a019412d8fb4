//! Chunks that are coded together: k with data, m with parity computed over them, each on a device of its own.
//!
//! Invariants:
//! - A group is never edited. What its chunks hold up to their ends stays as it was when the parity was computed, to the byte: what is
//!   told of (headers, tables, blocks, whether they live or not) by its checksum, and zeroes between.
//! - A chunk in which nothing lives any more stays a member, and keeps its slot, as long as something lives in another one.
//! - A member that moves to another device stays the same member: a copy of identical bytes takes its place.

use std::cell::RefCell;
use std::rc::Rc;

use quarry_ec::{Code, Members, Shape};
use quarry_format::image::ImageGroup;
use quarry_types::ChunkId;
use quarry_types::limits::SECTOR_BYTES;

use crate::{Chunk, PoolShared};

/// Chunks that are coded together.
pub struct Group {
    code: Code,
    /// Those with data, then those with parity.
    members: RefCell<Vec<Rc<Chunk>>>,
    /// Bytes of each chunk with data that count; behind them it counts as zeroes.
    ends: Vec<usize>,
}

impl Group {
    /// A group of these chunks, data first, of which so many bytes count. They know it from now on.
    pub(crate) fn new(shape: Shape, members: Vec<Rc<Chunk>>, ends: Vec<usize>) -> Rc<Self> {
        assert_eq!((members.len(), ends.len()), (shape.members(), shape.data()));
        let group = Rc::new(Self { code: Code::new(shape), members: RefCell::new(members), ends });
        group.members().iter().for_each(|member| member.set_group(&group));
        group
    }

    /// The chunk by which it is known: the first with parity.
    pub fn id(&self) -> ChunkId {
        self.members.borrow()[self.shape().data()].id()
    }

    /// How many members of which kind it has.
    pub fn shape(&self) -> Shape {
        self.code.shape()
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    /// Its chunks: those with data, then those with parity.
    pub fn members(&self) -> Vec<Rc<Chunk>> {
        self.members.borrow().clone()
    }

    /// Its chunks with data.
    pub fn data(&self) -> Vec<Rc<Chunk>> {
        self.members.borrow()[..self.shape().data()].to_vec()
    }

    /// Which member a chunk is.
    pub(crate) fn index_of(&self, chunk: &Chunk) -> Option<usize> {
        self.members.borrow().iter().position(|member| member.id() == chunk.id())
    }

    /// Whether a chunk holds parity of this group.
    pub fn is_parity(&self, chunk: &Chunk) -> bool {
        self.index_of(chunk).is_some_and(|index| index >= self.shape().data())
    }

    pub(crate) fn member(&self, index: usize) -> Rc<Chunk> {
        self.members.borrow()[index].clone()
    }

    /// Bytes of a member that count.
    pub(crate) fn end(&self, index: usize) -> usize {
        let longest = || self.ends.iter().copied().max().expect("a group has data");
        self.ends.get(index).copied().unwrap_or_else(longest)
    }

    /// Bytes of a chunk with data that count.
    pub fn end_of(&self, chunk: &Chunk) -> Option<usize> {
        Some(self.end(self.index_of(chunk)?))
    }

    /// The members that can be read.
    pub(crate) fn present(&self, shared: &PoolShared) -> Members {
        let members = self.members.borrow();
        let is_there = |chunk: &Chunk| chunk.slots().iter().any(|slot| !shared.is_failed(slot.device));
        (0..members.len()).filter(|&index| is_there(&members[index])).collect()
    }

    /// How many more members may be lost without anything being lost, and one; 0 when something is.
    pub fn left(&self, shared: &PoolShared) -> usize {
        (self.present(shared).count() + 1).saturating_sub(self.shape().data())
    }

    /// The devices of all members but one.
    pub(crate) fn devices_beside(&self, index: usize) -> Vec<u16> {
        let members = self.members.borrow();
        let others = members.iter().enumerate().filter(|(other, _)| *other != index);
        others.filter_map(|(_, chunk)| chunk.slots().first().map(|slot| slot.device)).collect()
    }

    /// The device of each of its chunks.
    pub fn devices(&self) -> Vec<u16> {
        let members = self.members.borrow();
        members.iter().filter_map(|chunk| chunk.slots().first().map(|slot| slot.device)).collect()
    }

    /// A copy of a member on other devices takes its place.
    pub(crate) fn replace(&self, chunk: &Chunk, next: &Rc<Chunk>) {
        if let Some(index) = self.index_of(chunk) {
            self.members.borrow_mut()[index] = next.clone();
        }
    }

    /// What an image says of it.
    pub(crate) fn image(&self) -> ImageGroup {
        let members = self.members.borrow();
        let (data, parity) = members.split_at(self.shape().data());
        let data = data.iter().zip(&self.ends).map(|(chunk, &end)| (chunk.id(), (end / SECTOR_BYTES) as u32));
        ImageGroup { data: data.collect(), parity: parity.iter().map(|chunk| chunk.id()).collect() }
    }
}
