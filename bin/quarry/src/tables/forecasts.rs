//! What was and what is to be expected, for people.

use std::time::Duration;

use quarry_api_types::{
    CapacityForecast, Forecast, ForecastReach, ForecastState, LoadForecast, Series, SeriesHistory,
    SeriesPoint, SeriesUnit, Timestamp,
};
use quarry_types::ByteSize;

use super::{Bytes, number, properties, size, table, text};
use crate::rates::{bytes, count, short};

/// Points that a table shows; JSON has all.
const ROWS_MAX: usize = 24;
/// How wide a line of blocks is at most.
const LINE_WIDTH: usize = 72;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A figure as people read it.
fn shown(unit: SeriesUnit, value: f64) -> String {
    match unit {
        SeriesUnit::Bytes => Bytes(value.max(0.0) as u64).to_string(),
        SeriesUnit::PerSecond => count(value),
        SeriesUnit::BytesPerSecond => bytes(value),
        SeriesUnit::Microseconds => short(Some(Duration::from_secs_f64(value.clamp(0.0, 1e15) / 1e6))),
        SeriesUnit::PerMinute => format!("{value:.1}"),
    }
}

pub fn history(history: &SeriesHistory) -> String {
    let SeriesHistory { unit, points, .. } = history;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return format!(
            "Nothing was kept of {} of {} '{}' yet, as {}: a point is there when its time is over.\n",
            history.series, history.object_kind, history.object, history.resolution
        );
    };
    let total: u64 = points.iter().map(|point| point.count).sum();
    let mean = points.iter().map(|point| point.mean * point.count as f64).sum::<f64>() / total.max(1) as f64;
    let (lowest, highest) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.min), high.max(point.max))
    });
    let rows = properties(vec![
        ("Of", text(format!("{} '{}': {}", history.object_kind, history.object, history.series))),
        ("From", text(first.time)),
        ("To", text(after(last.time, history.step_s))),
        ("Each", text(history.resolution)),
        ("Lowest", text(shown(*unit, lowest))),
        ("Mean", text(shown(*unit, mean))),
        ("Highest", text(shown(*unit, highest))),
    ]);
    let row = |point: &SeriesPoint| {
        vec![
            text(point.time),
            number(shown(*unit, point.mean)),
            number(shown(*unit, point.min)),
            number(shown(*unit, point.max)),
        ]
    };
    let newest = points.iter().skip(points.len().saturating_sub(ROWS_MAX));
    let each = table(&["BEGIN", ">MEAN", ">LOWEST", ">HIGHEST"], newest.map(row));
    let means: Vec<(u64, f64)> =
        points.iter().map(|point| (point.time.unix_ms() / 1000, point.mean)).collect();
    let left = points.len().saturating_sub(ROWS_MAX);
    let rest = if left == 0 { String::new() } else { format!("and {left} before these; -o json has all\n") };
    format!("{rows}\n{}\n\n{each}{rest}", line(&means, history.step_s))
}

fn after(time: Timestamp, step_s: u64) -> Timestamp {
    Timestamp::from_unix_ms(time.unix_ms().saturating_add(step_s.saturating_mul(1000)))
}

/// Means as a line of blocks from the least to the most; a blank where nothing was seen. Several lie in one block where there are many.
fn line(points: &[(u64, f64)], step_s: u64) -> String {
    let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else { return String::new() };
    let steps = ((last.saturating_sub(*first) / step_s.max(1)) as usize).saturating_add(1);
    let apart = steps.div_ceil(LINE_WIDTH);
    let mut sums = vec![(0.0, 0u32); steps.div_ceil(apart)];
    for (time_s, mean) in points {
        let place = (time_s.saturating_sub(*first) / step_s.max(1)) as usize / apart;
        if let Some((sum, count)) = sums.get_mut(place) {
            *sum += mean;
            *count += 1;
        }
    }
    let means: Vec<Option<f64>> =
        sums.iter().map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count))).collect();
    let known = || means.iter().flatten().copied();
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let block = |mean: f64| {
        let share = if high > low { (mean - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * BLOCKS.len() as f64) as usize).min(BLOCKS.len() - 1)]
    };
    means.into_iter().map(|mean| mean.map_or(' ', block)).collect()
}

pub fn forecast(forecast: &Forecast) -> String {
    let capacity = &forecast.capacity;
    let mut rows = vec![
        ("Of", text(format!("{} '{}'", forecast.object_kind, forecast.object))),
        ("As of", text(forecast.at)),
        ("Used", size(capacity.used_bytes)),
        ("History", text(format!("{} hours", capacity.history_hours))),
    ];
    rows.extend(capacity.growth_bytes_per_day.map(|growth| ("Growth", text(growth_line(growth)))));
    rows.push(("Forecast", text(said(capacity))));
    let mut all = properties(rows);
    if !capacity.reaches.is_empty() {
        let row = |reach: &ForecastReach| {
            let time = |time: Option<Timestamp>| match (reach.reached, time) {
                (true, _) => text("now"),
                (false, Some(time)) => text(day(time)),
                (false, None) => text("-"),
            };
            vec![
                text(reach.level),
                size(reach.bytes),
                time(reach.earliest),
                time(reach.expected),
                time(reach.latest),
            ]
        };
        let headings = ["LEVEL", ">AT", "EARLIEST", "EXPECTED", "LATEST"];
        all += &format!("\n{}", table(&headings, capacity.reaches.iter().map(row)));
    }
    let points: Vec<(u64, f64)> =
        capacity.points.iter().enumerate().map(|(at, point)| (at as u64, point.expected)).collect();
    if capacity.state == ForecastState::Growing {
        all += &format!("\n{}\n", line(&points, 1));
    }
    all + &loads(&forecast.load, forecast.level_percent)
}

fn growth_line(bytes_per_day: i64) -> String {
    let amount = ByteSize(bytes_per_day.unsigned_abs());
    if bytes_per_day < 0 { format!("shrinks by {amount} a day") } else { format!("{amount} a day") }
}

/// What can be said in a sentence.
fn said(capacity: &CapacityForecast) -> String {
    let until = capacity.until.map_or_else(|| "-".to_owned(), day);
    let next = capacity.reaches.iter().find(|reach| !reach.reached);
    match (capacity.state, next) {
        (ForecastState::TooEarly, _) => {
            format!(
                "not enough history: {} hours, {} are needed",
                capacity.history_hours, capacity.needed_hours
            )
        }
        (_, None) => "it is full".to_owned(),
        (ForecastState::Steady, Some(next)) => {
            format!("{} not before {until}, as far as this can see", next.level)
        }
        (ForecastState::Growing, Some(next)) => match (next.expected, next.earliest) {
            (Some(expected), _) => format!("{} on {}", next.level, day(expected)),
            (None, Some(earliest)) => {
                format!("{} on {} at the earliest, but more likely after {until}", next.level, day(earliest))
            }
            (None, None) => format!("{} not before {until}", next.level),
        },
    }
}

/// To the minute; a forecast knows no seconds.
fn day(time: Timestamp) -> String {
    let text = time.to_string();
    let minutes = text.get(..16).unwrap_or(&text);
    format!("{}Z", minutes.replace('T', " "))
}

fn loads(loads: &[LoadForecast], level_percent: u8) -> String {
    let rows: Vec<_> = loads
        .iter()
        .flat_map(|load| {
            let unit = load.series.unit();
            load.spans.iter().map(move |span| {
                let next =
                    if span.hours == 24 { "day".to_owned() } else { format!("{} days", span.hours / 24) };
                vec![
                    text(if load.series == Series::Operations { "operations/s" } else { "throughput/s" }),
                    text(next),
                    number(shown(unit, load.last_day)),
                    number(shown(unit, span.mean)),
                    number(shown(unit, span.peak)),
                    number(shown(unit, span.peak_high)),
                    text(day(span.peak_at)),
                ]
            })
        })
        .collect();
    if rows.is_empty() {
        let (history, needed) = loads.first().map_or((0, 0), |load| (load.history_hours, load.needed_hours));
        return format!("\nLoad: not enough history: {history} hours, {needed} are needed.\n");
    }
    let headings = ["LOAD", "NEXT", ">LAST DAY", ">MEAN", ">PEAK", ">PEAK AT MOST", "PEAK AT"];
    let note = format!(
        "Each interval holds the truth {level_percent} times of 100, if things go on as they went.\n"
    );
    format!("\n{}\n{note}", table(&headings, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_rise_fall_and_gaps() {
        assert_eq!(line(&[(0, 0.0), (60, 7.0), (120, 3.5), (240, 0.0)], 60), "▁█▅ ▁");
        assert_eq!(line(&[(0, 5.0), (60, 5.0)], 60), "▁▁");
        assert_eq!(line(&[], 60), "");
        let many: Vec<_> = (0..1000).map(|at| (at * 60, at as f64)).collect();
        let drawn = line(&many, 60);
        assert!(
            drawn.chars().count() <= LINE_WIDTH && drawn.starts_with('▁') && drawn.ends_with('█'),
            "{drawn}"
        );
        let leap = line(&[(0, 1.0), (u64::MAX, 2.0)], 1);
        assert!(leap.chars().count() <= LINE_WIDTH && leap.starts_with('▁') && leap.ends_with('█'), "{leap}");
    }

    #[test]
    fn figures_have_their_units() {
        for (unit, value, said) in [
            (SeriesUnit::Bytes, 1073741824.0, "1 GiB"),
            (SeriesUnit::PerSecond, 12345.0, "12.3k"),
            (SeriesUnit::Microseconds, 1500.0, "1.50 ms"),
            (SeriesUnit::PerMinute, 2.0, "2.0"),
        ] {
            assert_eq!(shown(unit, value), said);
        }
        assert_eq!(day(Timestamp::from_unix_ms(1_795_167_000_250)), "2026-11-20 09:30Z");
        assert_eq!(growth_line(-1 << 30), "shrinks by 1 GiB a day");
    }
}
