//! Figures of how the devices of pools are, and what their drives say of themselves. A pool has 64 at most.

use quarry_api_types::{DriveVerdict, Pool, PoolDevice};

use super::exposition::{self, Family, labels};

const STATE: Family = ("quarry_device_state", "gauge", "1 for the state in which a device of a pool is.");
const HEALTH: Family =
    ("quarry_device_health", "gauge", "How well a device is: 0 well, 1 a warning, 2 critical.");
const LATE: Family = (
    "quarry_device_late_writes",
    "gauge",
    "Writes that were given up because the device did not answer, and that it may still carry out.",
);
const DRIVE_VERDICT: Family = (
    "quarry_drive_verdict",
    "gauge",
    "What a drive says of itself by S.M.A.R.T.: 0 well, 1 it wears out, 2 it is failing. Absent when it says nothing.",
);
const DRIVE_WEAR: Family =
    ("quarry_drive_wear_percent", "gauge", "How much of its rated wear a drive has used.");
const DRIVE_CELSIUS: Family = ("quarry_drive_temperature_celsius", "gauge", "How warm a drive is.");

pub(super) fn put(text: &mut String, pools: &[Pool]) {
    let devices =
        || pools.iter().flat_map(|pool| pool.devices.iter().map(move |device| (&pool.name, device)));
    let mut by_device = |family: Family, value: fn(&PoolDevice) -> Option<u64>| {
        let samples = devices().filter_map(|(pool, device)| {
            Some((labels(&[("pool", pool), ("device", &device.path)]), value(device)?))
        });
        exposition::put(text, family, samples);
    };
    by_device(HEALTH, |device| Some(device.health.level as u64));
    by_device(LATE, |device| Some(device.late_writes));
    by_device(DRIVE_VERDICT, |device| match device.drive.as_ref()?.verdict {
        DriveVerdict::Unknown => None,
        verdict => Some(verdict as u64),
    });
    by_device(DRIVE_WEAR, |device| device.drive.as_ref()?.wear_percent);
    by_device(DRIVE_CELSIUS, |device| device.drive.as_ref()?.temperature_celsius?.try_into().ok());
    let states = devices().map(|(pool, device)| {
        (labels(&[("pool", pool), ("device", &device.path), ("state", &device.state)]), 1)
    });
    exposition::put(text, STATE, states);
}
