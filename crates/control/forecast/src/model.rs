//! How a series goes on.

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::prelude::{Fit, Predict};

use crate::series::Even;

/// Points that are needed to say anything.
pub const HISTORY_MIN: usize = 24;
/// Most points that are gone on with.
pub const POINTS_MAX: usize = 1008;
/// Most steps that are foretold.
pub const STEPS_MAX: usize = 1344;
/// How often the truth lies in an interval.
pub const LEVEL: f64 = 0.95;
/// The quantile of the normal distribution that belongs to it.
const Z: f64 = 1.959_964;
/// A series that changes by less than this of what it is is flat: numbers that small are noise of the arithmetic.
const FLAT: f64 = 1e-9;

/// How long the seasons are that a series may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seasons {
    /// Steps of an hour: a day and a week.
    OfHours,
    /// Steps of a day: a week.
    OfDays,
}

impl Seasons {
    /// Those of which there is enough, three of each: fewer are too easily taken for something that comes again.
    fn of(self, points: usize) -> Vec<usize> {
        let all: &[usize] = match self {
            Self::OfHours => &[24, 168],
            Self::OfDays => &[7],
        };
        all.iter().copied().filter(|period| points >= period * 3).collect()
    }
}

/// What is expected, a value a step from [`Even::next_s`] on.
#[derive(Clone, PartialEq, Debug)]
pub struct Expected {
    /// The likeliest.
    pub mean: Vec<f64>,
    /// The lower end of the interval; never above `mean`.
    pub low: Vec<f64>,
    /// The upper end; never below it.
    pub high: Vec<f64>,
    /// By how much the likeliest grows a step, seasons aside.
    pub slope: f64,
}

/// Goes on with a series for so many steps. Nothing of what is foretold is below zero. `None` when there is too little history.
pub fn expect(history: &Even, seasons: Seasons, steps: usize) -> Option<Expected> {
    let (values, steps) = (&history.values, steps.clamp(1, STEPS_MAX));
    if values.len() < HISTORY_MIN || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // Models work with numbers around one, and in part with 24 bits of them.
    let origin = values[0];
    let scale = values.iter().map(|value| (value - origin).abs()).fold(0.0, f64::max);
    if !scale.is_finite() {
        return None;
    }
    let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
    if scale <= largest * FLAT {
        let flat = vec![values[values.len() - 1].max(0.0); steps];
        return Some(Expected { mean: flat.clone(), low: flat.clone(), high: flat, slope: 0.0 });
    }
    let scaled: Vec<f64> = values.iter().map(|value| (value - origin) / scale).collect();
    let periods = seasons.of(scaled.len());
    let season = periods.iter().copied().max().unwrap_or(1);
    let (mean, low, high) = go_on(&scaled, periods, steps)?;
    let back = |value: f64| (value * scale + origin).max(0.0);
    let slope = slope_of(&mean, season) * scale;
    let ends = |end: &[f64], bound: fn(f64, f64) -> f64| -> Vec<f64> {
        end.iter().zip(&mean).map(|(end, mean)| back(bound(*end, *mean))).collect()
    };
    let (low, high) = (ends(&low, f64::min), ends(&high, f64::max));
    let mean: Vec<f64> = mean.iter().map(|value| back(*value)).collect();
    let is_good = [&mean, &low, &high]
        .iter()
        .all(|part| part.len() == steps && part.iter().all(|value| value.is_finite()));
    is_good.then_some(Expected { mean, low, high, slope })
}

type Band = (Vec<f64>, Vec<f64>, Vec<f64>);

fn go_on(values: &[f64], periods: Vec<usize>, steps: usize) -> Option<Band> {
    // Level or level and line, whichever explains more. A line that is bent until it lies flat would promise that nothing ever fills.
    let line = || AutoETS::new(1, "AZN").and_then(|model| model.damped(false)).ok();
    let found = if periods.is_empty() {
        line()?.fit(values).ok()?.predict(steps, LEVEL).ok()?
    } else {
        let model = MSTLModel::new(periods, line()?.into_trend_model());
        model.fit(values).ok()?.predict(steps, LEVEL).ok()?
    };
    let intervals = found.intervals?;
    // The model takes its line for the true one. It is as uncertain as a line through as many points with that much noise.
    let unsure = Z * line_error(values);
    let widen = |end: f64, mean: f64, step: usize| {
        let width = (end - mean).hypot(unsure * (step + 1) as f64);
        if end < mean { mean - width } else { mean + width }
    };
    let ends = |ends: &[f64]| -> Vec<f64> {
        ends.iter()
            .zip(&found.point)
            .enumerate()
            .map(|(step, (end, mean))| widen(*end, *mean, step))
            .collect()
    };
    Some((found.point.clone(), ends(&intervals.lower), ends(&intervals.upper)))
}

/// The standard error of the slope of the line through the values.
fn line_error(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / count;
    let places = values.iter().enumerate().map(|(at, value)| (at as f64 - middle, value - mean));
    let (spread, product) = places
        .clone()
        .fold((0.0, 0.0), |(spread, product), (at, value)| (spread + at * at, product + at * value));
    let slope = product / spread;
    let rest: f64 = places.map(|(at, value)| (value - slope * at).powi(2)).sum();
    (rest / (count - 2.0) / spread).sqrt()
}

/// The growth a step between the first and the last whole season.
fn slope_of(mean: &[f64], season: usize) -> f64 {
    let season = if mean.len() >= season * 2 { season } else { 1 };
    if mean.len() < season * 2 {
        return 0.0;
    }
    let of = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let whole = mean.len() / season * season;
    let (first, last) = (of(&mean[..season]), of(&mean[whole - season..whole]));
    (last - first) / (whole - season) as f64
}

#[cfg(test)]
mod tests;
