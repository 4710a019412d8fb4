//! A volume in memory that holds the server to the contract of the block seam: it panics on what it must never be asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use quarry_env::{BufferPool, Completer, Completion, View, completion};
use quarry_types::{BLOCK_BYTES, Durability, SECTOR_BYTES, VolumeId};
use quarry_volume::{
    Comparison, ErrorKind, Extent, ExtentKind, Result, Views, Volume, VolumeError, VolumeInfo, WriteFlags,
    ZeroMode,
};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Blocks in memory; one that was never written is a hole.
pub struct MemoryVolume {
    info: RefCell<VolumeInfo>,
    blocks: RefCell<Vec<Option<View>>>,
    zero: View,
    buffers: BufferPool,
    /// Every operation fails so.
    pub fail: Cell<Option<ErrorKind>>,
    /// While set, operations begin to wait, and go on in any order that the test likes.
    pub held: Cell<bool>,
    waiting: RefCell<Vec<Completer<()>>>,
    /// What was asked for: verb, offset, length, and whether FUA or "keep allocated" was asked for.
    pub calls: RefCell<Vec<(&'static str, u64, u64, bool)>>,
    /// Whether `calls` are kept.
    pub records: Cell<bool>,
}

impl MemoryVolume {
    pub fn new(buffers: BufferPool, name: &str, id: u128, size_bytes: u64) -> Rc<Self> {
        let info = VolumeInfo {
            id: VolumeId::from_random(id),
            name: name.to_owned(),
            size_bytes,
            preferred_bytes: 4096,
            request_bytes_max: 32 << 20,
            compare_bytes_max: 64 << 10,
            atomic_bytes_max: 256 << 10,
            read_only: false,
            durability: Durability::Flush,
        };
        Rc::new(Self {
            info: RefCell::new(info),
            blocks: RefCell::new(vec![None; size_bytes.div_ceil(BLOCK) as usize]),
            zero: buffers.allocate_zeroed(1 << 20).freeze(),
            buffers,
            fail: Cell::new(None),
            held: Cell::new(false),
            waiting: RefCell::default(),
            calls: RefCell::default(),
            records: Cell::new(false),
        })
    }

    pub fn set_info(&self, change: impl FnOnce(&mut VolumeInfo)) {
        change(&mut self.info.borrow_mut());
        let blocks = self.info.borrow().size_bytes.div_ceil(BLOCK) as usize;
        self.blocks.borrow_mut().resize(blocks, None);
    }

    /// How many operations wait.
    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Lets the `index`-th of the waiting operations go on.
    pub fn release(&self, index: usize) {
        let completer = self.waiting.borrow_mut().remove(index);
        completer.complete(());
    }

    /// Lets all go on, and no other wait.
    pub fn release_all(&self) {
        self.held.set(false);
        self.waiting.take().into_iter().for_each(|completer| completer.complete(()));
    }

    /// The bytes of a range.
    pub fn content(&self, offset: u64, length: usize) -> Vec<u8> {
        self.views(offset, length as u64).iter().map(|view| &view[..]).collect::<Vec<_>>().concat()
    }

    /// Writes as a client would have.
    pub fn fill(&self, offset: u64, bytes: &[u8]) {
        self.store(offset, bytes);
    }

    fn begin(&self, verb: &'static str, offset: u64, length: u64, flag: bool) -> Option<Completion<()>> {
        assert!(offset.is_multiple_of(SECTOR_BYTES as u64) && length.is_multiple_of(SECTOR_BYTES as u64));
        assert!(offset + length <= self.info.borrow().size_bytes, "{verb} behind the end");
        assert!(length > 0 || verb == "flush", "an empty {verb}");
        if self.records.get() {
            self.calls.borrow_mut().push((verb, offset, length, flag));
        }
        self.held.get().then(|| {
            let (completer, completion) = completion();
            self.waiting.borrow_mut().push(completer);
            completion
        })
    }

    /// Waits, then fails or acts, as the test wants it.
    async fn after<T>(
        &self,
        verb: &'static str,
        wait: Option<Completion<()>>,
        act: impl FnOnce() -> T,
    ) -> Result<T> {
        if let Some(wait) = wait {
            wait.await;
        }
        match self.fail.get() {
            Some(kind) => Err(VolumeError::new(kind, verb, "as the test wants it")),
            None => Ok(act()),
        }
    }

    fn views(&self, offset: u64, length: u64) -> Views {
        let blocks = self.blocks.borrow();
        let mut views = Views::new();
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let block = (at / BLOCK) as usize;
            let to = end.min((at / BLOCK + 1) * BLOCK);
            let range = (at % BLOCK) as usize..(to - 1) as usize % BLOCK_BYTES + 1;
            views.push(blocks[block].as_ref().unwrap_or(&self.zero).slice(range));
            at = to;
        }
        views
    }

    fn store(&self, offset: u64, bytes: &[u8]) {
        let mut blocks = self.blocks.borrow_mut();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset as usize + done;
            let (block, start) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
            let count = (BLOCK_BYTES - start).min(bytes.len() - done);
            let mut buffer = self.buffers.allocate(BLOCK_BYTES);
            match &blocks[block] {
                Some(old) => buffer.copy_from_slice(old),
                None => buffer.fill(0),
            }
            buffer[start..start + count].copy_from_slice(&bytes[done..done + count]);
            blocks[block] = Some(buffer.freeze());
            done += count;
        }
    }

    /// Zeroes a range; its whole blocks become holes if `unmap`.
    fn clear(&self, offset: u64, length: u64, unmap: bool) {
        let mut at = offset;
        while at < offset + length {
            let to = (offset + length).min((at / BLOCK + 1) * BLOCK);
            let hole = unmap && to - at == BLOCK;
            match hole {
                true => self.blocks.borrow_mut()[(at / BLOCK) as usize] = None,
                false => self.store(at, &self.zero[..(to - at) as usize]),
            }
            at = to;
        }
    }

    fn extents_of(&self, offset: u64, length: u64, extents_max: usize) -> Vec<Extent> {
        let blocks = self.blocks.borrow();
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = offset;
        while at < offset + length {
            let full = extents.len() == extents_max;
            let to = (offset + length).min((at / BLOCK + 1) * BLOCK);
            let kind = match blocks[(at / BLOCK) as usize] {
                Some(_) => ExtentKind::Data,
                None => ExtentKind::Hole,
            };
            match extents.last_mut() {
                Some(last) if last.kind == kind => last.range.end = to,
                _ if full => break,
                _ => extents.push(Extent { range: at..to, kind }),
            }
            at = to;
        }
        extents
    }
}

impl Volume for MemoryVolume {
    fn info(&self) -> VolumeInfo {
        self.info.borrow().clone()
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        let length = u64::from(length);
        let wait = self.begin("read", offset, length, false);
        self.after("read", wait, move || self.views(offset, length)).boxed_local()
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let wait = self.begin("write", offset, data.len() as u64, flags.fua);
        self.after("write", wait, move || self.store(offset, &data)).boxed_local()
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let (bytes, info) = (data.len() as u64, self.info.borrow());
        assert!((offset | bytes).is_multiple_of(u64::from(info.preferred_bytes)), "parts of blocks");
        assert!(bytes <= u64::from(info.atomic_bytes_max), "too much to be atomic");
        let wait = self.begin("atomic write", offset, bytes, flags.fua);
        self.after("atomic write", wait, move || self.store(offset, &data)).boxed_local()
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        let wait = self.begin("compare and write", offset, data.len() as u64, flags.fua);
        let exchange = move || {
            let found = self.views(offset, data.len() as u64);
            let found = found.iter().flat_map(|view| view.iter());
            match found.zip(expected.iter()).position(|(found, expected)| found != expected) {
                Some(at) => Comparison::Differs { at: at as u32 },
                None => {
                    self.store(offset, &data);
                    Comparison::Written
                }
            }
        };
        self.after("compare and write", wait, exchange).boxed_local()
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        _flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        let keep = mode == ZeroMode::KeepAllocated;
        let wait = self.begin("write zeroes", offset, length, keep);
        self.after("write zeroes", wait, move || self.clear(offset, length, !keep)).boxed_local()
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        let wait = self.begin("discard", offset, length, flags.fua);
        let (start, end) = (offset.next_multiple_of(BLOCK), (offset + length) / BLOCK * BLOCK);
        self.after("discard", wait, move || self.clear(start, end.saturating_sub(start), true)).boxed_local()
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        let wait = self.begin("flush", 0, 0, false);
        self.after("flush", wait, || ()).boxed_local()
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        let wait = self.begin("extents", offset, length, false);
        self.after("extents", wait, move || self.extents_of(offset, length, extents_max)).boxed_local()
    }
}
