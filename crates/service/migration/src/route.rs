//! The way to a volume, for those who hold it longer than it stays in one place.

use std::cell::OnceCell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use quarry_env::View;
use quarry_volume::{Comparison, Extent, Result, Views, Volume, VolumeInfo, WriteFlags, ZeroMode};

/// A volume, and where it has gone since. A session holds it for as long as it lives; each operation goes to the end of the way.
/// As long as the volume has not moved, that costs a look at one cell.
pub struct Route {
    first: Rc<dyn Volume>,
    next: OnceCell<Rc<dyn Volume>>,
}

impl Route {
    /// The way to `volume`, which has not moved.
    pub fn new(volume: Rc<dyn Volume>) -> Rc<Self> {
        Rc::new(Self { first: volume, next: OnceCell::new() })
    }

    /// Leads to `next` from now on. What was begun before ends where it began.
    ///
    /// # Panics
    /// When it leads elsewhere already: a volume that moves again gets a new way, behind the one before.
    pub fn lead_to(&self, next: Rc<dyn Volume>) {
        assert!(self.next.set(next).is_ok(), "a way leads on to one place");
    }

    /// Whether the volume is still where the way began.
    pub fn is_at_first(&self) -> bool {
        self.next.get().is_none()
    }

    fn end(&self) -> &dyn Volume {
        self.next.get().map_or(&*self.first, |next| &**next)
    }
}

impl Volume for Route {
    fn info(&self) -> VolumeInfo {
        self.end().info()
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        self.end().read(offset, length)
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.end().write(offset, data, flags)
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.end().write_atomic(offset, data, flags)
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        self.end().compare_and_write(offset, expected, data, flags)
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        self.end().write_zeroes(offset, length, mode, flags)
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        self.end().discard(offset, length, flags)
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        self.end().flush()
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        self.end().extents(offset, length, extents_max)
    }
}
