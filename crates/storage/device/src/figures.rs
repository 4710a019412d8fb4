//! What a device does, and how long it takes for it: counted on each core that has it open, added up elsewhere.

use std::ops::AddAssign;

use quarry_histogram::Distribution;

use crate::error::Operation;
use crate::{Device, DeviceStats};

/// How long operations took that were answered, well or with an error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Latencies([Distribution; Operation::ALL.len()]);

impl Latencies {
    /// Those of one operation.
    pub fn of(&self, operation: Operation) -> &Distribution {
        &self.0[operation as usize]
    }

    /// Adds to those of one operation.
    pub fn add(&mut self, operation: Operation, more: &Distribution) {
        self.0[operation as usize] += more;
    }

    /// What came since `earlier`, a former state of these.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|place| self.0[place].since(&earlier.0[place])))
    }
}

impl AddAssign<&Latencies> for Latencies {
    fn add_assign(&mut self, other: &Latencies) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }
}

/// What one core, or several, have done with a device since they opened it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceFigures {
    /// How many, and how much.
    pub stats: DeviceStats,
    /// How long operations took, those that failed included.
    pub latencies: Latencies,
    /// Operations that somebody waits for.
    pub in_flight: u32,
}

impl AddAssign<&DeviceFigures> for DeviceFigures {
    fn add_assign(&mut self, other: &DeviceFigures) {
        self.stats += other.stats;
        self.latencies += &other.latencies;
        self.in_flight += other.in_flight;
    }
}

impl Device {
    /// What this core has done with it.
    pub fn figures(&self) -> DeviceFigures {
        DeviceFigures { stats: self.stats(), latencies: self.latencies(), in_flight: self.waiting() as u32 }
    }
}
