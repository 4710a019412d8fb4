//! What is to be expected of a figure, and what is not as it was.
//!
//! What it is: pure functions of points in time and numbers. [`expect`] goes on with a series, with an interval (seasons by MSTL, what
//! remains by exponential smoothing, both of crate `augurs`); [`crossing`] says when a level is reached; [`usual`] says what is too much
//! for a series, judged by its own past, and [`Watcher`] when too much has lasted. What it is not: it knows no pools and no volumes, keeps
//! nothing and asks no clock.
//!
//! Invariants:
//! - No input panics: what is not finite is not taken, and what the models cannot do is `None`.
//! - The work is bounded: at most [`POINTS_MAX`] points go in and [`STEPS_MAX`] come out.
//! - Nothing is said of a series with less history than [`HISTORY_MIN`] or [`PAST_MIN`] points: better nothing than a guess.

mod crossing;
mod model;
mod series;
mod usual;
mod watcher;

pub use crossing::{Crossing, crossing};
pub use model::{Expected, HISTORY_MIN, LEVEL, POINTS_MAX, STEPS_MAX, Seasons, expect};
pub use series::Even;
pub use usual::{Floor, PAST_MIN, Usual, usual};
pub use watcher::{BEGIN_LOOKS, END_LOOKS, Watcher, Word};
