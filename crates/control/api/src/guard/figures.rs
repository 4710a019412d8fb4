//! Figures for Prometheus of the API itself: how many requests, how they were answered, how long that took.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use axum::http::StatusCode;

/// Bounds of the buckets of times, in seconds. The last ones are for what waits for devices.
const BOUNDS_S: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0];

/// Counted as the API answers. As many series as there are operations and sorts of answers.
#[derive(Default)]
pub(super) struct Requests(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// By operation, and by the first digit of the status.
    answers: BTreeMap<(&'static str, u16), u64>,
    /// Behind each bound and all of those before it.
    within: [u64; BOUNDS_S.len()],
    total: Duration,
    count: u64,
}

impl Requests {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().expect("nobody panics with this lock")
    }

    /// A request was answered. `operation`: of the table, so that strangers make no series.
    pub(super) fn count(&self, operation: &'static str, status: StatusCode, took: Duration) {
        let mut counted = self.counted();
        *counted.answers.entry((operation, status.as_u16() / 100)).or_default() += 1;
        for (within, bound) in counted.within.iter_mut().zip(BOUNDS_S) {
            *within += u64::from(took.as_secs_f64() <= bound);
        }
        counted.total += took;
        counted.count += 1;
    }

    /// The families, in Prometheus' text format.
    pub(super) fn describe(&self, text: &mut String) {
        let Counted { answers, within, total, count } = &*self.counted();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP quarry_api_requests_total Requests to the API, by operation and first digit of the status.\n\
             # TYPE quarry_api_requests_total counter"
        );
        for ((operation, class), count) in answers {
            let _ = writeln!(
                text,
                "quarry_api_requests_total{{operation=\"{operation}\",status=\"{class}xx\"}} {count}"
            );
        }
        let name = "quarry_api_request_seconds";
        let _ = writeln!(text, "# HELP {name} How long requests to the API took.\n# TYPE {name} histogram");
        for (bound, within) in BOUNDS_S.iter().zip(within) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {within}");
        }
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {}\n{name}_count {count}",
            total.as_secs_f64()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_operation_and_class() {
        let requests = Requests::default();
        for (status, ms) in [(200, 1), (204, 3), (404, 700)] {
            let status = StatusCode::from_u16(status).unwrap();
            requests.count("show_pool", status, Duration::from_millis(ms));
        }
        let mut text = String::new();
        requests.describe(&mut text);
        for line in [
            "quarry_api_requests_total{operation=\"show_pool\",status=\"2xx\"} 2",
            "quarry_api_requests_total{operation=\"show_pool\",status=\"4xx\"} 1",
            "quarry_api_request_seconds_bucket{le=\"0.001\"} 1",
            "quarry_api_request_seconds_bucket{le=\"0.5\"} 2",
            "quarry_api_request_seconds_bucket{le=\"+Inf\"} 3",
            "quarry_api_request_seconds_sum 0.704",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
