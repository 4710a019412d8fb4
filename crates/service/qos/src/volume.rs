//! A volume whose operations wait for their turn.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use quarry_env::View;
use quarry_volume::{Comparison, Extent, Result, Views, Volume, VolumeInfo, WriteFlags, ZeroMode};

use crate::core::Gate;
use crate::cost::Cost;

/// A volume behind a gate. While that is open each operation goes straight to the volume below.
pub struct QosVolume {
    below: Rc<dyn Volume>,
    gate: Rc<Gate>,
}

impl QosVolume {
    /// `below` behind `gate`.
    pub fn new(below: Rc<dyn Volume>, gate: Rc<Gate>) -> Rc<Self> {
        Rc::new(Self { below, gate })
    }

    /// Does `operation` when it is its turn. The volume below hears of it then, and not before.
    #[cold]
    fn in_turn<'a, T: 'a>(
        &'a self,
        cost: Cost,
        operation: impl FnOnce(&'a dyn Volume) -> LocalBoxFuture<'a, Result<T>> + 'a,
    ) -> LocalBoxFuture<'a, Result<T>> {
        Box::pin(async move {
            let _turn = self.gate.turn(cost).await;
            operation(&*self.below).await
        })
    }
}

impl Volume for QosVolume {
    fn info(&self) -> VolumeInfo {
        self.below.info()
    }

    fn read(&self, offset: u64, length: u32) -> LocalBoxFuture<'_, Result<Views>> {
        if self.gate.is_open() {
            return self.below.read(offset, length);
        }
        self.in_turn(Cost::of_bytes(length.into()), move |below| below.read(offset, length))
    }

    fn write(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        if self.gate.is_open() {
            return self.below.write(offset, data, flags);
        }
        self.in_turn(Cost::of_bytes(data.len() as u64), move |below| below.write(offset, data, flags))
    }

    fn write_atomic(&self, offset: u64, data: View, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        if self.gate.is_open() {
            return self.below.write_atomic(offset, data, flags);
        }
        self.in_turn(Cost::of_bytes(data.len() as u64), move |below| below.write_atomic(offset, data, flags))
    }

    fn compare_and_write(
        &self,
        offset: u64,
        expected: View,
        data: View,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<Comparison>> {
        if self.gate.is_open() {
            return self.below.compare_and_write(offset, expected, data, flags);
        }
        // It reads as much as it writes.
        let cost = Cost::of_bytes((expected.len() + data.len()) as u64);
        self.in_turn(cost, move |below| below.compare_and_write(offset, expected, data, flags))
    }

    fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        mode: ZeroMode,
        flags: WriteFlags,
    ) -> LocalBoxFuture<'_, Result<()>> {
        if self.gate.is_open() {
            return self.below.write_zeroes(offset, length, mode, flags);
        }
        let cost = match mode {
            ZeroMode::MayUnmap => Cost::of_freed(length),
            ZeroMode::KeepAllocated => Cost::of_bytes(length),
        };
        self.in_turn(cost, move |below| below.write_zeroes(offset, length, mode, flags))
    }

    fn discard(&self, offset: u64, length: u64, flags: WriteFlags) -> LocalBoxFuture<'_, Result<()>> {
        if self.gate.is_open() {
            return self.below.discard(offset, length, flags);
        }
        self.in_turn(Cost::of_freed(length), move |below| below.discard(offset, length, flags))
    }

    fn flush(&self) -> LocalBoxFuture<'_, Result<()>> {
        if self.gate.is_open() {
            return self.below.flush();
        }
        // It covers what had completed when it was asked for; what waits in front of it had not.
        self.in_turn(Cost::of_order(), Volume::flush)
    }

    fn extents(
        &self,
        offset: u64,
        length: u64,
        extents_max: usize,
    ) -> LocalBoxFuture<'_, Result<Vec<Extent>>> {
        if self.gate.is_open() {
            return self.below.extents(offset, length, extents_max);
        }
        self.in_turn(Cost::of_order(), move |below| below.extents(offset, length, extents_max))
    }
}
