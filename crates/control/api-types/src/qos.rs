//! Quality of service: what a volume, a group or a tenant gets of the node's performance.

use std::fmt;

use quarry_types::ByteSize;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

/// The longest burst, in seconds.
pub const BURST_S_MAX: u32 = 3600;
const WEIGHT_MAX: u32 = 1000;
/// An hour.
const LATENCY_TARGET_US_MAX: u64 = 3_600_000_000;
/// No machine is faster; what is computed with it does not overflow.
const RATE_MAX: u64 = 1 << 50;

/// What something is to get of the node's performance. What is absent is neither bounded nor promised.
///
/// An I/O of up to 64 KiB counts as one, a larger one once for each 64 KiB that it begins; a flush counts as one, a discard as one for each GiB.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct QualityOfService {
    /// I/Os a second that it gets, whatever others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1125899906842624u64)]
    pub iops_min: Option<u64>,
    /// I/Os a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1125899906842624u64)]
    pub iops_max: Option<u64>,
    /// Bytes a second that it gets, whatever others do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1125899906842624u64)]
    pub bytes_per_s_min: Option<u64>,
    /// Bytes a second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1125899906842624u64)]
    pub bytes_per_s_max: Option<u64>,
    /// For so many seconds what the maxima give is saved up while it is not used, and may then be used at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub burst_s: Option<u32>,
    /// Its share of what is left, against the weights of others on its core; 100 when nobody says. A group or a tenant with a weight has
    /// one share however many volumes it has, which these divide by their weights; without one each volume has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: Option<u32>,
    /// Latency to aim at, in microseconds, once a request's turn has come: while it is missed, less of all others is begun at once. That of
    /// a group or a tenant is of each of its volumes that has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600000000u64)]
    pub latency_target_us: Option<u64>,
}

crate::request::only_as_object!(QualityOfService);

impl QualityOfService {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that what is said of a volume is possible.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let is_wrong =
            |min: Option<u64>, max: Option<u64>| matches!((min, max), (Some(min), Some(max)) if min > max);
        let rates = [self.iops_min, self.iops_max, self.bytes_per_s_min, self.bytes_per_s_max];
        let message = if rates.into_iter().flatten().any(|rate| rate == 0 || rate > RATE_MAX) {
            "a rate is not from 1 to 2^50; leave it out where there is none"
        } else if is_wrong(self.iops_min, self.iops_max) {
            "iops_min is above iops_max"
        } else if is_wrong(self.bytes_per_s_min, self.bytes_per_s_max) {
            "bytes_per_s_min is above bytes_per_s_max"
        } else if self.burst_s.is_some_and(|burst_s| !(1..=BURST_S_MAX).contains(&burst_s)) {
            "burst_s is not from 1 to 3600"
        } else if self.burst_s.is_some() && self.iops_max.is_none() && self.bytes_per_s_max.is_none() {
            "burst_s is of no use without iops_max or bytes_per_s_max"
        } else if self.weight.is_some_and(|weight| !(1..=WEIGHT_MAX).contains(&weight)) {
            "weight is not from 1 to 1000"
        } else if self.latency_target_us.is_some_and(|target| !(1..=LATENCY_TARGET_US_MAX).contains(&target))
        {
            "latency_target_us is not from 1 to an hour"
        } else {
            return Ok(());
        };
        Err(InvalidRequest::contradiction("qos", message))
    }
}

impl fmt::Display for QualityOfService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iops = |value: Option<u64>| value.map(|value| format!("{value} IOPS"));
        let bytes = |value: Option<u64>| value.map(|value| format!("{}/s", ByteSize(value)));
        let parts = [
            ("at least", iops(self.iops_min)),
            ("at most", iops(self.iops_max)),
            ("at least", bytes(self.bytes_per_s_min)),
            ("at most", bytes(self.bytes_per_s_max)),
            ("burst", self.burst_s.map(|burst_s| format!("{burst_s} s"))),
            ("weight", self.weight.map(|weight| weight.to_string())),
            ("latency", self.latency_target_us.map(|target| format!("{target} us"))),
        ];
        let parts = parts.iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?)));
        let parts: Vec<String> = parts.collect();
        f.write_str(if parts.is_empty() { "no bounds" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

words! {
    /// For what requests wait.
    pub enum QosCause {
        /// The volume's own maximum.
        Volume = "volume",
        /// The maximum of its group.
        Group = "group",
        /// The maximum of its tenant.
        Tenant = "tenant",
        /// Their turn among the volumes of their core.
        Share = "share",
    }
}

/// How a volume's requests fare, since its core began to schedule them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct QosStatus {
    /// Requests that have ended, counted as bounds count them.
    pub ios: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that are begun and have not ended.
    pub in_flight: u64,
    /// How long requests have waited, all of them together, by cause, in microseconds; only causes for which some have.
    #[serde(default)]
    pub waited: Vec<QosWait>,
    /// Whether it got less than was promised lately, although its host asked for it.
    #[serde(default)]
    pub reservation_missed: bool,
}

/// How long requests have waited for one cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QosWait {
    /// For what.
    pub cause: QosCause,
    /// How long, all requests together, in microseconds.
    pub waited_us: u64,
}

impl fmt::Display for QosStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.waited.iter().map(|wait| {
            let what = match wait.cause {
                QosCause::Volume => "for its own maximum",
                QosCause::Group => "for that of its group",
                QosCause::Tenant => "for that of its tenant",
                QosCause::Share => "for its turn among others",
            };
            format!("{:.1} s {what}", wait.waited_us as f64 / 1e6)
        });
        let waits: Vec<String> = waits.collect();
        write!(f, "{} of {} requests wait now", self.waiting, self.waiting + self.in_flight)?;
        match waits.is_empty() {
            true => f.write_str("; none has waited yet"),
            false => write!(f, "; {} I/Os have waited {} in all", self.ios, waits.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_object_and_no_array() {
        let read = |json: &str| serde_json::from_str::<QualityOfService>(json);
        assert_eq!(read(r#"{"iops_max":5}"#).unwrap().iops_max, Some(5));
        assert!(read("[null,null]").unwrap_err().to_string().contains("an object"));
        assert!(read("[]").is_err() && read(r#"{"iops":5}"#).is_err());
        assert_eq!(serde_json::to_string(&read(r#"{"weight":7}"#).unwrap()).unwrap(), r#"{"weight":7}"#);
    }

    #[test]
    fn bounds_do_not_cross_and_what_means_nothing_is_refused() {
        let qos = |json: &str| serde_json::from_str::<QualityOfService>(json).unwrap();
        for (bad, part) in [
            (r#"{"iops_min":200,"iops_max":100}"#, "iops_min is above iops_max"),
            (r#"{"bytes_per_s_min":200,"bytes_per_s_max":100}"#, "bytes_per_s_min is above"),
            (r#"{"iops_max":0}"#, "a rate is not from 1"),
            (r#"{"weight":0}"#, "weight is not"),
            (r#"{"weight":1001}"#, "weight is not"),
            (r#"{"burst_s":5}"#, "burst_s is of no use"),
            (r#"{"burst_s":3601,"iops_max":5}"#, "burst_s is not"),
            (r#"{"latency_target_us":0}"#, "latency_target_us is not"),
        ] {
            let error = qos(bad).check().unwrap_err().to_string();
            assert!(error.starts_with("qos: ") && error.contains(part), "{error}");
        }
        let good = qos(r#"{"iops_min":5,"bytes_per_s_max":1048576,"burst_s":2,"weight":10}"#);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.to_string(), "at least 5 IOPS, at most 1 MiB/s, burst 2 s, weight 10");
        assert_eq!(QualityOfService::default().to_string(), "no bounds");
        assert!(serde_json::from_str::<QualityOfService>(r#"{"iops":1}"#).is_err());
    }

    #[test]
    fn a_status_says_what_is_waited_for() {
        let waited = vec![QosWait { cause: QosCause::Tenant, waited_us: 1_500_000 }];
        let status = QosStatus { ios: 7, waiting: 2, in_flight: 1, waited, ..QosStatus::default() };
        let text = "2 of 3 requests wait now; 7 I/Os have waited 1.5 s for that of its tenant in all";
        assert_eq!(status.to_string(), text);
    }
}
