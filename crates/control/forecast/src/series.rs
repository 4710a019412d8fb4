//! Points at even distances, which is what models understand.

use crate::model::POINTS_MAX;

/// A figure at even distances of time.
#[derive(Clone, PartialEq, Debug)]
pub struct Even {
    /// When the first value was, in seconds.
    pub first_s: u64,
    /// How far apart they are.
    pub step_s: u64,
    /// The values. Where nothing was seen between two, what lies on the line from one to the other.
    pub values: Vec<f64>,
}

impl Even {
    /// Of points in order of time, each a multiple of `step_s` after 1970, the newest stretch that is at most [`POINTS_MAX`] long and has
    /// no gap longer than it has points before and after it: a clock that leapt makes no history. `None` of nothing.
    pub fn of(points: &[(u64, f64)], step_s: u64) -> Option<Self> {
        let points: Vec<(u64, f64)> = points
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(time_s, value)| (time_s / step_s, *value))
            .collect();
        let (last, _) = *points.last()?;
        let earliest = last.saturating_sub(POINTS_MAX as u64 - 1);
        let mut first = points.len() - 1;
        while first > 0 {
            let (before, here) = (points[first - 1].0, points[first].0);
            let is_gap = here.saturating_sub(before) > (points.len() - first) as u64 + 1;
            if before < earliest || before >= here || is_gap {
                break;
            }
            first -= 1;
        }
        let mut values: Vec<f64> = Vec::with_capacity((last - points[first].0) as usize + 1);
        for pair in points[first..].windows(2) {
            let (steps, from, to) = (pair[1].0 - pair[0].0, pair[0].1, pair[1].1);
            values.extend((0..steps).map(|step| from + (to - from) * (step as f64 / steps as f64)));
        }
        values.push(points[points.len() - 1].1);
        Some(Self { first_s: points[first].0 * step_s, step_s, values })
    }

    /// When the step after the last value begins.
    pub fn next_s(&self) -> u64 {
        self.first_s + self.values.len() as u64 * self.step_s
    }

    /// How long it is.
    pub fn length_s(&self) -> u64 {
        self.values.len() as u64 * self.step_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_lines_and_a_leap_is_no_gap() {
        let even = Even::of(&[(3600, 1.0), (7200, 2.0), (14400, 4.0)], 3600).unwrap();
        assert_eq!((even.first_s, even.values.clone()), (3600, vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!((even.next_s(), even.length_s()), (18000, 14400));
        let century = 100 * 366 * 86400;
        let even =
            Even::of(&[(3600, 1.0), (7200, 2.0), (century, 7.0), (century + 3600, 8.0)], 3600).unwrap();
        assert_eq!(even.values, [7.0, 8.0], "what was before the leap is not gone on with");
        assert_eq!(Even::of(&[], 3600), None);
        assert_eq!(Even::of(&[(0, f64::NAN)], 3600), None);
        let long: Vec<_> = (0..5000).map(|hour| (hour * 3600, hour as f64)).collect();
        assert_eq!(Even::of(&long, 3600).unwrap().values.len(), POINTS_MAX);
    }
}
