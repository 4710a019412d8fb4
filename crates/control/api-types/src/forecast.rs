//! What is to be expected of pools and volumes, made of their history.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, ObjectKind, Series, Timestamp};

words! {
    /// What can be said of the time to come.
    pub enum ForecastState {
        /// There is too little history to say anything: see `history_hours` and `needed_hours`.
        TooEarly = "too-early",
        /// No level that is not reached yet is reached before `until`, as far as can be told.
        Steady = "steady",
        /// A level may be reached before `until`.
        Growing = "growing",
    }
}

words! {
    /// A level of fullness.
    pub enum ForecastLevel {
        /// A pool's warning level.
        Warning = "warning",
        /// A pool's critical level.
        Critical = "critical",
        /// Nothing more fits: of a pool, of a volume's quota, or of its size where it has none.
        Full = "full",
    }
}

/// When a level is reached. The interval holds the true time nine times and a half of ten (`level_percent`), if everything goes on as it
/// went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ForecastReach {
    /// The level.
    pub level: ForecastLevel,
    /// What that is in bytes.
    pub bytes: u64,
    /// Whether it is reached now.
    pub reached: bool,
    /// The earliest time; absent when it is not before `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Timestamp>,
    /// The likeliest time; absent when it is not before `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Timestamp>,
    /// The latest time; absent when it may be after `until`, or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
}

/// A point of a forecast.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ForecastPoint {
    /// When.
    pub time: Timestamp,
    /// The lower end of the interval.
    pub low: f64,
    /// What is expected.
    pub expected: f64,
    /// The upper end.
    pub high: f64,
}

/// How much will be used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CapacityForecast {
    /// What can be said.
    pub state: ForecastState,
    /// How much history there is, in hours.
    pub history_hours: u64,
    /// How much is needed.
    pub needed_hours: u64,
    /// Bytes used now.
    pub used_bytes: u64,
    /// Bytes that it grows by in a day, as expected; negative when it shrinks. Absent when it is too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes_per_day: Option<i64>,
    /// How far this looks: four times as far as the history goes back, a year at most. Absent when it is too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When which level is reached, the lowest first; none when it is too early.
    pub reaches: Vec<ForecastReach>,
    /// What is expected, from now to `until`, in at most sixty points.
    pub points: Vec<ForecastPoint>,
}

/// What is expected of a load in a stretch of time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoadSpan {
    /// How long it is from now on, in hours.
    pub hours: u64,
    /// The mean of it.
    pub mean: f64,
    /// The hour with the most.
    pub peak: f64,
    /// When that is.
    pub peak_at: Timestamp,
    /// The upper end of the interval of that.
    pub peak_high: f64,
}

/// How much a load will be.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoadForecast {
    /// Of what: `operations` or `throughput`, each in a second.
    pub series: Series,
    /// How much history there is, in hours.
    pub history_hours: u64,
    /// How much is needed.
    pub needed_hours: u64,
    /// The mean of the last day.
    pub last_day: f64,
    /// The next day and the next seven; none when it is too early, and of the seven only with a week of history.
    pub spans: Vec<LoadSpan>,
}

/// What is to be expected of a pool or a volume.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// What sort of thing it is of.
    pub object_kind: ObjectKind,
    /// Its name.
    #[schema(value_type = Name)]
    pub object: Name,
    /// When this was worked out; it is kept for a while.
    pub at: Timestamp,
    /// How often the truth lies in an interval, in percent.
    pub level_percent: u8,
    /// How full it becomes.
    pub capacity: CapacityForecast,
    /// What is asked of it.
    pub load: Vec<LoadForecast>,
}
