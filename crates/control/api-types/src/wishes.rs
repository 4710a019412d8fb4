//! What a policy may ask for that this version stores and does not carry out: protection of a volume by itself, tiers, quality of
//! service, replication.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

words! {
    /// Where a volume's data is to lie.
    pub enum Tier {
        /// Wherever it is used enough for.
        Automatic = "automatic",
        /// Persistent memory.
        Pmem = "pmem",
        /// NVMe.
        Nvme = "nvme",
        /// Other solid-state disks.
        Ssd = "ssd",
        /// Spinning disks.
        Hdd = "hdd",
        /// An object store.
        Object = "object",
    }
}

/// What a volume is to get of the node's performance. What is absent is not bounded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityOfService {
    /// I/Os a second that it gets, whatever others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_min: Option<u64>,
    /// I/Os a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_max: Option<u64>,
    /// Bytes a second that it gets, whatever others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s_min: Option<u64>,
    /// Bytes a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s_max: Option<u64>,
    /// Its share of what is left, against the weights of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: Option<u32>,
    /// Latency to aim at, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_target_us: Option<u64>,
}

impl QualityOfService {
    /// Checks that no minimum is above its maximum.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let is_wrong =
            |min: Option<u64>, max: Option<u64>| matches!((min, max), (Some(min), Some(max)) if min > max);
        let message = if is_wrong(self.iops_min, self.iops_max) {
            "iops_min is above iops_max"
        } else if is_wrong(self.bytes_per_s_min, self.bytes_per_s_max) {
            "bytes_per_s_min is above bytes_per_s_max"
        } else if self.weight.is_some_and(|weight| !(1..=1000).contains(&weight)) {
            "weight is not from 1 to 1000"
        } else {
            return Ok(());
        };
        Err(InvalidRequest::new("qos", message))
    }
}

impl fmt::Display for QualityOfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("at least", self.iops_min, "IOPS"),
            ("at most", self.iops_max, "IOPS"),
            ("at least", self.bytes_per_s_min, "B/s"),
            ("at most", self.bytes_per_s_max, "B/s"),
            ("weight", self.weight.map(u64::from), ""),
            ("latency", self.latency_target_us, "us"),
        ];
        let parts = parts.iter().filter_map(|(what, value, unit)| {
            value.map(|value| format!("{what} {value} {unit}").trim_end().to_owned())
        });
        let parts: Vec<String> = parts.collect();
        f.write_str(if parts.is_empty() { "no bounds" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Where a volume is to be replicated to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// The other cluster, by its name or address.
    #[schema(max_length = 255)]
    pub target: String,
    /// How far it may be behind, in seconds.
    #[schema(minimum = 1)]
    pub rpo_s: u32,
}

impl Replication {
    /// Checks that both are given.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.target.len() {
            1..=255 if self.rpo_s > 0 => Ok(()),
            _ => Err(InvalidRequest::new(
                "replication",
                "it needs a target of 1 to 255 bytes and an rpo_s of at least 1",
            )),
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {} within {} s", self.target, self.rpo_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_do_not_cross() {
        let qos = QualityOfService { iops_min: Some(200), iops_max: Some(100), ..Default::default() };
        assert_eq!(qos.check().unwrap_err().to_string(), "qos: iops_min is above iops_max");
        let good = QualityOfService { weight: Some(10), iops_min: Some(5), ..Default::default() };
        assert_eq!((good.check(), good.to_string().as_str()), (Ok(()), "at least 5 IOPS, weight 10"));
        assert!(QualityOfService { weight: Some(0), ..Default::default() }.check().is_err());
        assert!(Replication { target: String::new(), rpo_s: 5 }.check().is_err());
    }
}
