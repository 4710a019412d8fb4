//! Descriptors of one request (virtio 1.2, 2.7.5): walked with care, because a guest may write anything.
//!
//! The crate `virtio-queue` walks chains as well; it cannot begin at a descriptor that is not in the available ring, which is
//! needed after a restart, and it does not tell the end of a chain from an error.

use std::rc::Rc;

use smallvec::SmallVec;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::error::QueueError;
use crate::limits::DESCRIPTORS_MAX;
use crate::memory::GuestMap;

/// Bytes of a descriptor.
const DESCRIPTOR_BYTES: u32 = size_of::<Descriptor>() as u32;

/// Pieces of guest memory, one behind the other.
#[derive(Clone, Default, Debug)]
pub struct Segments {
    parts: SmallVec<[(GuestAddress, u32); 4]>,
    bytes: u64,
}

impl Segments {
    fn push(&mut self, address: GuestAddress, bytes: u32) {
        if bytes > 0 {
            self.parts.push((address, bytes));
            self.bytes += u64::from(bytes);
        }
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the first `bytes` away, which are there.
    pub(crate) fn split_front(&mut self, bytes: u32) -> Self {
        let (mut front, mut left) = (Self::default(), bytes);
        while left > 0 {
            let (address, length) = self.parts[0];
            let taken = length.min(left);
            front.push(address, taken);
            left -= taken;
            match taken == length {
                true => _ = self.parts.remove(0),
                false => self.parts[0] = (GuestAddress(address.0.wrapping_add(taken.into())), length - taken),
            }
        }
        self.bytes -= u64::from(bytes);
        front
    }

    /// Takes the last byte away, which is there; returns where it is.
    pub(crate) fn split_last(&mut self) -> GuestAddress {
        let (address, length) = self.parts.last_mut().expect("the caller has looked that there is a byte");
        *length -= 1;
        let last = GuestAddress(address.0.wrapping_add(u64::from(*length)));
        if *length == 0 {
            self.parts.pop();
        }
        self.bytes -= 1;
        last
    }

    /// Copies what is there into `data`, which is as long.
    pub(crate) fn copy_to(&self, memory: &GuestMap, data: &mut [u8]) -> Result<(), GuestMemoryError> {
        let mut at = 0;
        for &(address, bytes) in &self.parts {
            memory.read_slice(&mut data[at..at + bytes as usize], address)?;
            at += bytes as usize;
        }
        Ok(())
    }

    /// Copies `data`, which is not longer, to where they are, from their byte `skip` on.
    pub(crate) fn copy_from(
        &self,
        memory: &GuestMap,
        mut skip: u64,
        mut data: &[u8],
    ) -> Result<(), GuestMemoryError> {
        for &(address, bytes) in &self.parts {
            if skip >= u64::from(bytes) {
                skip -= u64::from(bytes);
                continue;
            }
            let (now, rest) = data.split_at(data.len().min((u64::from(bytes) - skip) as usize));
            memory.write_slice(now, GuestAddress(address.0.wrapping_add(skip)))?;
            (data, skip) = (rest, 0);
        }
        Ok(())
    }
}

/// A request's descriptors, whatever they mean.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its first descriptor, which is its name in the used ring.
    pub head: u16,
    /// The memory that it is in. It stays, whatever the front end says of its memory meanwhile.
    pub memory: Rc<GuestMap>,
    /// What the driver has written.
    pub readable: Segments,
    /// What the driver wants to read.
    pub writable: Segments,
}

/// A table of descriptors.
#[derive(Clone, Copy)]
struct Table {
    start: GuestAddress,
    count: u32,
}

impl Table {
    fn get(&self, memory: &GuestMap, index: u16) -> Result<Descriptor, QueueError> {
        let place = u64::from(index) * u64::from(DESCRIPTOR_BYTES);
        let address = self.start.0.checked_add(place).filter(|_| u32::from(index) < self.count);
        let address = address.ok_or(QueueError::NoDescriptor)?;
        memory.read_obj(GuestAddress(address)).map_err(|_| QueueError::NoDescriptor)
    }
}

impl Chain {
    /// The chain that begins at `head` of the table of a queue with `queue_size` descriptors. Costs at most
    /// [`DESCRIPTORS_MAX`] steps.
    pub fn walk(
        memory: &Rc<GuestMap>,
        table: GuestAddress,
        queue_size: u16,
        head: u16,
    ) -> Result<Self, QueueError> {
        let (readable, writable) = (Segments::default(), Segments::default());
        let mut chain = Self { head, memory: memory.clone(), readable, writable };
        let mut table = Table { start: table, count: queue_size.into() };
        let mut is_indirect = false;
        let mut index = head;
        for _ in 0..DESCRIPTORS_MAX {
            let descriptor = table.get(memory, index)?;
            if descriptor.refers_to_indirect_table() {
                table = indirect_table(&descriptor, is_indirect)?;
                (is_indirect, index) = (true, 0);
                continue;
            }
            chain.push(&descriptor)?;
            if !descriptor.has_next() {
                return Ok(chain);
            }
            index = descriptor.next();
        }
        Err(QueueError::Endless)
    }

    fn push(&mut self, descriptor: &Descriptor) -> Result<(), QueueError> {
        match descriptor.is_write_only() {
            true => self.writable.push(descriptor.addr(), descriptor.len()),
            // 2.7.4.2: what the device writes stands behind what it reads.
            false if self.writable.bytes() > 0 => return Err(QueueError::Order),
            false => self.readable.push(descriptor.addr(), descriptor.len()),
        }
        Ok(())
    }
}

/// The table that `descriptor` refers to (2.7.5.3): in no other such table, with nothing behind it.
fn indirect_table(descriptor: &Descriptor, in_another: bool) -> Result<Table, QueueError> {
    let bytes = descriptor.len();
    let whole = bytes > 0 && bytes.is_multiple_of(DESCRIPTOR_BYTES);
    if in_another || descriptor.has_next() || !whole {
        return Err(QueueError::Table);
    }
    Ok(Table { start: descriptor.addr(), count: bytes / DESCRIPTOR_BYTES })
}
