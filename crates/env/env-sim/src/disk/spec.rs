//! What a disk is like.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use quarry_env::{DiskGeometry, DiskKind};

use crate::dice::{Dice, nanos};
use crate::fault::FaultRates;

use super::spindle::Spindle;

/// How long operations of a disk take. Each is drawn by itself, so operations overtake each other.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Time of an operation without its bytes.
    pub base: Range<Duration>,
    /// Additional time for each MiB.
    pub per_mib: Duration,
    /// Time of a flush.
    pub flush: Range<Duration>,
    /// Chance of an operation that takes `slow` more.
    pub slow_chance: f64,
    /// How much longer those take.
    pub slow: Range<Duration>,
}

impl Latency {
    /// A solid-state disk: 20 to 120 us, 1 GiB/s, now and then some milliseconds.
    pub fn fast() -> Self {
        Self {
            base: Duration::from_micros(20)..Duration::from_micros(120),
            per_mib: Duration::from_millis(1),
            flush: Duration::from_micros(50)..Duration::from_millis(1),
            slow_chance: 0.01,
            slow: Duration::from_millis(1)..Duration::from_millis(8),
        }
    }

    /// A spinning disk: 2 to 15 ms, 128 MiB/s.
    pub fn rotating() -> Self {
        Self {
            base: Duration::from_millis(2)..Duration::from_millis(15),
            per_mib: Duration::from_millis(8),
            flush: Duration::from_millis(5)..Duration::from_millis(30),
            slow_chance: 0.005,
            slow: Duration::from_millis(50)..Duration::from_millis(500),
        }
    }

    /// A disk in trouble: mostly quick, with stalls of up to 2 s.
    pub fn stalling() -> Self {
        Self { slow_chance: 0.05, slow: Duration::from_millis(50)..Duration::from_secs(2), ..Self::fast() }
    }

    pub(crate) fn draw_transfer(&self, bytes: u64, dice: &Dice) -> u64 {
        let transfer = (u128::from(nanos(self.per_mib)) * u128::from(bytes)) >> 20;
        dice.nanos(&self.base) + transfer as u64 + self.draw_slow(dice)
    }

    pub(crate) fn draw_flush(&self, dice: &Dice) -> u64 {
        dice.nanos(&self.flush) + self.draw_slow(dice)
    }

    fn draw_slow(&self, dice: &Dice) -> u64 {
        if dice.chance(self.slow_chance) { dice.nanos(&self.slow) } else { 0 }
    }
}

/// Everything about a disk but its content.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Alignment of offsets, lengths and buffers: 512 or 4096.
    pub sector_bytes: u32,
    /// See [`DiskGeometry::preferred_bytes`].
    pub preferred_bytes: u32,
    /// See [`DiskGeometry::rotational`].
    pub rotational: Option<bool>,
    /// File or block device.
    pub kind: DiskKind,
    /// Who else uses the disk: [`quarry_env::Disks::scan`] says so, and an exclusive open is refused.
    pub in_use: Option<String>,
    /// Times; those of reads and writes only where there is no spindle.
    pub latency: Latency,
    /// A spinning disk does one read or write at a time, which takes what its head takes.
    pub spindle: Option<Spindle>,
    /// Bytes that may wait in the volatile cache before the oldest become durable by themselves; 0 is a disk that loses
    /// nothing that it has completed.
    pub cache_bytes: u64,
    /// What a power failure keeps or loses as one: 512 or 4096.
    pub atomic_bytes: u32,
    /// Chance that a power failure breaks a sector in the middle, which disks promise not to do.
    pub sector_tear: f64,
    /// What breaks by chance, as far as the [`crate::FaultPlan`] allows.
    pub faults: FaultRates,
}

impl Default for DiskSpec {
    /// A fast block device of 64 MiB with 512-byte sectors and a volatile cache of 16 MiB, without faults.
    fn default() -> Self {
        Self {
            size_bytes: 64 << 20,
            sector_bytes: 512,
            preferred_bytes: 4096,
            rotational: Some(false),
            kind: DiskKind::Block,
            in_use: None,
            latency: Latency::fast(),
            spindle: None,
            cache_bytes: 16 << 20,
            atomic_bytes: 512,
            sector_tear: 0.0,
            faults: FaultRates::none(),
        }
    }
}

impl DiskSpec {
    /// The default with another size.
    pub fn of_size(size_bytes: u64) -> Self {
        Self { size_bytes, ..Self::default() }
    }

    pub(crate) fn geometry(&self) -> DiskGeometry {
        DiskGeometry {
            kind: self.kind,
            size_bytes: self.size_bytes,
            sector_bytes: self.sector_bytes,
            preferred_bytes: self.preferred_bytes,
            rotational: self.rotational,
            direct: true,
            identity: None,
        }
    }

    /// # Panics
    /// When the sizes do not fit each other.
    pub(crate) fn check(&self) {
        assert!(matches!(self.sector_bytes, 512 | 4096), "sectors have 512 or 4096 bytes");
        assert!(
            matches!(self.atomic_bytes, 512 | 4096),
            "power fails between multiples of 512 or 4096 bytes"
        );
        let sectors = u64::from(self.sector_bytes);
        assert!(self.size_bytes > 0 && self.size_bytes.is_multiple_of(sectors), "a disk has whole sectors");
    }
}

/// A directory in which files can be created as disks.
#[derive(Clone, Debug)]
pub struct DirectorySpec {
    /// Bytes of its file system.
    pub capacity_bytes: u64,
    /// What its files are like, except for their size and kind.
    pub files: DiskSpec,
}

/// A directory and where it is.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) spec: DirectorySpec,
}
