//! Snapshots by the calendar: how often they are taken, and how many of them are kept.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

/// Most rules of a schedule.
pub const SNAPSHOT_RULES_MAX: usize = 8;
/// The longest name of a time zone, in characters.
const ZONE_CHARS_MAX: usize = 64;
/// Most snapshots that one rule keeps of a volume.
pub const SNAPSHOT_KEEP_MAX: u32 = 1000;

/// When snapshots are taken, and which of them are kept. One snapshot may count for several rules, and is kept as long as one of
/// them keeps it (grandfather, father, son).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSchedule {
    /// The time zone of all times of day, as the IANA names it; UTC when absent.
    #[serde(default)]
    #[schema(value_type = String, default = "UTC", example = "Europe/Berlin", min_length = 1, max_length = 64)]
    pub time_zone: ZoneName,
    /// The rules. None: no snapshots are taken, and none are deleted.
    #[schema(max_items = 8)]
    pub rules: Vec<SnapshotRule>,
}

/// One rule of a schedule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRule {
    /// How often a snapshot is taken.
    #[schema(value_type = String, example = "1h", pattern = "^(([1-6]|1[025]|20|30|60)m|([123468]|12|24)h|[17]d|1w|1mo|12mo|1y)$")]
    pub every: Every,
    /// How many of them are kept: a number, so that a clock that jumps does not make all of them too old.
    #[schema(minimum = 1, maximum = 1000)]
    pub keep: u32,
    /// At what time of day, for rules of a day and more; midnight when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "02:30", pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub at: Option<TimeOfDay>,
    /// On which day, for rules of a week; Monday when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Weekday>,
}

/// How often: `15m`, `1h`, `6h`, `1d`, `1w`, `1mo`, `1y`. Minutes divide an hour and hours a day, so that the times of day are the
/// same every day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Every {
    /// Every so many minutes, counted from the full hour.
    Minutes(u32),
    /// Every so many hours; more than one are counted from midnight.
    Hours(u32),
    /// Every day.
    Day,
    /// Every week.
    Week,
    /// The first of every month.
    Month,
    /// The first of January.
    Year,
}

/// A text that is no such interval.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "'{text}' is not an interval of snapshots: write minutes that divide an hour (15m), hours that divide a day (1h, 6h), 1d, 1w, 1mo or 1y"
)]
pub struct InvalidEvery {
    /// What was given.
    pub text: String,
}

impl Every {
    /// How many snapshots a rule keeps that is to reach so many seconds back; at least one.
    pub fn count_for(self, seconds: u64) -> u32 {
        let count = seconds.div_ceil(self.seconds()).max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How long it is, a month and a year at their shortest.
    pub fn seconds(self) -> u64 {
        const DAY_S: u64 = 24 * 60 * 60;
        match self {
            Self::Minutes(minutes) => u64::from(minutes) * 60,
            Self::Hours(hours) => u64::from(hours) * 60 * 60,
            Self::Day => DAY_S,
            Self::Week => 7 * DAY_S,
            Self::Month => 28 * DAY_S,
            Self::Year => 365 * DAY_S,
        }
    }

    /// Whether a time of day goes with it.
    fn has_time_of_day(self) -> bool {
        !matches!(self, Self::Minutes(_) | Self::Hours(_))
    }
}

impl FromStr for Every {
    type Err = InvalidEvery;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        match (number.parse::<u32>(), unit) {
            (Ok(60), "m") => Ok(Self::Hours(1)),
            (Ok(minutes @ 1..60), "m") if 60 % minutes == 0 => Ok(Self::Minutes(minutes)),
            (Ok(24), "h") => Ok(Self::Day),
            (Ok(hours @ 1..24), "h") if 24 % hours == 0 => Ok(Self::Hours(hours)),
            (Ok(1), "d") => Ok(Self::Day),
            (Ok(7), "d") | (Ok(1), "w") => Ok(Self::Week),
            (Ok(1), "mo") => Ok(Self::Month),
            (Ok(12), "mo") | (Ok(1), "y") => Ok(Self::Year),
            _ => Err(InvalidEvery { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minutes(minutes) => write!(f, "{minutes}m"),
            Self::Hours(hours) => write!(f, "{hours}h"),
            Self::Day => f.write_str("1d"),
            Self::Week => f.write_str("1w"),
            Self::Month => f.write_str("1mo"),
            Self::Year => f.write_str("1y"),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = InvalidEvery;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Every> for String {
    fn from(every: Every) -> Self {
        every.to_string()
    }
}

words! {
    /// A day of the week.
    #[derive(Default)]
    pub enum Weekday {
        /// Monday.
        #[default]
        Monday = "monday",
        /// Tuesday.
        Tuesday = "tuesday",
        /// Wednesday.
        Wednesday = "wednesday",
        /// Thursday.
        Thursday = "thursday",
        /// Friday.
        Friday = "friday",
        /// Saturday.
        Saturday = "saturday",
        /// Sunday.
        Sunday = "sunday",
    }
}

/// A time of day in hours and minutes, `02:30`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(civil::Time);

/// A text that is no time of day.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is not a time of day: write hours and minutes, for example 02:30")]
pub struct InvalidTimeOfDay {
    /// What was given.
    pub text: String,
}

impl TimeOfDay {
    /// As the calendar's library has it.
    pub fn to_civil(self) -> civil::Time {
        self.0
    }
}

impl FromStr for TimeOfDay {
    type Err = InvalidTimeOfDay;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || InvalidTimeOfDay { text: text.to_owned() };
        let (hour, minute) = text.split_once(':').ok_or_else(error)?;
        let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(hour) || !is_number(minute) {
            return Err(error());
        }
        let (hour, minute) = (hour.parse().map_err(|_| error())?, minute.parse().map_err(|_| error())?);
        civil::Time::new(hour, minute, 0, 0).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidTimeOfDay;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

/// A time zone by its IANA name. Read from a request or from a disk it may be one that this machine does not know ([`Self::is_known`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

/// A text that names no time zone.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is not a time zone: write its IANA name, for example Europe/Berlin, or UTC")]
pub struct InvalidZoneName {
    /// What was given.
    pub text: String,
}

impl ZoneName {
    /// Whether this machine knows it.
    pub fn is_known(&self) -> bool {
        self.0.parse::<Self>().is_ok()
    }

    /// The zone itself. One that was known and is not any more, which an update of the system may bring, counts as UTC.
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl Default for ZoneName {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl FromStr for ZoneName {
    type Err = InvalidZoneName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zone = TimeZone::get(text).ok();
        let name = zone.as_ref().and_then(TimeZone::iana_name).map(|name| Self(name.to_owned()));
        name.ok_or_else(|| InvalidZoneName { text: text.to_owned() })
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ZoneName {
    type Error = InvalidZoneName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse() {
            Ok(zone) => Ok(zone),
            Err(_) if (1..=ZONE_CHARS_MAX).contains(&text.chars().count()) => Ok(Self(text)),
            Err(error) => Err(error),
        }
    }
}

impl From<ZoneName> for String {
    fn from(zone: ZoneName) -> Self {
        zone.0
    }
}

impl SnapshotSchedule {
    /// Checks that the rules make sense, and that no two are of one interval.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let field = "snapshots";
        if self.rules.len() > SNAPSHOT_RULES_MAX {
            let message = format!("at most {SNAPSHOT_RULES_MAX} rules, not {}", self.rules.len());
            return Err(InvalidRequest::new(field, message));
        }
        if !self.time_zone.is_known() {
            let unknown = InvalidZoneName { text: self.time_zone.to_string() };
            return Err(InvalidRequest::contradiction(field, unknown.to_string()));
        }
        let mut known = BTreeSet::new();
        for rule in &self.rules {
            rule.check().map_err(|message| InvalidRequest::contradiction(field, message))?;
            if !known.insert(rule.every) {
                return Err(InvalidRequest::contradiction(
                    field,
                    format!("two rules for every {}", rule.every),
                ));
            }
        }
        Ok(())
    }
}

impl SnapshotRule {
    fn check(&self) -> Result<(), String> {
        let Self { every, keep, at, on } = self;
        if !(1..=SNAPSHOT_KEEP_MAX).contains(keep) {
            return Err(format!("every {every}: {keep} kept, which is not from 1 to {SNAPSHOT_KEEP_MAX}"));
        }
        if at.is_some() && !every.has_time_of_day() {
            return Err(format!("every {every}: a time of day goes with 1d, 1w, 1mo and 1y only"));
        }
        if on.is_some() && *every != Every::Week {
            return Err(format!("every {every}: a day of the week goes with 1w only"));
        }
        Ok(())
    }
}

impl fmt::Display for SnapshotRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.every)?;
        if let Some(on) = self.on {
            write!(f, " on {on}")?;
        }
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        write!(f, " keep {}", self.keep)
    }
}

impl fmt::Display for SnapshotSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return f.write_str("none");
        }
        let rules: Vec<String> = self.rules.iter().map(SnapshotRule::to_string).collect();
        write!(f, "{} ({})", rules.join(", "), self.time_zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_divide_hours_and_days() {
        for (text, printed) in [
            ("15m", "15m"),
            ("60m", "1h"),
            ("6h", "6h"),
            ("24h", "1d"),
            ("7d", "1w"),
            ("1mo", "1mo"),
            ("12mo", "1y"),
        ] {
            assert_eq!(text.parse::<Every>().map(|every| every.to_string()).as_deref(), Ok(printed));
        }
        for text in ["", "m", "7m", "0m", "5h", "2d", "2w", "1", "90m", "-1h", "1.5h"] {
            let error = text.parse::<Every>().unwrap_err().to_string();
            assert!(error.contains("minutes that divide an hour"), "{text}: {error}");
        }
        assert_eq!(Every::Minutes(15).count_for(86400), 96);
        assert_eq!(Every::Hours(1).count_for(7 * 86400), 168);
        assert_eq!(Every::Day.count_for(1), 1);
    }

    #[test]
    fn times_and_zones_are_known_ones() {
        assert_eq!("02:30".parse::<TimeOfDay>().unwrap().to_string(), "02:30");
        for text in ["", "2:30", "24:00", "02:60", "+2:30", "02:30:00"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
        assert_eq!("europe/berlin".parse::<ZoneName>().unwrap().to_string(), "Europe/Berlin");
        assert!("Europe/Atlantis".parse::<ZoneName>().unwrap_err().to_string().contains("IANA"));
        assert_eq!(ZoneName::default().zone(), TimeZone::UTC);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let schedule = |json: &str| {
            let text = format!(r#"{{"rules":[{json}]}}"#);
            serde_json::from_str::<SnapshotSchedule>(&text).unwrap().check()
        };
        for good in [
            r#"{"every":"15m","keep":96}"#,
            r#"{"every":"1w","keep":4,"at":"02:30","on":"sunday"}"#,
            r#"{"every":"1d","keep":7},{"every":"1h","keep":24}"#,
        ] {
            assert_eq!(schedule(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            (r#"{"every":"15m","keep":0}"#, "not from 1 to 1000"),
            (r#"{"every":"15m","keep":5,"at":"02:30"}"#, "a time of day goes with"),
            (r#"{"every":"1d","keep":5,"on":"sunday"}"#, "a day of the week"),
            (r#"{"every":"1h","keep":5},{"every":"60m","keep":6}"#, "two rules for every 1h"),
        ] {
            let error = schedule(bad).unwrap_err().to_string();
            assert!(error.starts_with("snapshots: ") && error.contains(part), "{error}");
        }
    }
}
