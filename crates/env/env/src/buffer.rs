//! Memory for I/O: aligned, pooled, and shared by counting instead of copying.
//!
//! A [`Buffer`] has one owner who may write; frozen, it becomes [`View`]s that any number of readers share. The bytes go
//! back to their [`BufferPool`] when the last owner is gone. Sizes are powers of two from 4 KiB to [`CLASS_BYTES_MAX`];
//! small ones are cut from slabs, which `env-linux` registers with io_uring as they are born.
//!
//! The pool never refuses: how much is in use at once is bounded by what admits requests, and [`BufferPool::used_bytes`]
//! is what it looks at. Memory of the pool is reused, not returned.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::rc::Rc;

/// Smallest buffer, and the alignment of all.
const CLASS_BYTES_MIN: usize = 4096;
/// Largest buffer that is pooled; larger ones come from the heap and return to it.
pub const CLASS_BYTES_MAX: usize = 1 << 20;
const CLASSES: usize = (CLASS_BYTES_MAX / CLASS_BYTES_MIN).ilog2() as usize + 1;
/// What the pool takes from the heap at once.
const SLAB_BYTES: usize = 2 << 20;

const _: () = assert!(SLAB_BYTES.is_multiple_of(CLASS_BYTES_MAX));

/// Called with the address and length of each new slab; returns its index in the kernel's table, if it got one.
pub type RegisterSlab = Box<dyn Fn(*mut u8, usize) -> Option<u16>>;

/// A piece of memory and where it goes back to.
struct Memory {
    start: NonNull<u8>,
    capacity: usize,
    registered: Option<u16>,
    pool: Rc<Pool>,
}

struct Slab {
    /// What the heap gave; the buffers begin at the first aligned address in it.
    base: NonNull<u8>,
    registered: Option<u16>,
}

#[derive(Clone, Copy)]
struct Free {
    start: NonNull<u8>,
    registered: Option<u16>,
}

struct Pool {
    free: RefCell<[Vec<Free>; CLASSES]>,
    slabs: RefCell<Vec<Slab>>,
    used_bytes: Cell<usize>,
    register: RefCell<Option<RegisterSlab>>,
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, CLASS_BYTES_MIN).expect("buffers are far smaller than the address space")
}

fn heap(bytes: usize) -> NonNull<u8> {
    // SAFETY: the layout's size is not zero: every caller asks for at least CLASS_BYTES_MIN.
    NonNull::new(unsafe { alloc_zeroed(layout(bytes)) }).unwrap_or_else(|| handle_alloc_error(layout(bytes)))
}

fn class_of(bytes: usize) -> Option<usize> {
    let rounded = bytes.max(CLASS_BYTES_MIN).next_power_of_two();
    (rounded <= CLASS_BYTES_MAX).then(|| (rounded / CLASS_BYTES_MIN).ilog2() as usize)
}

/// A slab's memory is aligned by hand, to its own size so that one huge page can hold it: the heap has fresh zero pages
/// for small alignments, and clears the memory, with a page fault for each page of it, for large ones. What is skipped
/// in front of and behind the slab is never touched and costs no memory.
fn slab_layout() -> Layout {
    Layout::from_size_align(2 * SLAB_BYTES, 16).expect("a slab is far smaller than the address space")
}

/// Memory for a slab: what the heap gave, and the first aligned address in it.
fn slab_memory() -> (NonNull<u8>, NonNull<u8>) {
    // SAFETY: the layout's size is not zero.
    let base = NonNull::new(unsafe { alloc_zeroed(slab_layout()) })
        .unwrap_or_else(|| handle_alloc_error(slab_layout()));
    let skipped = base.align_offset(SLAB_BYTES);
    assert!(skipped <= SLAB_BYTES, "an address is less than a slab away from the next aligned one");
    // SAFETY: the layout has SLAB_BYTES more than the slab needs, so SLAB_BYTES follow.
    (base, unsafe { base.add(skipped) })
}

impl Pool {
    fn take(&self, class: usize) -> Free {
        let bytes = CLASS_BYTES_MIN << class;
        let mut free = self.free.borrow_mut();
        if free[class].is_empty() {
            let (base, start) = slab_memory();
            let registered =
                self.register.borrow().as_ref().and_then(|register| register(start.as_ptr(), SLAB_BYTES));
            self.slabs.borrow_mut().push(Slab { base, registered });
            for offset in (0..SLAB_BYTES).step_by(bytes).rev() {
                // SAFETY: the offset lies inside the slab that was just allocated.
                free[class].push(Free { start: unsafe { start.add(offset) }, registered });
            }
        }
        free[class].pop().expect("a slab holds at least one buffer of each class")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for slab in self.slabs.get_mut() {
            // SAFETY: allocated by `slab_memory`; every Memory holds the pool, so none is left.
            unsafe { dealloc(slab.base.as_ptr(), slab_layout()) }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.pool.used_bytes.set(self.pool.used_bytes.get() - self.capacity);
        match class_of(self.capacity) {
            Some(class) => self.pool.free.borrow_mut()[class]
                .push(Free { start: self.start, registered: self.registered }),
            // SAFETY: memory above the largest class came from `heap(capacity)` and has no other owner.
            None => unsafe { dealloc(self.start.as_ptr(), layout(self.capacity)) },
        }
    }
}

/// The I/O memory of one core. Cheap to clone.
#[derive(Clone)]
pub struct BufferPool(Rc<Pool>);

impl Default for BufferPool {
    fn default() -> Self {
        Self(Rc::new(Pool {
            free: RefCell::default(),
            slabs: RefCell::default(),
            used_bytes: Cell::new(0),
            register: RefCell::new(None),
        }))
    }
}

impl BufferPool {
    /// Has each slab that is born from now on registered by `register`.
    pub fn set_register(&self, register: RegisterSlab) {
        *self.0.register.borrow_mut() = Some(register);
    }

    /// Lets go of the registration, for a driver that ends before its buffers do.
    pub fn clear_register(&self) {
        *self.0.register.borrow_mut() = None;
    }

    /// A buffer of `length` bytes (> 0), aligned to 4096, with undefined content.
    pub fn allocate(&self, length: usize) -> Buffer {
        assert!(length > 0, "a buffer holds at least one byte");
        let memory = match class_of(length) {
            Some(class) => {
                let Free { start, registered } = self.0.take(class);
                Memory { start, capacity: CLASS_BYTES_MIN << class, registered, pool: self.0.clone() }
            }
            None => {
                let capacity = length.next_multiple_of(CLASS_BYTES_MIN);
                Memory { start: heap(capacity), capacity, registered: None, pool: self.0.clone() }
            }
        };
        self.0.used_bytes.set(self.0.used_bytes.get() + memory.capacity);
        Buffer { memory, length }
    }

    /// A buffer of `length` bytes, all zero.
    pub fn allocate_zeroed(&self, length: usize) -> Buffer {
        let mut buffer = self.allocate(length);
        buffer.fill(0);
        buffer
    }

    /// A view of a copy of `bytes`, which must not be empty.
    pub fn copy_of(&self, bytes: &[u8]) -> View {
        let mut buffer = self.allocate(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer.freeze()
    }

    /// Bytes that are handed out now.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.get()
    }

    /// Bytes that the pool has taken from the heap and keeps.
    pub fn slab_bytes(&self) -> usize {
        self.0.slabs.borrow().len() * SLAB_BYTES
    }

    /// Runs `visit` with the table index of each registered slab.
    pub fn for_each_registered(&self, mut visit: impl FnMut(u16)) {
        self.0.slabs.borrow().iter().filter_map(|slab| slab.registered).for_each(&mut visit);
    }
}

/// Memory with one owner, who may write to it.
pub struct Buffer {
    memory: Memory,
    length: usize,
}

impl Buffer {
    /// Ends writing; the bytes can be shared from now on.
    pub fn freeze(self) -> View {
        let range = 0..self.length;
        View { memory: Rc::new(self.memory), start: range.start, end: range.end }
    }

    /// Sets the length, at most to [`Self::capacity`]. Bytes that appear are undefined.
    pub fn set_length(&mut self, length: usize) {
        assert!(length <= self.memory.capacity, "a buffer does not grow");
        self.length = length;
    }

    /// Most bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// Index of the registered slab that holds it.
    pub fn registered(&self) -> Option<u16> {
        self.memory.registered
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length` <= capacity, the memory was zeroed when it was allocated, and this is its only owner.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.length) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.length, self.memory.capacity)
    }
}

/// A part of a frozen buffer. Clones share the bytes.
#[derive(Clone)]
pub struct View {
    memory: Rc<Memory>,
    start: usize,
    end: usize,
}

impl View {
    /// The part of this view in `range`, without a copy.
    ///
    /// # Panics
    /// When the range is not inside the view.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> View {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {}", self.len());
        View { memory: self.memory.clone(), start: self.start + range.start, end: self.start + range.end }
    }

    /// The buffer, when this is its only view and covers it from the start.
    pub fn try_thaw(self) -> Result<Buffer, View> {
        let Self { memory, start, end } = self;
        if start != 0 {
            return Err(Self { memory, start, end });
        }
        Rc::try_unwrap(memory).map(|memory| Buffer { memory, length: end }).map_err(|memory| Self {
            memory,
            start,
            end,
        })
    }

    /// Index of the registered slab that holds it.
    pub fn registered(&self) -> Option<u16> {
        self.memory.registered
    }

    /// Whether `next` begins where this view ends in the same memory.
    pub fn continues_in(&self, next: &View) -> bool {
        Rc::ptr_eq(&self.memory, &next.memory) && self.end == next.start
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: start <= end <= capacity; the memory was zeroed when it was allocated and nobody writes to frozen memory.
        unsafe {
            std::slice::from_raw_parts(self.memory.start.as_ptr().add(self.start), self.end - self.start)
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}..{})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_to_the_pool_with_its_last_view() {
        let pool = BufferPool::default();
        let mut buffer = pool.allocate(5000);
        assert_eq!(buffer.capacity(), 8192);
        buffer.fill(7);
        let view = buffer.freeze();
        let part = view.slice(100..200);
        drop(view);
        assert_eq!(pool.used_bytes(), 8192);
        assert!(part.iter().all(|&byte| byte == 7));
        drop(part);
        assert_eq!(pool.used_bytes(), 0);
        let slabs = pool.slab_bytes();
        drop(pool.allocate(8000));
        assert_eq!(pool.slab_bytes(), slabs);
    }

    #[test]
    fn every_buffer_is_aligned_zero_at_birth_and_apart_from_others() {
        let pool = BufferPool::default();
        let mut buffers: Vec<Buffer> = (0..1_500).map(|number| pool.allocate(1 << (number % 21))).collect();
        for buffer in &mut buffers {
            assert!((buffer.as_ptr() as usize).is_multiple_of(4096));
            assert!(buffer.iter().all(|&byte| byte == 0), "fresh memory, which nobody else has written to");
            buffer.fill(1);
        }
    }

    #[test]
    fn only_the_last_whole_view_thaws() {
        let pool = BufferPool::default();
        let view = pool.copy_of(b"abc");
        let other = view.clone();
        let view = view.try_thaw().expect_err("shared");
        drop(other);
        assert_eq!(&view.try_thaw().expect("the only one")[..], b"abc");
    }

    #[test]
    fn large_buffers_come_from_the_heap() {
        let pool = BufferPool::default();
        let buffer = pool.allocate_zeroed(CLASS_BYTES_MAX + 1);
        assert_eq!(buffer.len(), CLASS_BYTES_MAX + 1);
        assert_eq!(pool.slab_bytes(), 0);
    }
}
