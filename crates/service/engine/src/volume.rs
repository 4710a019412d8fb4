//! A volume: its state, and the handle that protocols serve.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use quarry_env::View;
use quarry_format::record::VolumeHead;
use quarry_map::VolumeMap;
use quarry_reduce::Bypass;
use quarry_types::limits::{ATOMIC_BYTES_MAX, BLOCK_BYTES, REQUEST_BYTES_MAX, SECTOR_BYTES};
use quarry_types::{SnapshotCounter, VolumeId, VolumeNumber};
use quarry_volume::{
    Comparison, ErrorKind, Extent, Figures, Result, Verb, Views, Volume, VolumeError, VolumeInfo, WriteFlags,
    ZeroMode,
};

use crate::Engine;
use crate::begun::Begun;
use crate::block_lock::BlockLocks;
use crate::compare::COMPARE_BYTES_MAX;
use crate::course::Course;
use crate::engine::VolumeStatus;
use crate::hold::Holds;
use crate::usage::Usage;

/// A read on its way. It is allocated for each read, and above this the C library's allocator has no quick way. What is
/// seldom needed (a node that is not in memory, many device reads, a repair) is boxed apart.
const READ_FUTURE_BYTES_MAX: usize = 1024;

/// A volume of one log.
pub(crate) struct VolumeState {
    pub(crate) number: VolumeNumber,
    pub(crate) id: VolumeId,
    pub(crate) head: RefCell<VolumeHead>,
    pub(crate) map: VolumeMap,
    /// The snapshot on which it stands, 0 for none.
    pub(crate) parent: Cell<SnapshotCounter>,
    pub(crate) locks: Rc<BlockLocks>,
    pub(crate) deleted: Cell<bool>,
    pub(crate) read_only: bool,
    pub(crate) holds: Holds,
    /// Whether its blocks are worth compressing.
    pub(crate) bypass: RefCell<Bypass>,
    pub(crate) usage: Usage,
    /// Writes that were refused because of the quota.
    pub(crate) quota_refusals: Cell<u64>,
    /// It may not be what its newest moment shows.
    pub(crate) changed: Cell<bool>,
    /// The first second for which a moment was due that was not taken, until one is.
    pub(crate) missed_from_s: Cell<Option<u64>>,
    /// How often it was rolled back: what was read before may be what it holds no more.
    pub(crate) rollbacks: Cell<u64>,
    begun: Begun,
    /// What hosts have done with it.
    pub(crate) figures: Rc<Figures>,
}

impl VolumeState {
    pub(crate) fn new(head: VolumeHead, map: VolumeMap, parent: SnapshotCounter) -> Self {
        let usage = Usage::default();
        usage.follow(&head.settings, &map);
        Self {
            number: head.number,
            id: head.id,
            head: RefCell::new(head),
            map,
            parent: Cell::new(parent),
            locks: Rc::default(),
            deleted: Cell::new(false),
            read_only: false,
            holds: Holds::default(),
            bypass: RefCell::default(),
            usage,
            quota_refusals: Cell::new(0),
            changed: Cell::new(true),
            missed_from_s: Cell::new(None),
            rollbacks: Cell::new(0),
            begun: Begun::default(),
            figures: Rc::default(),
        }
    }

    pub(crate) fn read_only(head: VolumeHead, map: VolumeMap, parent: SnapshotCounter) -> Self {
        Self { read_only: true, ..Self::new(head, map, parent) }
    }

    pub(crate) fn status(&self) -> VolumeStatus {
        let head = self.head.borrow();
        VolumeStatus {
            id: head.id,
            name: head.name.clone(),
            size_bytes: head.size_bytes,
            settings: head.settings,
            key: (head.key.0 != 0).then_some(head.key),
            locked: false,
            created_s: head.created_s,
            mapped_bytes: self.usage.mapped_blocks(&self.map) * BLOCK_BYTES as u64,
            quota_refusals: self.quota_refusals.get(),
            snapshots: 0,
            history: None,
            origin: None,
        }
    }
}

/// One volume of an engine, as protocols see it.
pub struct EngineVolume {
    pub(crate) engine: Rc<Engine>,
    pub(crate) state: Rc<VolumeState>,
    /// Where its requests are counted.
    pub(crate) figures: Rc<Figures>,
}

impl EngineVolume {
    pub(crate) fn new(engine: Rc<Engine>, state: Rc<VolumeState>) -> Self {
        let figures = state.figures.clone();
        Self { engine, state, figures }
    }

    /// The same volume for the node's own purposes: what is done this way is not what hosts have done.
    pub fn apart(&self) -> Self {
        Self { engine: self.engine.clone(), state: self.state.clone(), figures: Rc::default() }
    }

    /// Waits until every change that was begun before, through whichever handle, has ended. One caller at a time.
    pub async fn changes_end(&self) {
        self.state.begun.end().await;
    }

    /// Checks a request that changes something and gives the blocks that it touches.
    pub(crate) fn check_change(
        &self,
        operation: &'static str,
        offset: u64,
        length: u64,
    ) -> Result<Range<u64>> {
        if self.state.read_only {
            let what = format!("{} is a snapshot", self.state.head.borrow().name);
            return Err(VolumeError::new(ErrorKind::ReadOnly, operation, what));
        }
        if !self.engine.volumes.keys.is_open(self.state.head.borrow().key) {
            return Err(self.locked(operation));
        }
        self.check(operation, offset, length)
    }

    /// Checks a request and gives the blocks that it touches.
    pub(crate) fn check(&self, operation: &'static str, offset: u64, length: u64) -> Result<Range<u64>> {
        let head = self.state.head.borrow();
        let invalid = |what: String| VolumeError::new(ErrorKind::Invalid, operation, what);
        if self.state.deleted.get() {
            let what = format!("volume {} was deleted", head.name);
            return Err(VolumeError::new(ErrorKind::Unavailable, operation, what));
        }
        let aligned = (offset | length).is_multiple_of(SECTOR_BYTES as u64);
        let end = offset.checked_add(length).filter(|&end| end <= head.size_bytes);
        match end {
            Some(end) if aligned && length > 0 => {
                Ok(offset / BLOCK_BYTES as u64..end.div_ceil(BLOCK_BYTES as u64))
            }
            Some(_) => Err(invalid(format!("offset {offset}, length {length}: not multiples of 512"))),
            None => Err(invalid(format!(
                "offset {offset}, length {length}: outside volume {} of {} bytes",
                head.name, head.size_bytes
            ))),
        }
    }
}

impl Volume for EngineVolume {
    fn info(&self) -> VolumeInfo {
        let head = self.state.head.borrow();
        VolumeInfo {
            id: head.id,
            name: head.name.clone(),
            size_bytes: head.size_bytes,
            preferred_bytes: BLOCK_BYTES as u32,
            request_bytes_max: REQUEST_BYTES_MAX as u32,
            compare_bytes_max: COMPARE_BYTES_MAX as u32,
            atomic_bytes_max: ATOMIC_BYTES_MAX as u32,
            read_only: self.state.read_only,
            durability: head.settings.durability,
        }
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        let reading = self.read_range(offset, length);
        debug_assert!(size_of_val(&reading) <= READ_FUTURE_BYTES_MAX, "{} bytes", size_of_val(&reading));
        Box::pin(reading)
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let (begun, course) = (self.state.begun.begin(), Course::begin(self, Verb::Write));
        Box::pin(async move {
            let (_begun, bytes) = (begun, data.len() as u64);
            let written = self.write_range(&course, offset, data, flags).await;
            course.end(offset, bytes, written.is_ok());
            written
        })
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let course = Course::begin(self, Verb::Write);
        Box::pin(async move {
            let bytes = data.len() as u64;
            let written = self.write_whole(&course, offset, data, flags).await;
            course.end(offset, bytes, written.is_ok());
            written
        })
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        let (begun, course) = (self.state.begun.begin(), Course::begin(self, Verb::Write));
        Box::pin(async move {
            let (_begun, bytes) = (begun, data.len() as u64);
            let compared = self.compare_and_write_range(&course, offset, expected, data, flags).await;
            course.end(offset, bytes, compared.is_ok());
            compared
        })
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        let (begun, course) = (self.state.begun.begin(), Course::begin(self, Verb::Zero));
        Box::pin(async move {
            let _begun = begun;
            let zeroed = self.zero_range(&course, offset, length, mode, flags).await;
            course.end(offset, length, zeroed.is_ok());
            zeroed
        })
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let (begun, course) = (self.state.begun.begin(), Course::begin(self, Verb::Discard));
        Box::pin(async move {
            let _begun = begun;
            let discarded = self.discard_range(&course, offset, length, flags).await;
            course.end(offset, length, discarded.is_ok());
            discarded
        })
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        let course = Course::begin(self, Verb::Flush);
        Box::pin(async move {
            let flushed = self.flush_log(&course).await;
            course.end(0, 0, flushed.is_ok());
            flushed
        })
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        Box::pin(self.list_extents(offset, length, extents_max))
    }
}
