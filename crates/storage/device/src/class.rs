//! What a device is made of, by measured latency first and by what the operating system says second.

use std::time::Duration;

use quarry_env::{Disk, DiskKind, Env};
use quarry_format::label::DeviceClass;

/// Reads that a measurement takes.
const SAMPLES: usize = 32;
const SAMPLE_BYTES: u64 = 4096;

/// A read of 4 KiB that is quicker than this did not cross a storage bus.
const PMEM_BELOW: Duration = Duration::from_micros(6);
/// Quicker than this is what NVMe does; SATA and SAS flash take longer.
const NVME_BELOW: Duration = Duration::from_micros(150);
/// No head moves in less than this.
const SEEK_ABOVE: Duration = Duration::from_millis(1);

/// The class of a disk that the system calls `rotational` or not, or says nothing about, and whose random 4 KiB reads
/// have this median latency, where it is known.
///
/// The latency overrules the system: virtual disks are called rotational whatever is behind them.
/// [`DeviceClass::Object`] is never the answer: an object store is known by how it is reached.
pub fn classify(rotational: Option<bool>, median: Option<Duration>) -> DeviceClass {
    match (rotational, median) {
        (Some(true), None) => DeviceClass::Hdd,
        (Some(false), None) => DeviceClass::Ssd,
        (None, None) => DeviceClass::Unknown,
        (Some(false), Some(median)) if median >= NVME_BELOW => DeviceClass::Ssd,
        (_, Some(median)) if median < PMEM_BELOW => DeviceClass::Pmem,
        (_, Some(median)) if median < NVME_BELOW => DeviceClass::Nvme,
        (_, Some(median)) if median < SEEK_ABOVE => DeviceClass::Ssd,
        (_, Some(_)) => DeviceClass::Hdd,
    }
}

/// Measures a disk and gives its class.
///
/// Only reads of a block device past the system's cache, or over a network, are timed: a file may have holes, which are read without its
/// disk being asked. A read that fails ends the measurement; the disk is then judged by what the system says.
pub async fn measure_class(env: &Env, disk: &dyn Disk) -> DeviceClass {
    let geometry = disk.geometry();
    match geometry.kind {
        DiskKind::Object => return DeviceClass::Object,
        DiskKind::Pmem => return DeviceClass::Pmem,
        DiskKind::File | DiskKind::Block | DiskKind::Network => {}
    }
    let median = match (geometry.kind, geometry.direct) {
        (DiskKind::Block | DiskKind::Network, true) => median_latency(env, disk).await,
        _ => None,
    };
    classify(geometry.rotational, median)
}

async fn median_latency(env: &Env, disk: &dyn Disk) -> Option<Duration> {
    let places = disk.geometry().size_bytes / SAMPLE_BYTES;
    if places == 0 {
        return None;
    }
    let mut latencies = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let offset = env.random.next_u64() % places * SAMPLE_BYTES;
        let buffer = env.buffers.allocate(SAMPLE_BYTES as usize);
        let started = env.clock.now();
        disk.read(offset, buffer).await.1.ok()?;
        latencies.push(env.clock.now().saturating_sub(started));
    }
    latencies.sort_unstable();
    Some(latencies[SAMPLES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_overrules_the_system_and_the_system_decides_without_it() {
        use DeviceClass::{Hdd, Nvme, Pmem, Ssd, Unknown};
        let micros = |micros| Some(Duration::from_micros(micros));
        for (rotational, median, class) in [
            (None, None, Unknown),
            (Some(true), None, Hdd),
            (Some(false), None, Ssd),
            (None, micros(2), Pmem),
            (Some(false), micros(2), Pmem),
            (Some(false), micros(80), Nvme),
            (Some(true), micros(80), Nvme),
            (None, micros(300), Ssd),
            (Some(true), micros(300), Ssd),
            (Some(false), micros(300), Ssd),
            (Some(true), micros(8_000), Hdd),
            (None, micros(8_000), Hdd),
            (Some(false), micros(8_000), Ssd),
        ] {
            assert_eq!(classify(rotational, median), class, "{rotational:?} {median:?}");
        }
    }
}
