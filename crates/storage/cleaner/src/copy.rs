//! The verified bytes of survivors, in the order in which they lie.

use std::rc::Rc;

use quarry_env::View;
use quarry_format::crc32c;
use quarry_pool::{Chunk, Expected, LogStore, PoolError};
use quarry_types::limits::SECTOR_BYTES;

use crate::survivors::Survivor;
use crate::window::Window;

/// A victim that is being read.
pub(crate) struct Source<'a> {
    store: &'a LogStore,
    chunk: &'a Rc<Chunk>,
    window: Window<'a>,
}

/// Bytes of a survivor.
pub(crate) enum Bytes<'a> {
    /// As the copy has them that is read in passing.
    Passing(&'a [u8]),
    /// As some copy has them.
    Searched(View),
}

impl std::ops::Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Passing(bytes) => bytes,
            Bytes::Searched(view) => view,
        }
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(store: &'a LogStore, chunk: &'a Rc<Chunk>) -> Self {
        Self { store, chunk, window: Window::of_victim(store, chunk) }
    }

    pub(crate) fn chunk(&self) -> &Rc<Chunk> {
        self.chunk
    }

    /// The bytes of a survivor with padding, verified; damaged ones as they are, to stay recognisably damaged.
    pub(crate) async fn read(&mut self, survivor: &Survivor) -> Result<Bytes<'_>, PoolError> {
        let Survivor { item, sector } = survivor;
        let (offset, padded) = (*sector as usize * SECTOR_BYTES, item.sectors as usize * SECTOR_BYTES);
        let is_good = match self.window.bytes(offset, padded).await {
            Ok(bytes) => crc32c(bytes) == item.checksum,
            Err(_) => false,
        };
        if !is_good {
            return self.search(survivor, offset as u64, padded).await.map(Bytes::Searched);
        }
        Ok(Bytes::Passing(self.window.held(offset, padded)))
    }

    /// Asks every copy, and mends bad ones.
    async fn search(&self, survivor: &Survivor, offset: u64, padded: usize) -> Result<View, PoolError> {
        let Survivor { item, sector } = survivor;
        let expected = Expected { sectors: item.sectors, checksum: item.checksum };
        match self.store.pool.read_verified(self.chunk, *sector, &[expected]).await {
            Err(PoolError::Corrupt { .. }) => {}
            other => return other,
        }
        for slot in self.chunk.slots() {
            if let Ok(view) = self.store.pool.read_copy_part(slot, offset, padded).await {
                tracing::error!(chunk = %self.chunk.id(), address = ?item.address, "a damaged block was moved as it is");
                return Ok(view);
            }
        }
        Err(PoolError::Unreadable { chunk: self.chunk.id(), offset, source: None })
    }
}
