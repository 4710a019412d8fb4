//! Values of options that are no types of the API.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quarry_api_types::{Name, Tier, Timestamp};
use quarry_types::ByteSize;
use quarry_types::limits::HISTORY_S_MAX;

/// A share of something in whole percent, written `70%` or `70`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Percent(pub u8);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse() {
            Ok(percent @ 1..=100) => Ok(Self(percent)),
            _ => Err(format!("'{text}' is not a whole percentage from 1% to 100%")),
        }
    }
}

/// A size, or `none` for 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound(pub u64);

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(0));
        }
        let size: Result<ByteSize, _> = text.parse();
        size.map(|size| Self(size.0)).map_err(|error| error.to_string())
    }
}

/// A pool, and the most that may be had of it: `fast`, `fast=2TiB`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolGrant {
    pub pool: Name,
    pub capacity_bytes: Option<u64>,
}

impl FromStr for PoolGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pool, bound) = match text.split_once('=') {
            Some((pool, bound)) => (pool, Some(bound.parse::<Bound>()?)),
            None => (text, None),
        };
        let pool = pool.parse::<Name>().map_err(|error| error.to_string())?;
        Ok(Self { pool, capacity_bytes: bound.map(|bound| bound.0).filter(|&bytes| bytes > 0) })
    }
}

/// A number, or `none` for 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub u64);

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "none" => Ok(Self(0)),
            Ok(number) => Ok(Self(number)),
            Err(_) => Err(format!("'{text}' is neither a whole number nor 'none'")),
        }
    }
}

/// How far back a volume's history goes, in seconds: written `600`, `600s`, `10m` or `1h`; `none` for 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window(pub u32);

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit_s) = match text.strip_suffix(['s', 'm', 'h']) {
            _ if text == "none" => return Ok(Self(0)),
            Some(number) if text.ends_with('m') => (number, 60),
            Some(number) if text.ends_with('h') => (number, 3600),
            Some(number) => (number, 1),
            None => (text, 1),
        };
        let seconds = number.parse().ok().and_then(|number: u32| number.checked_mul(unit_s));
        let window = seconds.filter(|seconds| (1..=HISTORY_S_MAX).contains(seconds)).map(Self);
        window.ok_or_else(|| {
            format!("'{text}' is not a time from 1s to 1h, for example 90s or 10m, and not 'none'")
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            seconds if seconds % 3600 == 0 => write!(f, "{} h", seconds / 3600),
            seconds if seconds % 60 == 0 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{seconds} s"),
        }
    }
}

/// From when on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// A point in time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [('m', 60), ('h', 3600), ('d', 86400)];
        let ago = units.into_iter().find_map(|(unit, unit_s)| {
            let number = text.strip_suffix(unit)?.parse::<u32>().ok()?;
            Some(Self::Ago(Duration::from_secs(u64::from(number) * unit_s)))
        });
        ago.or_else(|| text.parse().ok().map(Self::At)).ok_or_else(|| {
            format!(
                "'{text}' is neither a point in time (2026-11-20T09:30:00Z) nor how long ago (30m, 6h, 7d)"
            )
        })
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err(format!("'{text}' is neither on nor off")),
        }
    }
}

/// How long something lives, in seconds: written `90d`, `12h`, `30m` or `3600s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life(pub u64);

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
        let parsed = units.iter().find_map(|&(unit, seconds)| {
            text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(seconds).filter(|&life| life > 0)
        });
        parsed.map(Self).ok_or_else(|| format!("'{text}' is not a time, for example 90d, 12h or 30m"))
    }
}

/// How often a pool may be promised, in percent: written `3`, `3.0` or `2.5`; `none` for 0, which is no bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ratio(pub u32);

/// Nobody means more.
const RATIO_MAX: f64 = 1_000_000.0;

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(0));
        }
        match text.parse::<f64>() {
            Ok(ratio) if (0.01..=RATIO_MAX).contains(&ratio) => Ok(Self((ratio * 100.0).round() as u32)),
            _ => Err(format!("'{text}' is no ratio: write 3.0 for three times what the pool holds, or none")),
        }
    }
}

/// A device and its tier, as `PATH=TIER`. Paths may have a `=` of their own.
pub fn device_tier(text: &str) -> Result<(PathBuf, Tier), String> {
    let (path, tier) = text.rsplit_once('=').filter(|(path, _)| !path.is_empty()).ok_or_else(|| {
        format!("'{text}' is no device with its tier: write PATH=TIER, for example /dev/sdb=hdd")
    })?;
    let tier = tier.parse::<Tier>().map_err(|error| error.to_string())?;
    Ok((PathBuf::from(path), tier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let hours = |hours: u64| Ok(Since::Ago(Duration::from_secs(hours * 3600)));
        assert_eq!(
            ["90m".parse(), "6h".parse(), "7d".parse()].map(|read: Result<Since, _>| read.is_ok()),
            [true; 3]
        );
        assert_eq!(["6h".parse(), "7d".parse()], [hours(6), hours(7 * 24)]);
        assert_eq!("2026-11-20T09:30:00Z".parse(), Ok(Since::At(Timestamp::from_unix_ms(1_795_167_000_000))));
        for wrong in ["", "h", "-1h", "1w", "yesterday", "9999999999d"] {
            assert!(wrong.parse::<Since>().unwrap_err().contains("how long ago"), "{wrong}");
        }
    }

    #[test]
    fn a_device_and_its_tier() {
        let read = |text| device_tier(text);
        assert_eq!(read("/dev/a=b=hdd"), Ok((PathBuf::from("/dev/a=b"), Tier::Hdd)));
        assert!(read("/dev/sdb").unwrap_err().contains("PATH=TIER"));
        assert!(read("=ssd").is_err() && read("/dev/sdb=fast").unwrap_err().contains("pmem"));
    }

    #[test]
    fn bounds_and_ratios_may_be_none() {
        for (text, bytes) in [("10GiB", 10 << 30), ("none", 0), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Bound(bytes)), "{text}");
        }
        for (text, percent) in [("3", 300), ("3.0", 300), ("2.5", 250), ("0.8", 80), ("none", 0)] {
            assert_eq!(text.parse(), Ok(Ratio(percent)), "{text}");
        }
        for text in ["", "0", "-1", "nan", "inf", "1e9", "300%"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        assert!("much".parse::<Bound>().is_err());
        assert_eq!(("500".parse(), "none".parse()), (Ok(Number(500)), Ok(Number(0))));
        assert!("-1".parse::<Number>().is_err() && "5k".parse::<Number>().is_err());
    }

    #[test]
    fn a_life_has_a_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("1s", 1)] {
            assert_eq!(text.parse(), Ok(Life(seconds)), "{text}");
        }
        for text in ["", "d", "0d", "12", "-1h", "99999999999999999999d"] {
            assert!(text.parse::<Life>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_percentage_may_carry_its_sign() {
        for (text, percent) in [("70%", 70), ("70", 70), ("70 %", 70), ("1", 1), ("100%", 100)] {
            assert_eq!(text.parse(), Ok(Percent(percent)), "{text}");
        }
        for text in ["", "%", "0", "101%", "0.7", "-3", "7%%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
