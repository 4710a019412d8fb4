//! Figures of pools, volumes and devices as they were over time, which the node keeps.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{InvalidRequest, ObjectKind, Timestamp};

words! {
    /// A figure that is kept over time. Which things have which: `Series::of`.
    pub enum Series {
        /// Bytes that are used: of a pool as its fill level counts them, of a volume what it maps.
        Used = "used",
        /// Bytes of a pool's slots that are taken, garbage and every copy included.
        Stored = "stored",
        /// Bytes of a pool that hosts can use in all.
        Total = "total",
        /// Requests of hosts in a second.
        Operations = "operations",
        /// Bytes of these in a second.
        Throughput = "throughput",
        /// Mean latency of reads in microseconds.
        ReadLatency = "read-latency",
        /// Mean latency of writes in microseconds.
        WriteLatency = "write-latency",
        /// What 99 of 100 reads and writes did not take longer than, in microseconds.
        LatencyP99 = "latency-p99",
        /// Failures in a minute.
        Errors = "errors",
    }
}

words! {
    /// How fine a history is. What a coarser one has is made of the next finer one.
    pub enum Resolution {
        /// A minute a point, for four hours.
        Minute = "minute",
        /// A quarter of an hour a point, for four days.
        QuarterHour = "quarter-hour",
        /// An hour a point, for six weeks.
        Hour = "hour",
        /// A day a point (UTC), for three years.
        Day = "day",
    }
}

words! {
    /// What a figure counts.
    pub enum SeriesUnit {
        /// Bytes.
        Bytes = "bytes",
        /// Something in a second.
        PerSecond = "per-second",
        /// Bytes in a second.
        BytesPerSecond = "bytes-per-second",
        /// Microseconds.
        Microseconds = "us",
        /// Something in a minute.
        PerMinute = "per-minute",
    }
}

impl Series {
    /// What it counts.
    pub fn unit(self) -> SeriesUnit {
        match self {
            Self::Used | Self::Stored | Self::Total => SeriesUnit::Bytes,
            Self::Operations => SeriesUnit::PerSecond,
            Self::Throughput => SeriesUnit::BytesPerSecond,
            Self::ReadLatency | Self::WriteLatency | Self::LatencyP99 => SeriesUnit::Microseconds,
            Self::Errors => SeriesUnit::PerMinute,
        }
    }

    /// Those that things of a sort have; the first one is what is shown where none is named.
    pub fn of(kind: ObjectKind) -> &'static [Self] {
        match kind {
            ObjectKind::Pool => {
                &[Self::Used, Self::Stored, Self::Total, Self::Operations, Self::Throughput, Self::Errors]
            }
            ObjectKind::Volume => &[
                Self::Used,
                Self::Operations,
                Self::Throughput,
                Self::ReadLatency,
                Self::WriteLatency,
                Self::LatencyP99,
                Self::Errors,
            ],
            ObjectKind::Device => {
                &[Self::ReadLatency, Self::WriteLatency, Self::Operations, Self::Throughput, Self::Errors]
            }
            ObjectKind::Node => &[],
        }
    }
}

/// Which figure, from where on, and how fine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// The figure. Absent: `used`, of a device `read-latency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub series: Option<Series>,
    /// Only points that have not ended before this. Absent: all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub from: Option<Timestamp>,
    /// How fine. Absent: as fine as it can be had from `from` on; without that, `hour`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub resolution: Option<Resolution>,
}

impl SeriesQuery {
    /// The figure that is meant of a thing of some sort, which must have it.
    pub fn figure(&self, kind: ObjectKind) -> Result<Series, InvalidRequest> {
        let known = Series::of(kind);
        match self.series.or(known.first().copied()) {
            Some(series) if known.contains(&series) => Ok(series),
            _ => {
                let words: Vec<_> = known.iter().map(|series| series.as_str()).collect();
                Err(InvalidRequest::contradiction(
                    "series",
                    format!("a {kind} has these: {}", words.join(", ")),
                ))
            }
        }
    }
}

/// What a figure was in a stretch of time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoint {
    /// When that begins.
    pub time: Timestamp,
    /// The mean. Of latencies each request counts, of everything else each minute; of `latency-p99` it is the mean of what the minutes had.
    pub mean: f64,
    /// The least that was seen.
    pub min: f64,
    /// The most that was seen.
    pub max: f64,
    /// How much it is the mean of: requests of latencies, else looks, of which there is one a minute.
    pub count: u64,
}

/// A figure over time. Where nothing was seen, because the node did not run or nobody used the thing, there is no point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SeriesHistory {
    /// What sort of thing it is of.
    pub object_kind: ObjectKind,
    /// Its name; the path of a device.
    pub object: String,
    /// The figure.
    pub series: Series,
    /// What it counts.
    pub unit: SeriesUnit,
    /// How fine it is.
    pub resolution: Resolution,
    /// How long a point lasts, in seconds.
    pub step_s: u64,
    /// The points, the oldest first.
    pub points: Vec<SeriesPoint>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_the_figures_of_its_sort_and_no_others() {
        let query = |series| SeriesQuery { series, ..SeriesQuery::default() };
        assert_eq!(query(None).figure(ObjectKind::Pool).unwrap(), Series::Used);
        assert_eq!(query(None).figure(ObjectKind::Device).unwrap(), Series::ReadLatency);
        assert_eq!(query(Some(Series::Errors)).figure(ObjectKind::Volume).unwrap(), Series::Errors);
        let error = query(Some(Series::Stored)).figure(ObjectKind::Volume).unwrap_err().to_string();
        assert!(error.contains("a volume has these: used, operations"), "{error}");
    }
}
