//! Rules of snapshots as people type them: `15m,for=1d`, `1d,at=02:30,keep=30`, `1w,on=sunday,keep=8`.

use quarry_api_types::{Every, SnapshotRule};

const FORM: &str =
    "write EVERY[,on=DAY][,at=HH:MM],keep=NUMBER or ,for=TIME, for example 15m,for=1d or 1d,at=02:30,keep=30";

/// Reads a rule.
pub fn parse_rule(text: &str) -> Result<SnapshotRule, String> {
    let mut parts = text.split(',').map(str::trim);
    let every: Every = parts.next().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let (mut keep, mut at, mut on) = (None, None, None);
    for part in parts {
        match part.split_once('=').ok_or_else(|| format!("'{part}': {FORM}"))? {
            ("keep", number) => {
                keep = Some(number.parse().map_err(|_| format!("'{number}' is not a number: {FORM}"))?);
            }
            ("for", time) => keep = Some(every.count_for(parse_seconds(time)?)),
            ("at", time) => at = Some(time.parse().map_err(|error| format!("{error}"))?),
            ("on", day) => on = Some(day.parse().map_err(|error| format!("{error}"))?),
            _ => return Err(format!("'{part}': {FORM}")),
        }
    }
    let keep = keep.ok_or_else(|| format!("'{text}' does not say how many are kept: {FORM}"))?;
    Ok(SnapshotRule { every, keep, at, on })
}

/// Reads a time: a number with `s`, `m`, `h`, `d`, `w`, `mo` (31 days) or `y` (366 days).
pub fn parse_seconds(text: &str) -> Result<u64, String> {
    const DAY_S: u64 = 24 * 60 * 60;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "mo" => 31 * DAY_S,
        "y" => 366 * DAY_S,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    seconds.filter(|&seconds| seconds > 0).ok_or_else(|| {
        format!("'{text}' is not a time: write a number with s, m, h, d, w, mo or y, for example 30s or 7d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_how_often_and_how_many() {
        for (text, shown) in [
            ("15m,for=1d", "15m keep 96"),
            ("1h,for=1w", "1h keep 168"),
            ("1d,at=02:30,keep=30", "1d at 02:30 keep 30"),
            ("1w,on=sunday,at=23:00,keep=8", "1w on sunday at 23:00 keep 8"),
            ("1mo,for=1y", "1mo keep 14"),
        ] {
            assert_eq!(parse_rule(text).map(|rule| rule.to_string()).as_deref(), Ok(shown));
        }
        for (text, part) in [
            ("15m", "how many are kept"),
            ("15m,96", "write EVERY"),
            ("7m,keep=1", "minutes that divide an hour"),
            ("1d,keep=many", "not a number"),
            ("1d,at=25:00,keep=1", "not a time of day"),
            ("1w,on=sun,keep=1", "not one of: monday"),
            ("1h,for=soon", "not a time"),
            ("1h,until=1d", "write EVERY"),
        ] {
            let error = parse_rule(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
