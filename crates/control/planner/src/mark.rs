//! How a snapshot that a schedule has taken is told from one that was made by hand: by its id.
//!
//! Such a snapshot has an id of version 8 (RFC 9562 section 5.8), which nothing else in a node makes: the time for which it was
//! taken, a marker, and a hash of the volume, that time and the attempt. So the pools' devices tell everything, no catalog must
//! agree with them, and a node that was stopped in the middle finds what it has done. Its name follows from the id; one that was
//! given another name counts as made by hand, and is never deleted by a schedule.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use quarry_api_types::Name;
use quarry_types::{SnapshotId, VolumeId};
use uuid::Uuid;

/// In the 12 bits after the version.
const MARKER: u16 = 0x5c1;
/// Snapshots that can be taken for one time, when a clock goes back again and again.
pub const ATTEMPTS_MAX: u32 = 100;
const HASH_CONTEXT: &str = "quarry 2026-11-22 snapshot by schedule";

/// A time for which a schedule takes a snapshot, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub i64);

impl Slot {
    /// The slot at a point in time, whose fraction of a second does not count.
    pub fn at(time: Timestamp) -> Self {
        Self(time.as_second())
    }

    /// The point in time; what lies beyond the year 9999 is its end.
    pub fn time(self) -> Timestamp {
        Timestamp::from_second(self.0).unwrap_or(Timestamp::MAX)
    }

    /// The name of the snapshot that is taken for it at the `attempt`, which counts from 1.
    pub fn name(self, attempt: u32) -> Name {
        let time = self.time().to_zoned(TimeZone::UTC).strftime("auto-%Y%m%dT%H%MZ").to_string();
        let text = if attempt <= 1 { time } else { format!("{time}-{attempt}") };
        text.parse().expect("digits, letters and dashes make a name")
    }
}

/// The id of the snapshot of a volume that is taken for a slot at the `attempt`.
pub fn snapshot_id(volume: VolumeId, slot: Slot, attempt: u32) -> SnapshotId {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    hasher.update(&volume.to_bytes()).update(&slot.0.to_le_bytes()).update(&attempt.to_le_bytes());
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&slot.0.to_be_bytes()[2..]);
    bytes[6..8].copy_from_slice(&MARKER.to_be_bytes());
    bytes[8..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    SnapshotId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// The slot for which a schedule has taken the snapshot with this id and name. `None` when it was made by hand, or got another
/// name since.
pub fn slot_of(id: SnapshotId, name: &str) -> Option<Slot> {
    let slot = slot_in(id.0)?;
    let expected = slot.name(1);
    let rest = name.strip_prefix(expected.as_str())?;
    let is_ours = rest.is_empty()
        || rest.strip_prefix('-').is_some_and(|attempt| {
            attempt.parse().is_ok_and(|attempt: u32| (2..=ATTEMPTS_MAX).contains(&attempt))
        });
    is_ours.then_some(slot)
}

fn slot_in(id: Uuid) -> Option<Slot> {
    let bytes = id.as_bytes();
    let marker = u16::from_be_bytes([bytes[6] & 0x0f, bytes[7]]);
    if id.get_version_num() != 8 || marker != MARKER {
        return None;
    }
    let mut seconds = [0; 8];
    seconds[2..].copy_from_slice(&bytes[..6]);
    Some(Slot(i64::from_be_bytes(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(text: &str) -> Slot {
        Slot::at(text.parse().unwrap())
    }

    #[test]
    fn the_id_tells_the_slot_and_the_name_follows_from_it() {
        let (volume, slot) = (VolumeId::from_random(7), slot("2026-11-21T10:15:00Z"));
        assert_eq!(slot.name(1).as_str(), "auto-20261121T1015Z");
        assert_eq!(slot.name(3).as_str(), "auto-20261121T1015Z-3");
        let id = snapshot_id(volume, slot, 1);
        assert_eq!((id.0.get_version_num(), slot_of(id, "auto-20261121T1015Z")), (8, Some(slot)));
        assert_eq!(slot_of(snapshot_id(volume, slot, 3), "auto-20261121T1015Z-3"), Some(slot));
        let others = [
            snapshot_id(volume, slot, 2),
            snapshot_id(VolumeId::from_random(8), slot, 1),
            snapshot_id(volume, Slot(slot.0 + 60), 1),
        ];
        assert!(others.iter().all(|other| *other != id));
    }

    #[test]
    fn a_snapshot_made_by_hand_or_renamed_has_no_slot() {
        let name = "auto-20261121T1015Z";
        let id = snapshot_id(VolumeId::from_random(7), slot("2026-11-21T10:15:00Z"), 1);
        for other in ["monday", "auto-20261121T1030Z", "auto-20261121T1015Z-x", "auto-20261121T1015Z-1"] {
            assert_eq!(slot_of(id, other), None, "{other}");
        }
        for bits in 0..1000_u128 {
            assert_eq!(slot_of(SnapshotId::from_random(bits << 64 | 0xffff_ffff_ffff << 80), name), None);
        }
    }

    #[test]
    fn the_form_of_the_id_is_fixed() {
        let id = snapshot_id(VolumeId::from_random(7), slot("2026-11-21T10:15:00Z"), 1);
        assert_eq!(id.to_string(), "00006b01-6f24-85c1-b703-9649bd824e5e");
    }
}
