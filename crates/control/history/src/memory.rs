//! The store itself: rings of points, and how samples get into them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quarry_api_types::{ObjectKind, Resolution, Series};
use uuid::Uuid;

use crate::point::{Point, Sample, Sum};
use crate::resolution::{finer, points_max, stretch, width_s};

/// Most series. With all their points they take 65 KB each.
pub const SERIES_MAX: usize = 1280;
/// So far back the clock may go without being said to: what it is set right by.
const SLACK_S: u64 = 120;
/// So many samples in a row must come from before the newest point until that is believed: an hour of them.
const BEHIND_MAX: u32 = 60;
/// 2024-01-01. A clock before this was never set.
const EARLIEST_S: u64 = 1_704_067_200;
/// A series that was fed within this is not given up for another.
const SILENT_S: u64 = 24 * 60 * 60;

/// What a series is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesKey {
    /// What sort of thing.
    pub kind: ObjectKind,
    /// Its id.
    pub object: Uuid,
    /// Which of its figures.
    pub series: Series,
}

/// Points of one series, the oldest first, by resolution.
#[derive(Default)]
struct Rings {
    number: u32,
    points: [VecDeque<Point>; Resolution::ALL.len()],
    /// The newest minute with a sample.
    fed: u32,
}

/// Names a row: all points of one stretch.
pub(crate) type RowKey = (Resolution, u32);

/// What is to be kept, all of it or nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Changes {
    /// Rows that have changed, with all that they hold, by the number of a series.
    pub(crate) put: Vec<(RowKey, Vec<(u32, Point)>)>,
    pub(crate) dropped: Vec<RowKey>,
    pub(crate) begun: Vec<(u32, SeriesKey)>,
    pub(crate) ended: Vec<u32>,
}

/// What has become of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// It is in.
    Kept,
    /// It is not: the clock was never set.
    ClockUnset,
    /// It is not: it comes from before what is there, by so many seconds. If that goes on it is believed.
    Behind(u64),
    /// It is in. The clock went back, by so many seconds, and what was there of the time after it is gone.
    WentBack(u64),
}

/// Figures over time; see the crate.
#[derive(Default)]
pub struct History {
    series: BTreeMap<SeriesKey, Rings>,
    /// Stretches that have a row, by resolution.
    rows: [BTreeSet<u32>; Resolution::ALL.len()],
    next_number: u32,
    behind: u32,
    refused: u64,
    /// Rows that could not be read; the next change drops them.
    unreadable: Vec<RowKey>,
}

impl History {
    /// Takes what was looked at at one time. A time before the newest point by two minutes at most counts as that of the point. One
    /// further back is not taken, because a clock that was wrong for a while (a machine without a battery) must not cost what was kept; after
    /// an hour of samples it is, and everything later than it is dropped.
    pub fn record(&mut self, time_s: u64, samples: &[(SeriesKey, Sample)]) -> (Recorded, Changes) {
        let mut changes = Changes::default();
        if time_s < EARLIEST_S {
            return (Recorded::ClockUnset, changes);
        }
        let now = stretch(Resolution::Minute, time_s);
        let newest = self.newest();
        let slack = (SLACK_S / width_s(Resolution::Minute)) as u32;
        let (now, recorded) = match newest {
            Some(newest) if now < newest && newest - now <= slack => (newest, Recorded::Kept),
            Some(newest) if now < newest => {
                let by_s = u64::from(newest - now) * width_s(Resolution::Minute);
                self.behind += 1;
                if self.behind < BEHIND_MAX {
                    return (Recorded::Behind(by_s), changes);
                }
                self.go_back(now, &mut changes);
                (now, Recorded::WentBack(by_s))
            }
            _ => (now, Recorded::Kept),
        };
        self.behind = 0;
        if let Some(newest) = self.newest().filter(|newest| *newest < now) {
            self.close(newest, now, &mut changes);
        }
        for (key, sample) in samples {
            if let Some(point) = Point::new(now, *sample) {
                self.feed(*key, point, now, &mut changes);
            }
        }
        changes.dropped.append(&mut self.unreadable);
        self.put_row((Resolution::Minute, now), &mut changes);
        self.trim(&mut changes);
        (recorded, changes)
    }

    /// The newest minute.
    fn newest(&self) -> Option<u32> {
        self.rows[Resolution::Minute as usize].last().copied()
    }

    /// When the newest point begins, in seconds since 1970; `None` of nothing.
    pub fn newest_s(&self) -> Option<u64> {
        self.newest().map(|minute| u64::from(minute) * width_s(Resolution::Minute))
    }

    /// Makes the coarser points of stretches that have ended between two minutes. All rows before the older one were made so already.
    fn close(&mut self, newest: u32, now: u32, changes: &mut Changes) {
        let seconds = |minute: u32| u64::from(minute) * width_s(Resolution::Minute);
        for &resolution in Resolution::ALL {
            let Some(of) = finer(resolution) else { continue };
            let ended = stretch(resolution, seconds(newest));
            // It is there already where the clock went back.
            if stretch(resolution, seconds(now)) == ended || self.rows[resolution as usize].contains(&ended) {
                continue;
            }
            let factor = (width_s(resolution) / width_s(of)) as u32;
            let parts = ended.saturating_mul(factor)..ended.saturating_add(1).saturating_mul(factor);
            for rings in self.series.values_mut() {
                let mut sum = Sum::default();
                let newest_first = rings.points[of as usize].iter().rev();
                newest_first.take_while(|part| part.stretch >= parts.start).for_each(|part| {
                    if parts.contains(&part.stretch) {
                        sum.add(part);
                    }
                });
                if let Some(point) = sum.point(ended) {
                    rings.points[resolution as usize].push_back(point);
                }
            }
            self.put_row((resolution, ended), changes);
        }
    }

    fn feed(&mut self, key: SeriesKey, point: Point, now: u32, changes: &mut Changes) {
        if !self.series.contains_key(&key) && !self.begin(key, now, changes) {
            self.refused += 1;
            return;
        }
        let Some(rings) = self.series.get_mut(&key) else { return };
        rings.fed = now;
        let minutes = &mut rings.points[Resolution::Minute as usize];
        match minutes.back_mut().filter(|last| last.stretch == point.stretch) {
            Some(last) => {
                let mut sum = Sum::default();
                [&*last, &point].into_iter().for_each(|part| sum.add(part));
                *last = sum.point(point.stretch).unwrap_or(point);
            }
            None => minutes.push_back(point),
        }
    }

    /// Makes a place for a series; `false` when there is none.
    fn begin(&mut self, key: SeriesKey, now: u32, changes: &mut Changes) -> bool {
        if self.series.len() >= SERIES_MAX {
            let silent = self.series.iter().min_by_key(|(_, rings)| rings.fed);
            let silent_for = |rings: &Rings| u64::from(now.saturating_sub(rings.fed)) * 60;
            match silent.filter(|(_, rings)| silent_for(rings) >= SILENT_S).map(|(key, _)| *key) {
                Some(key) => changes.ended.extend(self.series.remove(&key).map(|rings| rings.number)),
                None => return false,
            }
        }
        let number = self.next_number;
        // In four thousand million series the numbers come round; by then the first ones are long gone.
        self.next_number = self.next_number.wrapping_add(1);
        self.series.insert(key, Rings { number, fed: now, ..Rings::default() });
        changes.begun.push((number, key));
        true
    }

    fn put_row(&mut self, row: RowKey, changes: &mut Changes) {
        let (resolution, stretch) = row;
        self.rows[resolution as usize].insert(stretch);
        let last = |rings: &Rings| {
            let point = rings.points[resolution as usize].back().filter(|last| last.stretch == stretch)?;
            Some((rings.number, *point))
        };
        changes.put.push((row, self.series.values().filter_map(last).collect()));
    }

    /// Drops all that is of the time after a minute, and points that reach into it.
    fn go_back(&mut self, now: u32, changes: &mut Changes) {
        let now_s = u64::from(now) * width_s(Resolution::Minute);
        for &resolution in Resolution::ALL {
            // A coarser point of this very stretch was made of what is gone now; it is made again.
            let from = stretch(resolution, now_s);
            let gone = self.rows[resolution as usize].split_off(&from);
            changes.dropped.extend(gone.into_iter().map(|stretch| (resolution, stretch)));
            for rings in self.series.values_mut() {
                let points = &mut rings.points[resolution as usize];
                while points.back().is_some_and(|last| last.stretch >= from) {
                    points.pop_back();
                }
                rings.fed = rings.fed.min(now);
            }
        }
    }

    fn trim(&mut self, changes: &mut Changes) {
        for &resolution in Resolution::ALL {
            let rows = &mut self.rows[resolution as usize];
            while rows.len() > points_max(resolution) {
                changes.dropped.extend(rows.pop_first().map(|stretch| (resolution, stretch)));
            }
            let Some(&oldest) = rows.first() else { continue };
            for rings in self.series.values_mut() {
                let points = &mut rings.points[resolution as usize];
                while points.front().is_some_and(|first| first.stretch < oldest) {
                    points.pop_front();
                }
            }
        }
    }

    /// The points of a series that end after a time, the oldest first, each with when it begins.
    pub fn points(
        &self,
        key: &SeriesKey,
        resolution: Resolution,
        from_s: u64,
    ) -> impl Iterator<Item = (u64, &Point)> {
        let width = width_s(resolution);
        let points =
            self.series.get(key).into_iter().flat_map(move |rings| &rings.points[resolution as usize]);
        let begun = points.map(move |point| (u64::from(point.stretch) * width, point));
        begun.skip_while(move |(begin, _)| begin + width <= from_s)
    }

    /// The finest resolution whose rows reach back to a time, or the one that reaches furthest back.
    pub fn resolution_since(&self, from_s: u64) -> Resolution {
        let oldest = |resolution: Resolution| {
            let first = self.rows[resolution as usize].first();
            first.map(|stretch| u64::from(*stretch) * width_s(resolution))
        };
        let reaches = |resolution: &&Resolution| oldest(**resolution).is_some_and(|oldest| oldest <= from_s);
        let furthest = || {
            let all = Resolution::ALL.iter().filter_map(|one| Some((oldest(*one)?, *one)));
            all.min().map(|(_, resolution)| resolution)
        };
        let found = Resolution::ALL.iter().find(reaches).copied();
        found.or_else(furthest).unwrap_or(Resolution::Minute)
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// How many samples were not taken, since the start, because there were too many series.
    pub fn refused_samples(&self) -> u64 {
        self.refused
    }

    /// Makes a series that was kept.
    pub(crate) fn restore_series(&mut self, number: u32, key: SeriesKey) {
        self.series.insert(key, Rings { number, ..Rings::default() });
    }

    pub(crate) fn set_next_number(&mut self, number: u32) {
        self.next_number = number;
    }

    pub(crate) fn note_unreadable(&mut self, row: RowKey) {
        self.unreadable.push(row);
    }

    /// Puts a row back that was kept; rows of a resolution come the oldest first. Points of series that are not there are left out.
    pub(crate) fn restore_row(&mut self, (resolution, stretch): RowKey, points: &BTreeMap<u32, Point>) {
        self.rows[resolution as usize].insert(stretch);
        let minute = u64::from(stretch).saturating_mul(width_s(resolution)) / width_s(Resolution::Minute);
        for rings in self.series.values_mut() {
            if let Some(point) = points.get(&rings.number) {
                rings.points[resolution as usize].push_back(*point);
                rings.fed = rings.fed.max(u32::try_from(minute).unwrap_or(u32::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests;
