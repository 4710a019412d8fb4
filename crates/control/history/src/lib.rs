//! What figures were over time: a bounded store of a node, made coarser as it grows older.
//!
//! What it is: [`History`], all of it in memory, a pure function of the samples it is given; and [`HistoryFile`], one redb file in the
//! data directory that keeps it (docs/format/history.md). What it is not: it measures nothing and foretells nothing, and it knows no
//! names: a series belongs to the id of a thing.
//!
//! Invariants:
//! - A point of a coarser resolution is made, once, of the points of the next finer one in its stretch, when a sample of a later stretch
//!   comes. So there is no state beside the points, and a process that is killed loses the minute that it was in, no more.
//! - At most [`SERIES_MAX`] series, and at most [`points_max`] rows of each resolution. The oldest row goes for a new one; for a new
//!   series goes the one that nobody has fed for longest, and not within a day.
//! - All points of one stretch are one row of the file, so that a minute writes one row and drops one, whatever the number of series.
//! - Time comes with each sample and may be anything. It jumps forward: there is a gap. It jumps back: see [`History::record`].
//! - A damaged file never keeps a node from starting: it is moved aside, and a new one begins; a damaged row is left out.
//! - [`HistoryFile`]'s calls block on the disk. On an async runtime they belong on a thread for blocking work.

mod error;
mod file;
mod memory;
mod point;
mod resolution;
mod row;

pub use error::{HistoryError, Result};
pub use file::{HistoryFile, Opened};
pub use memory::{Changes, History, Recorded, SERIES_MAX, SeriesKey};
pub use point::{Point, Sample};
pub use resolution::{points_max, width_s};
