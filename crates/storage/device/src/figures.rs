//! What a device does, and how long it takes for it: counted on each core that has it open, added up elsewhere.

use std::cell::Cell;
use std::io;
use std::ops::{AddAssign, Deref};
use std::time::Duration;

use quarry_histogram::{Distribution, Histogram};

use crate::error::{DeviceError, Operation};
use crate::{Device, DeviceStats};

const OPERATIONS: usize = Operation::ALL.len();

/// How long the operations of a core took, and how many have not ended.
#[derive(Default)]
pub(crate) struct Latencies {
    operations: [Histogram; OPERATIONS],
    in_flight: Cell<u32>,
}

/// An operation that is in flight until this is dropped. One whose future is dropped is no longer counted, as [`Device`] says.
pub(crate) struct UnderWay<D: Deref<Target = Device>> {
    device: D,
    operation: Operation,
    offset: u64,
    length: u64,
    begun: Duration,
}

impl<D: Deref<Target = Device>> UnderWay<D> {
    pub(crate) fn begin(device: D, operation: Operation, offset: u64, length: u64) -> Self {
        let in_flight = &device.latencies.in_flight;
        in_flight.set(in_flight.get() + 1);
        let begun = device.clock.turn();
        Self { device, operation, offset, length, begun }
    }

    /// It has ended.
    pub(crate) fn finish(self, result: io::Result<()>) -> Result<(), DeviceError> {
        let took = self.device.clock.turn().saturating_sub(self.begun);
        self.device.latencies.operations[self.operation as usize].record(took);
        self.device.finish(self.operation, self.offset, self.length, result)
    }
}

impl<D: Deref<Target = Device>> Drop for UnderWay<D> {
    fn drop(&mut self) {
        let in_flight = &self.device.latencies.in_flight;
        in_flight.set(in_flight.get() - 1);
    }
}

/// What one core, or several, have done with a device since they opened it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceFigures {
    /// How many, and how much.
    pub stats: DeviceStats,
    latencies: [Distribution; OPERATIONS],
    /// Operations that it has not answered yet.
    pub in_flight: u32,
}

impl DeviceFigures {
    /// How long operations took, those that failed included.
    pub fn latency(&self, operation: Operation) -> &Distribution {
        &self.latencies[operation as usize]
    }
}

impl AddAssign<&DeviceFigures> for DeviceFigures {
    fn add_assign(&mut self, other: &DeviceFigures) {
        self.stats += other.stats;
        for (sum, more) in self.latencies.iter_mut().zip(&other.latencies) {
            *sum += more;
        }
        self.in_flight += other.in_flight;
    }
}

impl Device {
    /// What this core has done with it.
    pub fn figures(&self) -> DeviceFigures {
        let Latencies { operations, in_flight } = &self.latencies;
        let latencies = operations.each_ref().map(Histogram::distribution);
        DeviceFigures { stats: self.stats(), latencies, in_flight: in_flight.get() }
    }
}
