//! When a level is reached.

use crate::model::Expected;

/// When a level is reached, in steps from the end of the history; absent where it is not within what was foretold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crossing {
    /// The first step at which the upper end of the interval reaches it.
    pub earliest: Option<usize>,
    /// The first at which the likeliest does.
    pub expected: Option<usize>,
    /// The first at which the lower end does.
    pub latest: Option<usize>,
}

/// When `level` is reached. In order, because a lower end never lies above an upper one.
pub fn crossing(expected: &Expected, level: f64) -> Crossing {
    let first = |values: &[f64]| values.iter().position(|value| *value >= level);
    Crossing {
        earliest: first(&expected.high),
        expected: first(&expected.mean),
        latest: first(&expected.low),
    }
}
