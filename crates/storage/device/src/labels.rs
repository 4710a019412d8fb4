//! The two copies of a label: which one counts, and how both are written so that one is always valid.

use std::io;

use quarry_env::{BufferPool, Disk, DiskGeometry};
use quarry_format::label::{GRANULE_BYTES, LABEL_BYTES, LABEL_COPY_OFFSETS, Label, LabelError};
use quarry_types::limits::DEVICE_HEADER_BYTES;

use crate::raw;

/// What is overwritten at the end of a device when it changes hands: signatures live there too.
pub const TAIL_BYTES: u64 = 1 << 20;

/// Why one copy of a label is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It was read, but it is none.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Both copies as they were read.
pub type Copies = [Result<Label, CopyError>; 2];

/// The copy that counts, and which copy differs from it.
#[derive(Debug)]
pub struct Newest {
    pub label: Label,
    pub stale_copy: Option<usize>,
}

/// Why no copy counts.
#[derive(Debug)]
pub enum NoLabel {
    /// Neither copy has ever been a label.
    None,
    /// A newer program has written one of them.
    Version(u32),
    /// There was a label once.
    Damaged(CopyError, CopyError),
}

/// Chooses the valid copy with the highest sequence. A copy of another version forbids both: rewriting it would undo
/// what a newer program began.
pub fn newest(copies: Copies) -> Result<Newest, NoLabel> {
    for copy in &copies {
        if let Err(CopyError::Label(LabelError::Version { found })) = copy {
            return Err(NoLabel::Version(*found));
        }
    }
    match copies {
        [Ok(first), Ok(second)] => {
            let stale_copy = match first.sequence.cmp(&second.sequence) {
                std::cmp::Ordering::Less => Some(0),
                std::cmp::Ordering::Equal if first == second => None,
                _ => Some(1),
            };
            let label = if stale_copy == Some(0) { second } else { first };
            Ok(Newest { label, stale_copy })
        }
        [Ok(label), Err(_)] => Ok(Newest { label, stale_copy: Some(1) }),
        [Err(_), Ok(label)] => Ok(Newest { label, stale_copy: Some(0) }),
        [Err(CopyError::Label(LabelError::Magic)), Err(CopyError::Label(LabelError::Magic))] => {
            Err(NoLabel::None)
        }
        [Err(first), Err(second)] => Err(NoLabel::Damaged(first, second)),
    }
}

/// Reads both copies. Only where neither can be read is that an error of its own.
pub async fn read(disk: &dyn Disk, buffers: &BufferPool) -> io::Result<Copies> {
    let [first, second] = [read_copy(disk, buffers, 0).await, read_copy(disk, buffers, 1).await];
    match (first, second) {
        (Err(CopyError::Io(error)), Err(CopyError::Io(_))) => Err(error),
        (first, second) => Ok([first, second]),
    }
}

async fn read_copy(disk: &dyn Disk, buffers: &BufferPool, which: usize) -> Result<Label, CopyError> {
    let bytes = raw::read(disk, buffers, LABEL_COPY_OFFSETS[which], LABEL_BYTES as u64).await?;
    Ok(Label::decode(&bytes)?)
}

/// Writes one copy and makes it durable.
pub async fn write_copy(
    disk: &dyn Disk,
    buffers: &BufferPool,
    label: &Label,
    which: usize,
) -> io::Result<()> {
    disk.write(LABEL_COPY_OFFSETS[which], vec![buffers.copy_of(&label.encode())]).await?;
    disk.flush().await
}

/// Writes both copies, the second first: at every moment one valid copy is durable.
pub async fn write(disk: &dyn Disk, buffers: &BufferPool, label: &Label) -> io::Result<()> {
    write_copy(disk, buffers, label, 1).await?;
    write_copy(disk, buffers, label, 0).await
}

/// Overwrites labels, then header and end of a device: nothing recognises anything on it afterwards.
///
/// The labels go first, durably, so that no label ever stands in front of anchors that are gone.
pub async fn erase(disk: &dyn Disk, buffers: &BufferPool) -> io::Result<()> {
    let geometry = disk.geometry();
    let size_bytes = geometry.size_bytes - geometry.size_bytes % u64::from(geometry.sector_bytes);
    for offset in LABEL_COPY_OFFSETS {
        raw::write_zeroes(disk, buffers, offset, LABEL_BYTES as u64).await?;
    }
    disk.flush().await?;
    raw::write_zeroes(disk, buffers, 0, DEVICE_HEADER_BYTES.min(size_bytes)).await?;
    let tail = size_bytes.saturating_sub(TAIL_BYTES).clamp(DEVICE_HEADER_BYTES.min(size_bytes), size_bytes);
    raw::write_zeroes(disk, buffers, tail, size_bytes - tail).await?;
    disk.flush().await
}

/// What a pool can use of a device of that size.
pub fn usable_bytes(size_bytes: u64) -> u64 {
    size_bytes - size_bytes % u64::from(GRANULE_BYTES)
}

/// Whether both copies of a label lie inside such a disk and on its sectors.
pub fn has_room(geometry: &DiskGeometry) -> bool {
    let end = LABEL_COPY_OFFSETS[1] + LABEL_BYTES as u64;
    geometry.size_bytes >= end && GRANULE_BYTES.is_multiple_of(geometry.sector_bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quarry_format::label::{DeviceClass, LabelState, Member, TierPolicy};
    use quarry_types::{DeviceId, PoolId, Protection};

    use super::*;

    fn label(sequence: u64) -> Label {
        let member = Member {
            device: DeviceId::from_bytes([1; 16]),
            index: 0,
            size_bytes: 1 << 30,
            slots: 1,
            sector_bytes: 512,
            class: DeviceClass::Ssd,
            created_file: false,
            leaving: false,
            path: String::new(),
        };
        Label {
            sequence,
            state: LabelState::Ready,
            pool: PoolId::from_bytes([2; 16]),
            pool_name: "p".to_owned(),
            protection: Protection::Copies(1),
            segment_bytes: 32 << 20,
            tier_policy: TierPolicy::Automatic,
            log_policies: BTreeMap::new(),
            created_ms: 0,
            device_index: 0,
            members: vec![member],
        }
    }

    #[test]
    fn the_newest_valid_copy_counts_and_the_other_is_stale() {
        let bad = |error: LabelError| Err(CopyError::Label(error));
        let torn = || bad(LabelError::Checksum { found: 1, computed: 2 });
        let unreadable = || Err(CopyError::Io(io::ErrorKind::Other.into()));
        for (copies, sequence, stale_copy) in [
            ([Ok(label(1)), Ok(label(1))], 1, None),
            ([Ok(label(1)), Ok(label(2))], 2, Some(0)),
            ([Ok(label(3)), Ok(label(2))], 3, Some(1)),
            ([Ok(label(1)), torn()], 1, Some(1)),
            ([unreadable(), Ok(label(5))], 5, Some(0)),
            ([bad(LabelError::Magic), Ok(label(5))], 5, Some(0)),
        ] {
            let newest = newest(copies).expect("one copy is valid");
            assert_eq!((newest.label.sequence, newest.stale_copy), (sequence, stale_copy));
        }
        let newer = || bad(LabelError::Version { found: 2 });
        assert!(matches!(newest([torn(), bad(LabelError::Magic)]), Err(NoLabel::Damaged(..))));
        assert!(matches!(newest([bad(LabelError::Magic), bad(LabelError::Magic)]), Err(NoLabel::None)));
        assert!(matches!(newest([newer(), torn()]), Err(NoLabel::Version(2))));
        assert!(matches!(newest([Ok(label(1)), newer()]), Err(NoLabel::Version(2))));
    }
}
