//! Sizes as people write and read them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes, written as `20GiB`, `20G`, `512M`, `1.5T` or `4096`. All units are powers of 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is not a size: write a number with an optional unit, for example 20GiB, 512M or 4096")]
pub struct ParseByteSizeError {
    /// What was given.
    pub text: String,
}

const UNITS: [(&str, u32); 6] = [("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50), ("E", 60)];

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).map(Self).ok_or_else(|| ParseByteSizeError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        _ => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
    (bytes.fract() == 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().rev().find(|(_, shift)| self.0 >= 1 << shift);
        let text = match unit {
            None => format!("{} B", self.0),
            Some((name, shift)) if self.0.is_multiple_of(1 << shift) => {
                format!("{} {name}iB", self.0 >> shift)
            }
            Some((name, shift)) => format!("{:.1} {name}iB", self.0 as f64 / (1u64 << shift) as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4096", 4096),
            ("20GiB", 20 << 30),
            ("20G", 20 << 30),
            ("20 GB", 20 << 30),
            ("512m", 512 << 20),
            ("1.5T", 3 << 39),
            ("0", 0),
            ("10b", 10),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "1.3", "1x", "99999999E", "1..5G", "1e3"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_with_the_largest_unit() {
        assert_eq!(ByteSize(0).to_string(), "0 B");
        assert_eq!(ByteSize(20 << 30).to_string(), "20 GiB");
        assert_eq!(ByteSize(1536 << 20).to_string(), "1.5 GiB");
    }
}
