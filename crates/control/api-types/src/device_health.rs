//! How a device answers, and what its drive says of itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// How long requests of one kind took. Percentiles are at most an eighth too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LatencyFigures {
    /// How many there were.
    pub count: u64,
    /// Their mean, in microseconds.
    pub mean_us: u64,
    /// What half of them did not exceed, in microseconds.
    pub p50_us: u64,
    /// What 99 of 100 did not exceed, in microseconds.
    pub p99_us: u64,
    /// What 999 of 1000 did not exceed, in microseconds.
    pub p999_us: u64,
}

/// How long a device took for what it was asked for in the last minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DeviceLatency {
    /// Reads.
    pub read: LatencyFigures,
    /// Writes.
    pub write: LatencyFigures,
    /// Flushes.
    pub flush: LatencyFigures,
}

words! {
    /// How well a drive is by its own account (S.M.A.R.T.).
    pub enum DriveVerdict {
        /// Nothing speaks against it.
        Ok = "ok",
        /// It has begun to wear out or to lose places.
        Warning = "warning",
        /// It says that it is about to fail, or has.
        Failing = "failing",
        /// It says nothing, or cannot be asked; see `unknown`.
        Unknown = "unknown",
    }
}

/// What the drive below a device says of itself, by smartctl. Figures that it does not know are absent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DriveHealth {
    /// How well it is.
    pub verdict: DriveVerdict,
    /// What speaks against it, the worst first.
    pub causes: Vec<String>,
    /// Why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// When it was asked.
    pub asked: Timestamp,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<i64>,
    /// Hours for which it has been on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_on_hours: Option<u64>,
    /// How much of its rated wear is used, in percent; may exceed 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wear_percent: Option<u64>,
    /// Sectors that it has replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reallocated: Option<u64>,
    /// Sectors that it cannot read and has not replaced yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Reads or writes that it could not correct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_errors: Option<u64>,
}
