//! What is kept of a stretch of time.

/// One look at a figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    /// What it was. What is not finite is not taken.
    pub value: f64,
    /// How much it counts in a mean: 1 of what was looked at, the number of requests of a latency. 0 is no sample.
    pub count: u64,
}

impl Sample {
    /// A look at something that is so just now.
    pub fn of(value: f64) -> Self {
        Self { value, count: 1 }
    }
}

/// What a figure was in a stretch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The number of the stretch: its beginning over its width.
    pub(crate) stretch: u32,
    /// How much the mean is of; what is above the end of its range is cut.
    pub(crate) count: u32,
    pub(crate) mean: f64,
    pub(crate) min: f32,
    pub(crate) max: f32,
}

impl Point {
    /// How much the mean is of.
    pub fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// The mean of the samples by their counts.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The least sample.
    pub fn min(&self) -> f64 {
        f64::from(self.min)
    }

    /// The greatest sample.
    pub fn max(&self) -> f64 {
        f64::from(self.max)
    }

    pub(crate) fn new(stretch: u32, sample: Sample) -> Option<Self> {
        let count = u32::try_from(sample.count).unwrap_or(u32::MAX);
        let value = sample.value as f32;
        let is_good = count > 0 && value.is_finite();
        is_good.then_some(Self { stretch, count, mean: sample.value, min: value, max: value })
    }
}

/// Of several points, one.
#[derive(Default)]
pub(crate) struct Sum {
    count: u64,
    mean: f64,
    bounds: Option<(f32, f32)>,
}

impl Sum {
    pub(crate) fn add(&mut self, point: &Point) {
        self.count += point.count();
        // Not by totals, which might be too large for a number.
        self.mean += (point.mean - self.mean) * (point.count() as f64 / self.count as f64);
        let (min, max) = self.bounds.unwrap_or((point.min, point.max));
        self.bounds = Some((min.min(point.min), max.max(point.max)));
    }

    pub(crate) fn point(&self, stretch: u32) -> Option<Point> {
        let (min, max) = self.bounds?;
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        Some(Point { stretch, count, mean: self.mean, min, max })
    }
}
