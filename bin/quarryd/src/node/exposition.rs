//! How figures are written for Prometheus: text format 0.0.4.

use std::fmt::{Display, Write};

use quarry_histogram::Distribution;

/// One family of figures: name, type, help.
pub(super) type Family = (&'static str, &'static str, &'static str);

/// Bounds of the buckets of latencies: 2 to the power of these, in microseconds, so 16 us to 16.8 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 4..=24;

/// Writes a family; every sample with its labels in braces, or without any.
pub(super) fn put<V: Display>(text: &mut String, family: Family, samples: impl Iterator<Item = (String, V)>) {
    head(text, family);
    let (name, ..) = family;
    for (labels, value) in samples {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

/// Writes a family that has one sample.
pub(super) fn put_one(text: &mut String, family: Family, value: impl Display) {
    put(text, family, std::iter::once((String::new(), value)));
}

/// Writes a family of histograms, in seconds; every one with its labels in braces.
pub(super) fn put_latencies<'d>(
    text: &mut String,
    family: Family,
    samples: impl Iterator<Item = (String, &'d Distribution)>,
) {
    head(text, family);
    let (name, ..) = family;
    for (labels, latencies) in samples {
        let inner = labels.trim_start_matches('{').trim_end_matches('}');
        let comma = if inner.is_empty() { "" } else { "," };
        for exponent in BOUNDS {
            let (bound, count) = ((1u64 << exponent) as f64 / 1e6, latencies.below_power(exponent));
            let _ = writeln!(text, "{name}_bucket{{{inner}{comma}le=\"{bound}\"}} {count}");
        }
        let count = latencies.count();
        let _ = writeln!(text, "{name}_bucket{{{inner}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{labels} {}", latencies.total().as_secs_f64());
        let _ = writeln!(text, "{name}_count{labels} {count}");
    }
}

fn head(text: &mut String, (name, kind, help): Family) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Labels in braces.
pub(super) fn labels(pairs: &[(&str, &dyn Display)]) -> String {
    let pair = |(name, value): &(&str, &dyn Display)| {
        let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quarry_histogram::Histogram;

    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let histogram = Histogram::default();
        [10, 20, 20_000_000].into_iter().for_each(|us| histogram.record(Duration::from_micros(us)));
        let (mut text, family) = (String::new(), ("x_seconds", "histogram", "X."));
        put_latencies(
            &mut text,
            family,
            std::iter::once((labels(&[("a", &"b\"")]), &histogram.distribution())),
        );
        assert!(text.starts_with("# HELP x_seconds X.\n# TYPE x_seconds histogram\n"), "{text}");
        for line in [
            "x_seconds_bucket{a=\"b\\\"\",le=\"0.000016\"} 1",
            "x_seconds_bucket{a=\"b\\\"\",le=\"0.000032\"} 2",
            "x_seconds_bucket{a=\"b\\\"\",le=\"16.777216\"} 2",
            "x_seconds_bucket{a=\"b\\\"\",le=\"+Inf\"} 3",
            "x_seconds_sum{a=\"b\\\"\"} 20.00003",
            "x_seconds_count{a=\"b\\\"\"} 3",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
