//! What happens just now, in tables.

use quarry_api_types::{DeviceStats, Job, NodeStats, SlowRequest, SlowRequests, VolumeStats};

use super::{number, table, text};
use crate::rates::{Rate, bytes, count, seconds_between, short, volume_before};

/// Of lines that follow each other; as wide as [`volume_line`].
pub const HEADING: &str = "VOLUME                    READ/S  WRITE/S     READ   WRITTEN  READ P50  READ P99  WRITE P50  WRITE P99  FLUSH P99  IN FLIGHT  ERRORS";

/// A volume in two looks.
pub struct Look<'s> {
    pub before: Option<&'s VolumeStats>,
    pub now: &'s VolumeStats,
    pub seconds: f64,
}

/// What hosts do with a volume.
pub struct VolumeRates {
    pub read: Rate,
    pub write: Rate,
    pub other: Rate,
    pub flush: Rate,
}

impl Look<'_> {
    pub fn rates(&self) -> VolumeRates {
        let Self { before, now, seconds } = self;
        let rate = |of: fn(&VolumeStats) -> &quarry_api_types::OperationStats| {
            Rate::between(before.map(of), of(now), *seconds)
        };
        let (zero, discard) = (rate(|stats| &stats.zero), rate(|stats| &stats.discard));
        VolumeRates {
            read: rate(|stats| &stats.read),
            write: rate(|stats| &stats.write),
            other: zero.and(&discard),
            flush: rate(|stats| &stats.flush),
        }
    }
}

impl VolumeRates {
    pub fn errors(&self) -> u64 {
        self.read.errors + self.write.errors + self.other.errors + self.flush.errors
    }
}

/// What hosts do with each volume, a row each.
pub fn volumes(before: &NodeStats, now: &NodeStats) -> String {
    let seconds = seconds_between(before.at, now.at);
    let row = |volume: &VolumeStats| {
        let rates = Look { before: volume_before(before, volume), now: volume, seconds }.rates();
        vec![
            text(&volume.volume),
            number(count(rates.read.per_second)),
            number(count(rates.write.per_second)),
            number(bytes(rates.read.bytes_per_second)),
            number(bytes(rates.write.bytes_per_second)),
            number(short(rates.read.latency.quantile(0.5))),
            number(short(rates.read.latency.quantile(0.99))),
            number(short(rates.write.latency.quantile(0.5))),
            number(short(rates.write.latency.quantile(0.99))),
            number(short(rates.flush.latency.quantile(0.99))),
            number(volume.in_flight),
            number(rates.errors()),
        ]
    };
    let headings = [
        "VOLUME",
        ">READ/S",
        ">WRITE/S",
        ">READ",
        ">WRITTEN",
        ">READ P50",
        ">READ P99",
        ">WRITE P50",
        ">WRITE P99",
        ">FLUSH P99",
        ">IN FLIGHT",
        ">ERRORS",
    ];
    table(&headings, now.volumes.iter().map(row))
}

/// A volume in one line of many.
pub fn volume_line(look: &Look<'_>) -> String {
    let rates = look.rates();
    format!(
        "{:<24} {:>7}  {:>7} {:>8}  {:>8}  {:>8}  {:>8}  {:>9}  {:>9}  {:>9}  {:>9}  {:>6}",
        look.now.volume.as_str(),
        count(rates.read.per_second),
        count(rates.write.per_second),
        bytes(rates.read.bytes_per_second),
        bytes(rates.write.bytes_per_second),
        short(rates.read.latency.quantile(0.5)),
        short(rates.read.latency.quantile(0.99)),
        short(rates.write.latency.quantile(0.5)),
        short(rates.write.latency.quantile(0.99)),
        short(rates.flush.latency.quantile(0.99)),
        look.now.in_flight,
        rates.errors(),
    )
}

/// What hosts do with each pool, and what its devices do.
pub fn node(before: &NodeStats, now: &NodeStats) -> String {
    let seconds = seconds_between(before.at, now.at);
    let pools = now.pools.iter().map(|pool| {
        let last = before.pools.iter().find(|known| known.pool_id == pool.pool_id);
        let read = Rate::between(last.map(|last| &last.read), &pool.read, seconds);
        let write = Rate::between(last.map(|last| &last.write), &pool.write, seconds);
        vec![
            text(&pool.pool),
            number(count(read.per_second)),
            number(count(write.per_second)),
            number(bytes(read.bytes_per_second)),
            number(bytes(write.bytes_per_second)),
            number(short(read.latency.quantile(0.99))),
            number(short(write.latency.quantile(0.99))),
        ]
    });
    let headings = ["POOL", ">READ/S", ">WRITE/S", ">READ", ">WRITTEN", ">READ P99", ">WRITE P99"];
    format!("\n{}\n{}", table(&headings, pools), devices(before, now))
}

/// What devices do.
pub fn devices(before: &NodeStats, now: &NodeStats) -> String {
    let seconds = seconds_between(before.at, now.at);
    let row = |device: &DeviceStats| {
        let last = before.devices.iter().find(|known| known.device_id == device.device_id);
        let read = Rate::between(last.map(|last| &last.read), &device.read, seconds);
        let write = Rate::between(last.map(|last| &last.write), &device.write, seconds);
        let flush = Rate::between(last.map(|last| &last.flush), &device.flush, seconds);
        vec![
            text(&device.path),
            text(&device.pool),
            number(count(read.per_second)),
            number(count(write.per_second)),
            number(bytes(read.bytes_per_second)),
            number(bytes(write.bytes_per_second)),
            number(short(read.latency.quantile(0.99))),
            number(short(write.latency.quantile(0.99))),
            number(short(flush.latency.quantile(0.99))),
            number(device.in_flight),
            number(device.errors),
        ]
    };
    let headings = [
        "DEVICE",
        "POOL",
        ">READ/S",
        ">WRITE/S",
        ">READ",
        ">WRITTEN",
        ">READ P99",
        ">WRITE P99",
        ">FLUSH P99",
        ">IN FLIGHT",
        ">ERRORS",
    ];
    table(&headings, now.devices.iter().map(row))
}

/// Jobs that are under way.
pub fn work(jobs: &[Job]) -> String {
    if jobs.is_empty() {
        return "\nNo work is under way.\n".to_owned();
    }
    format!("\n{}", super::jobs::jobs(jobs))
}

/// Requests that took too long.
pub fn slow(slow: &SlowRequests) -> String {
    let row = |request: &SlowRequest| {
        let stage = |time: &quarry_api_types::StageTime| {
            format!("{} {}", time.stage, short(Some(std::time::Duration::from_micros(time.us))))
        };
        let stages = request.stages.iter().map(stage).collect::<Vec<_>>().join(", ");
        vec![
            text(request.at),
            text(&request.volume),
            text(request.operation),
            number(request.offset),
            number(request.length),
            number(short(Some(std::time::Duration::from_micros(request.took_us)))),
            text(if stages.is_empty() { "-".to_owned() } else { stages }),
            text(if request.failed { "failed" } else { "done" }),
        ]
    };
    let headings = ["AT", "VOLUME", "OPERATION", ">OFFSET", ">LENGTH", ">TOOK", "WAITED FOR", "END"];
    let said = match slow.threshold_ms {
        0 => "Nothing is told of: quarryd was started with --slow-request-ms 0.".to_owned(),
        ms => format!("{} requests took {ms} ms or longer since the start.", slow.count),
    };
    format!("{}\n{said}\n", table(&headings, slow.requests.iter().map(row)))
}
