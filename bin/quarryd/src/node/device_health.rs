//! How a device of a pool does: its state, what speaks against it and what to do about that. Judged from what the pool has seen of it
//! and what its drive says of itself.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use quarry_api_types::{
    Cause, DeviceKind, DeviceLatency, DriveHealth, DriveVerdict, Health, HealthLevel, LatencyFigures,
    PoolDevice, PoolDeviceState,
};
use quarry_device::Operation;
use quarry_histogram::Distribution;
use quarry_pool::{DeviceHealth, DeviceStatus, Slowness};
use quarry_types::limits::{NETWORK_SCHEMES, PMEM_SCHEME, S3_SCHEME};

use super::pools::class;

/// What a core knows of a device that is open there.
pub(super) struct MemberFacts {
    pub(super) kind: DeviceKind,
    /// What it has failed last, if it has failed anything.
    pub(super) fault: Option<String>,
    pub(super) size_bytes: u64,
    pub(super) sector_bytes: u32,
    pub(super) health: DeviceHealth,
    /// Whether its path leads elsewhere by now.
    pub(super) has_strayed: bool,
}

impl MemberFacts {
    /// Whether it does not answer and nothing else has what hosts want.
    pub(super) fn makes_hosts_wait(&self) -> bool {
        self.health.is_needed && self.health.silent.is_some()
    }
}

/// A device of an open pool.
pub(super) fn member(
    device: &DeviceStatus,
    facts: Option<&MemberFacts>,
    used_bytes: u64,
    drive: Option<DriveHealth>,
) -> PoolDevice {
    let state = state(device, facts, used_bytes);
    let mut causes = facts.map(|facts| causes(state, facts)).unwrap_or_default();
    causes.extend(state_cause(state, device));
    causes.extend(drive.as_ref().and_then(drive_cause));
    let health = facts.map(|facts| &facts.health);
    PoolDevice {
        id: device.id,
        path: device.path.display().to_string(),
        kind: facts.map_or_else(|| kind_at(&device.path), |facts| facts.kind),
        class: class(device.class),
        state,
        size_bytes: facts.map_or(0, |facts| facts.size_bytes),
        used_bytes,
        removing: false,
        health: Health::from_causes(causes),
        latency: health.map(latency).unwrap_or_default(),
        in_flight: health.map_or(0, |health| health.waiting),
        late_writes: health.map_or(0, |health| u64::from(health.late_changes)),
        drive,
    }
}

/// What a device is, by what its path says alone: it is not there.
pub(super) fn kind_at(path: &Path) -> DeviceKind {
    let begins_with = |scheme: &str| path.as_os_str().as_bytes().starts_with(scheme.as_bytes());
    if NETWORK_SCHEMES.into_iter().any(begins_with) {
        DeviceKind::Network
    } else if begins_with(S3_SCHEME) {
        DeviceKind::Object
    } else if begins_with(PMEM_SCHEME) {
        DeviceKind::Pmem
    } else if path.starts_with("/dev") {
        DeviceKind::Block
    } else {
        DeviceKind::File
    }
}

/// Whether a path is an address of something that another machine serves.
pub(super) fn is_served(path: &Path) -> bool {
    matches!(kind_at(path), DeviceKind::Network | DeviceKind::Object)
}

fn state(device: &DeviceStatus, facts: Option<&MemberFacts>, used_bytes: u64) -> PoolDeviceState {
    let Some(facts) = facts else { return PoolDeviceState::Missing };
    let health = &facts.health;
    let is_suspect =
        facts.fault.is_some() || facts.has_strayed || health.slow.is_some() || health.silent.is_some();
    match &device.failure {
        Some(_) if health.answers_again => PoolDeviceState::Returned,
        Some(_) => PoolDeviceState::Failed,
        None if device.leaving && used_bytes == 0 => PoolDeviceState::Drained,
        None if device.leaving => PoolDeviceState::Draining,
        None if is_suspect => PoolDeviceState::Suspect,
        None => PoolDeviceState::Online,
    }
}

fn cause(level: HealthLevel, message: impl Into<String>, next_step: &str) -> Cause {
    Cause { level, message: message.into(), next_step: next_step.to_owned() }
}

/// What its state says.
fn state_cause(state: PoolDeviceState, device: &DeviceStatus) -> Option<Cause> {
    let why = || device.failure.clone().unwrap_or_else(|| "nobody knows why".to_owned());
    let (level, message, next_step) = match state {
        PoolDeviceState::Online | PoolDeviceState::Suspect => return None,
        PoolDeviceState::Draining => (
            HealthLevel::Warning,
            "it is being drained".to_owned(),
            "Wait until it is drained; nothing needs to be done.",
        ),
        PoolDeviceState::Drained => (
            HealthLevel::Warning,
            "it is drained: nothing is placed on it".to_owned(),
            "Remove it (`quarry device remove`), or use it again (`quarry device drain --cancel`).",
        ),
        PoolDeviceState::Missing => (
            HealthLevel::Critical,
            why(),
            "Bring it back: it is used again by itself, or by `quarry device return`.",
        ),
        PoolDeviceState::Failed => (
            HealthLevel::Critical,
            format!("it was taken out of use: {}", why()),
            "Replace it (`quarry device replace`), or use it again if it is well (`quarry device return`).",
        ),
        PoolDeviceState::Returned => (
            HealthLevel::Warning,
            format!("it was taken out of use ({}), and answers again", why()),
            "Nothing needs to be done: it is used again by itself, five times at most; then by `quarry device return`.",
        ),
    };
    Some(cause(level, message, next_step))
}

/// What the pool has seen.
fn causes(state: PoolDeviceState, facts: &MemberFacts) -> Vec<Cause> {
    let health = &facts.health;
    let mut causes = Vec::new();
    if let Some(slow) = &health.slow {
        causes.push(slow_cause(slow));
    }
    if let Some((what, time)) = &health.silent {
        let message = format!("it has not answered a {} for {} s", what.operation, time.as_secs());
        causes.push(match health.is_needed {
            true => cause(
                HealthLevel::Critical,
                format!("{message}; something is on it alone, so hosts wait for it"),
                "Bring back what leads to it (cabling, path, server). Nothing else has that data.",
            ),
            false => cause(
                HealthLevel::Warning,
                message,
                "Look at it and at what leads to it. If it does not answer in time it is taken out of use.",
            ),
        });
    }
    if facts.has_strayed && !matches!(state, PoolDeviceState::Failed | PoolDeviceState::Returned) {
        causes.push(cause(
            HealthLevel::Critical,
            "its path is gone, or leads to something else: nobody finds it when quarryd is started again",
            "Replace it while it can still be read (`quarry device replace`); where it was only renamed, give it its name again.",
        ));
    }
    if health.late_changes > 0 {
        causes.push(cause(
            HealthLevel::Warning,
            format!("it may still carry out {} writes that it was sent", health.late_changes),
            "It is used again when they have ended. Where they never will, restart quarryd, or replace the device.",
        ));
    }
    let is_used = matches!(state, PoolDeviceState::Suspect | PoolDeviceState::Draining);
    if let Some(fault) = facts.fault.as_ref().filter(|_| is_used) {
        let message = format!("it has failed an operation: {fault}");
        causes.push(cause(HealthLevel::Warning, message, "Check its cabling and its S.M.A.R.T. figures."));
    }
    causes
}

fn slow_cause(slow: &Slowness) -> Cause {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let Slowness { operation, mean, p99, peers_mean, peers_p99 } = *slow;
    cause(
        HealthLevel::Warning,
        format!(
            "it is slow: a {operation} takes {} (99 of 100 {}), and {} ({}) on its peers; reads avoid it where another copy is",
            millis(mean),
            millis(p99),
            millis(peers_mean),
            millis(peers_p99)
        ),
        "Look at its S.M.A.R.T. figures and its cabling, and at what else uses it; if it stays slow, replace it (`quarry device replace`).",
    )
}

/// What a drive says against itself, in a sentence.
pub(super) fn drive_cause(drive: &DriveHealth) -> Option<Cause> {
    let causes = drive.causes.join("; ");
    match drive.verdict {
        DriveVerdict::Ok | DriveVerdict::Unknown => None,
        DriveVerdict::Warning => Some(cause(
            HealthLevel::Warning,
            format!("its drive wears out: {causes}"),
            "Have another one ready. If the figures rise, replace it (`quarry device replace`).",
        )),
        DriveVerdict::Failing => Some(cause(
            HealthLevel::Critical,
            format!("its drive is failing: {causes}"),
            "Replace it while it can still be read (`quarry device replace`).",
        )),
    }
}

fn latency(health: &DeviceHealth) -> DeviceLatency {
    let of = |operation| figures(health.last_minute.of(operation));
    DeviceLatency { read: of(Operation::Read), write: of(Operation::Write), flush: of(Operation::Flush) }
}

fn figures(latencies: &Distribution) -> LatencyFigures {
    let micros = |time: Option<Duration>| time.map_or(0, |time| time.as_micros() as u64);
    let quantile_us = |quantile| micros(latencies.quantile(quantile));
    LatencyFigures {
        count: latencies.count(),
        mean_us: micros(latencies.mean()),
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        p999_us: quantile_us(0.999),
    }
}

#[cfg(test)]
mod tests;
