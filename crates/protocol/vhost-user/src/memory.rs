//! The memory of a front end: pieces of files, by the addresses of its guest and by its own.

use std::fmt;
use std::rc::Rc;

use quarry_env::{PeerFile, SharedMemory, Sharing};
use vm_memory::bitmap::BS;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionCollection, MemoryRegionAddress, VolatileSlice,
};

use crate::error::ControlError;
use crate::limits::REGIONS_MAX;
use crate::message::MemoryRegion;

/// Memory by the addresses of the guest.
pub type GuestMap = GuestRegionCollection<Region>;

/// A piece of it.
pub struct Region {
    start: GuestAddress,
    user_address: u64,
    memory: Rc<dyn SharedMemory>,
}

impl Region {
    /// Shared memory that is at `start` for the guest and at `user_address` for the front end.
    pub fn new(start: u64, user_address: u64, memory: Rc<dyn SharedMemory>) -> Self {
        Self { start: GuestAddress(start), user_address, memory }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes at {:#x})", self.memory.length(), self.start.0)
    }
}

impl GuestMemoryRegion for Region {
    type B = ();

    fn len(&self) -> u64 {
        self.memory.length() as u64
    }

    fn start_addr(&self) -> GuestAddress {
        self.start
    }

    fn bitmap(&self) -> BS<'_, ()> {}

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, ()>, GuestMemoryError> {
        let end = usize::try_from(offset.0).ok().and_then(|offset| offset.checked_add(count));
        if end.is_none_or(|end| end > self.memory.length()) {
            return Err(GuestMemoryError::InvalidBackendAddress);
        }
        // SAFETY: the range is inside the memory, which lives as long as `self` and is used as volatile memory only.
        Ok(unsafe { VolatileSlice::new(self.memory.start().as_ptr().add(offset.0 as usize), count) })
    }
}

impl GuestMemoryRegionBytes for Region {}

/// What a front end has told of its memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryTable {
    pub(crate) map: Rc<GuestMap>,
}

fn refuse(error: impl fmt::Display) -> ControlError {
    ControlError::Memory(error.to_string())
}

impl MemoryTable {
    /// A table of `regions`, each in a file of its own.
    pub(crate) fn new(
        sharing: &dyn Sharing,
        regions: &[MemoryRegion],
        files: Vec<PeerFile>,
    ) -> Result<Self, ControlError> {
        let mut table = Self::default();
        for (region, file) in regions.iter().zip(files) {
            table = table.with(sharing, region, &file)?;
        }
        Ok(table)
    }

    /// The table with one region more.
    pub(crate) fn with(
        &self,
        sharing: &dyn Sharing,
        region: &MemoryRegion,
        file: &PeerFile,
    ) -> Result<Self, ControlError> {
        if self.map.num_regions() >= REGIONS_MAX {
            return Err(refuse(format!("more than {REGIONS_MAX} regions")));
        }
        let MemoryRegion { guest_address, bytes, user_address, file_offset } = *region;
        let end = |start: u64| start.checked_add(bytes);
        if bytes == 0 || end(guest_address).is_none() || end(user_address).is_none() {
            return Err(refuse(format!("{bytes} bytes at {guest_address:#x}")));
        }
        let length = usize::try_from(bytes).map_err(refuse)?;
        let memory = sharing.map(file, file_offset, length).map_err(refuse)?;
        let region = Region::new(guest_address, user_address, memory);
        #[expect(clippy::arc_with_non_send_sync, reason = "the library's type; the map stays on its core")]
        let map = self.map.insert_region(std::sync::Arc::new(region)).map_err(refuse)?;
        Ok(Self { map: Rc::new(map) })
    }

    /// The table without a region.
    pub(crate) fn without(&self, region: &MemoryRegion) -> Result<Self, ControlError> {
        let found = self.map.iter().find(|known| {
            (known.start.0, known.len(), known.user_address)
                == (region.guest_address, region.bytes, region.user_address)
        });
        if found.is_none() {
            return Err(refuse(format!("no region is at {:#x}", region.guest_address)));
        }
        if self.map.num_regions() == 1 {
            return Ok(Self::default());
        }
        let removed = self.map.remove_region(GuestAddress(region.guest_address), region.bytes);
        Ok(Self { map: Rc::new(removed.map_err(refuse)?.0) })
    }

    /// The guest's address of what is at `address` for the front end.
    pub(crate) fn guest_address(&self, address: u64) -> Option<GuestAddress> {
        self.map.iter().find_map(|region| {
            let offset = address.checked_sub(region.user_address)?;
            (offset < region.len()).then(|| GuestAddress(region.start.0 + offset))
        })
    }
}

/// Whether the front end has taken memory away that was in use.
pub(crate) fn is_lost(map: &GuestMap) -> bool {
    map.iter().any(|region| region.memory.is_lost())
}
