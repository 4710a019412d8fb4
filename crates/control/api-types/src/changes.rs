//! What differs between two snapshots of a volume, or between a snapshot and the volume as it is.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Name;

/// Between which states of a volume, and from where on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangesQuery {
    /// The older snapshot. Absent: all that the newer state holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub from: Option<Name>,
    /// The newer snapshot. Absent: the volume as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub to: Option<Name>,
    /// The byte from which on to list, rounded down to a whole block of 4 KiB: `next` of the answer before.
    #[serde(default)]
    #[param(required = false, default = 0)]
    pub start: u64,
}

/// A part of the differences, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// Size of the volume in the newer state, in bytes. What the older one held beyond it is not listed.
    pub size_bytes: u64,
    /// What differs, in order and without overlaps.
    pub ranges: Vec<ChangedRange>,
    /// The `start` with which to ask for more; absent when this was all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Bytes that were written or freed, in whole blocks of 4 KiB but for the end of the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// Whether they hold data in the newer state; else they read as zeroes.
    pub data: bool,
}

impl Changes {
    /// Adds the part that follows; ranges that touch become one.
    pub fn append(&mut self, part: Self) {
        self.size_bytes = part.size_bytes;
        self.next = part.next;
        for range in part.ranges {
            match self.ranges.last_mut() {
                Some(last) if last.data == range.data && last.offset + last.length == range.offset => {
                    last.length += range.length;
                }
                _ => self.ranges.push(range),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_whole() {
        let range = |offset, length, data| ChangedRange { offset, length, data };
        let mut all = Changes { size_bytes: 1 << 20, ranges: vec![range(0, 4096, true)], next: Some(4096) };
        let ranges = vec![range(4096, 8192, true), range(12288, 4096, false), range(65536, 4096, false)];
        all.append(Changes { size_bytes: 1 << 20, ranges, next: None });
        assert_eq!(all.ranges, [range(0, 12288, true), range(12288, 4096, false), range(65536, 4096, false)]);
        assert_eq!(all.next, None);
    }
}
