//! What one log owns in a pool.
//!
//! The tables here are changed synchronously, together with what the engine keeps beside them (map roots, the replay
//! position), and [`LogStore::commit`] writes whatever is current. So every image is one consistent state, and a commit
//! that fails loses nothing: the next one writes a later state.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use quarry_env::View;
use quarry_format::anchor::Slot;
use quarry_types::{ChunkId, Incarnation, LogAddress, LogId};

use crate::{Chunk, Expected, Group, Pool, PoolError, Purpose, SegmentTable};

/// The chunks, the segment table and the images of one log.
pub struct LogStore {
    /// The pool on this core.
    pub pool: Rc<Pool>,
    /// The log.
    pub log: LogId,
    /// This opening of the log.
    pub incarnation: Incarnation,
    table: RefCell<SegmentTable>,
    /// Chunks that are not used any more but that the durable image still names.
    retired: RefCell<Vec<Rc<Chunk>>>,
    image: RefCell<CurrentImage>,
    chunks_allocated: Cell<u64>,
    groups: RefCell<BTreeMap<ChunkId, Rc<Group>>>,
    /// Chunks of segments that the newest image names.
    pub(crate) data_chunks: Cell<u64>,
}

struct CurrentImage {
    sequence: u64,
    chunks: Vec<Rc<Chunk>>,
    bytes: usize,
}

impl LogStore {
    pub(crate) fn new(
        pool: Rc<Pool>,
        log: LogId,
        incarnation: Incarnation,
        table: SegmentTable,
        sequence: u64,
        image_chunks: Vec<Rc<Chunk>>,
    ) -> Self {
        Self {
            pool,
            log,
            incarnation,
            table: RefCell::new(table),
            retired: RefCell::default(),
            image: RefCell::new(CurrentImage { sequence, chunks: image_chunks, bytes: 0 }),
            chunks_allocated: Cell::new(0),
            groups: RefCell::default(),
            data_chunks: Cell::new(0),
        }
    }

    /// The segment table.
    pub fn table(&self) -> Ref<'_, SegmentTable> {
        self.table.borrow()
    }

    /// The cell of the segment table, for recovery.
    pub fn table_cell(&self) -> &RefCell<SegmentTable> {
        &self.table
    }

    /// The segment table, to change it.
    pub fn table_mut(&self) -> RefMut<'_, SegmentTable> {
        self.table.borrow_mut()
    }

    /// A fresh chunk of `copies` copies, or of as many as there are devices in use, if `purpose` may have one; in `tier`, if there is
    /// room, else elsewhere.
    pub fn allocate_chunk(&self, copies: usize, purpose: Purpose, tier: u8) -> Result<Rc<Chunk>, PoolError> {
        let count = self.chunks_allocated.get();
        let id = ChunkId::new(self.log, self.incarnation, count);
        let chunk = Chunk::allocate(&self.pool.shared, self.log, id, (copies, purpose, tier))
            .ok_or(PoolError::NoSpace)?;
        self.chunks_allocated.set(count + 1);
        Ok(Rc::new(chunk))
    }

    /// Copies that each chunk of the log should have that is in no group.
    pub fn copies(&self) -> usize {
        self.pool.shared.copies_of(self.log)
    }

    /// Copies that a new chunk of the log gets: those asked for, or as many as there are usable devices.
    pub fn copies_now(&self) -> usize {
        self.pool.shared.copies_now(self.log)
    }

    /// The id of a new chunk.
    pub(crate) fn next_chunk_id(&self) -> ChunkId {
        let count = self.chunks_allocated.get();
        self.chunks_allocated.set(count + 1);
        ChunkId::new(self.log, self.incarnation, count)
    }

    /// The groups of coded chunks, in order of their ids.
    pub fn groups(&self) -> Vec<Rc<Group>> {
        self.groups.borrow().values().cloned().collect()
    }

    pub(crate) fn add_group(&self, group: Rc<Group>) {
        self.groups.borrow_mut().insert(group.id(), group);
    }

    pub(crate) fn remove_group(&self, group: &Group) {
        self.groups.borrow_mut().remove(&group.id());
    }

    /// Chunks that this opening has allocated so far.
    pub fn chunks_allocated(&self) -> u64 {
        self.chunks_allocated.get()
    }

    /// Keeps a chunk that is not used any more until an image that does not name it is durable.
    pub fn retire(&self, chunk: Rc<Chunk>) {
        self.retired.borrow_mut().push(chunk);
    }

    /// Chunks that wait for the next commit to be free.
    pub fn retired_chunks(&self) -> usize {
        self.retired.borrow().len()
    }

    /// How many chunks with all their copies the next commit frees: what is left of those that are in no group.
    pub fn chunks_freed_soon(&self) -> u64 {
        let retired = self.retired.borrow();
        let free = retired.iter().filter(|chunk| !chunk.is_coded()).map(|chunk| chunk.owned_slots().len());
        (free.sum::<usize>() / self.copies_now().max(1)) as u64
    }

    /// Whether chunks or copies of some wait for the next commit to be free.
    pub fn has_retired(&self) -> bool {
        !self.retired.borrow().is_empty() || !self.pool.shared.given_up_by(self.log).is_empty()
    }

    pub(crate) fn take_retired(&self) -> Vec<Rc<Chunk>> {
        std::mem::take(&mut self.retired.borrow_mut())
    }

    pub(crate) fn next_image_sequence(&self) -> u64 {
        self.image.borrow().sequence + 1
    }

    pub(crate) fn set_image(&self, sequence: u64, chunks: Vec<Rc<Chunk>>, bytes: usize) {
        let old = std::mem::replace(&mut *self.image.borrow_mut(), CurrentImage { sequence, chunks, bytes });
        drop(old);
    }

    /// The slots of every chunk of the log, each chunk once: those of its segments, of its image, and those that wait for
    /// the next commit to be free. What the log holds in reserve is not among them.
    pub fn slots(&self) -> Vec<Slot> {
        let (table, retired, image) = (self.table(), self.retired.borrow(), self.image.borrow());
        let segments = table.iter().flat_map(|(_, segment)| segment.chunks().cloned());
        let mut chunks: Vec<Rc<Chunk>> = segments.collect();
        chunks.extend(retired.iter().chain(&image.chunks).cloned());
        chunks.extend(self.groups().iter().flat_map(|group| group.members()));
        // A chunk that has been succeeded has its successor's id.
        chunks.sort_by_key(Rc::as_ptr);
        chunks.dedup_by(|one, other| Rc::ptr_eq(one, other));
        let given_up = self.pool.shared.given_up_by(self.log);
        chunks.iter().flat_map(|chunk| chunk.owned_slots()).chain(given_up).collect()
    }

    /// Whether the newest image lies where a new one would not: on a device that is to be removed, or on fewer devices than could be
    /// had.
    pub fn is_image_elsewhere(&self) -> bool {
        let wanted = self.image_copies();
        self.image.borrow().chunks.iter().any(|chunk| {
            let is_leaving = chunk.slots().iter().any(|slot| self.pool.shared.is_leaving(slot.device));
            is_leaving || chunk.staying_copies() < wanted
        })
    }

    /// Whether a chunk of the log has a slot on a device that is to be removed.
    pub fn is_on_leaving_device(&self) -> bool {
        self.slots().iter().any(|slot| self.pool.shared.is_leaving(slot.device))
    }

    /// Number of the newest image, and its length in bytes (0 if an earlier opening wrote it).
    pub fn image(&self) -> (u64, usize) {
        let image = self.image.borrow();
        (image.sequence, image.bytes)
    }

    /// Chunks in which segments lie, as of the newest image; 0 before this opening has written one.
    pub fn data_chunks(&self) -> u64 {
        self.data_chunks.get()
    }

    /// Chunks that the newest image takes.
    pub fn image_chunks(&self) -> usize {
        self.image.borrow().chunks.len()
    }

    /// Reads and verifies one record.
    pub async fn read(&self, address: LogAddress, expected: Expected) -> Result<View, PoolError> {
        let place = self.table.borrow().resolve(address).map(|(chunk, sector)| (chunk.clone(), sector));
        let Some((chunk, sector)) = place else {
            return Err(PoolError::nowhere(address));
        };
        self.pool.read_verified(&chunk, sector, &[expected]).await
    }
}
