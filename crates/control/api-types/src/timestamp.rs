//! Points in time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A point in time in UTC, in JSON as RFC 3339 with milliseconds at most, for example `2026-11-20T09:30:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = DateTime, example = "2026-11-20T09:30:00Z")]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The point `ms` milliseconds after 1970-01-01T00:00:00Z. What lies beyond the year 9999 becomes its end: a
    /// broken clock must not take the control plane down.
    pub fn from_unix_ms(ms: u64) -> Self {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        Self(jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; 0 for anything earlier.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0.as_millisecond()).unwrap_or(0)
    }
}

/// A text that is no point in time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "'{text}' is not a point in time: write it as RFC 3339, for example 2026-11-20T09:30:00Z, and no later than \
     9999-12-30T22:00:00Z"
)]
pub struct InvalidTimestamp {
    /// What was given.
    pub text: String,
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads RFC 3339 with any offset from UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| InvalidTimestamp { text: text.to_owned() })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_timestamp_is_the_one_that_is_named() {
        let last = "9999-12-30T22:00:00Z";
        assert_eq!(last.parse::<Timestamp>().unwrap().to_string(), last);
        for late in ["9999-12-30T22:00:01Z", "9999-12-31T23:59:59Z"] {
            assert!(late.parse::<Timestamp>().unwrap_err().to_string().contains(last));
        }
    }

    #[test]
    fn a_timestamp_is_rfc_3339_and_survives_json() {
        let moment = Timestamp::from_unix_ms(1_795_167_000_250);
        assert_eq!(moment.unix_ms(), 1_795_167_000_250);
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2026-11-20T09:30:00.25Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }

    #[test]
    fn people_may_write_any_offset_but_not_leave_it_out() {
        let moment: Timestamp = "2026-11-20T10:30:00+01:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-11-20T09:30:00Z");
        for bad in ["", "tomorrow", "2026-11-20", "2026-11-20T09:30:00", "1795167000"] {
            let error = bad.parse::<Timestamp>().unwrap_err().to_string();
            assert!(error.contains("RFC 3339"), "{bad}: {error}");
        }
    }

    #[test]
    fn an_absurd_clock_is_cut_to_the_last_year() {
        assert!(Timestamp::from_unix_ms(u64::MAX).to_string().starts_with("9999-12-30"));
    }
}
