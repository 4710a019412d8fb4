//! How long a point of each resolution lasts, and how many are kept.

use quarry_api_types::Resolution;

/// How long a point lasts.
pub const fn width_s(resolution: Resolution) -> u64 {
    match resolution {
        Resolution::Minute => 60,
        Resolution::QuarterHour => 15 * 60,
        Resolution::Hour => 60 * 60,
        Resolution::Day => 24 * 60 * 60,
    }
}

/// Most points of a series: four hours, four days, six weeks, three years.
pub const fn points_max(resolution: Resolution) -> usize {
    match resolution {
        Resolution::Minute => 4 * 60,
        Resolution::QuarterHour => 4 * 24 * 4,
        Resolution::Hour => 6 * 7 * 24,
        Resolution::Day => 3 * 366,
    }
}

/// The resolution that another one is made of.
pub(crate) const fn finer(resolution: Resolution) -> Option<Resolution> {
    match resolution {
        Resolution::Minute => None,
        Resolution::QuarterHour => Some(Resolution::Minute),
        Resolution::Hour => Some(Resolution::QuarterHour),
        Resolution::Day => Some(Resolution::Hour),
    }
}

/// The stretch in which a point in time lies. After the year 8000 it is the last one.
pub(crate) fn stretch(resolution: Resolution, time_s: u64) -> u32 {
    u32::try_from(time_s / width_s(resolution)).unwrap_or(u32::MAX)
}

// What a coarser point is made of must still be there when it is made.
const _: () = assert!(points_max(Resolution::Minute) >= 2 * 15);
const _: () = assert!(points_max(Resolution::QuarterHour) >= 2 * 4);
const _: () = assert!(points_max(Resolution::Hour) >= 2 * 24);
