//! What the device is: features and configuration space (virtio 1.2, 5.2.3 and 5.2.4).

use quarry_types::limits::BLOCK_BYTES;
use quarry_types::{SECTOR_BYTES, VolumeId};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use zerocopy::{Immutable, IntoBytes};

use crate::limits::{QUEUES_MAX, RANGE_SECTORS_MAX, RANGES_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};

/// `VHOST_USER_F_PROTOCOL_FEATURES`: the features of the control socket can be negotiated.
pub(crate) const PROTOCOL_FEATURES: u64 = 1 << 30;
/// `VHOST_USER_PROTOCOL_F_REPLY_ACK`.
pub(crate) const REPLY_ACK: u64 = 1 << 3;
/// `VHOST_USER_PROTOCOL_F_CONFIG`.
pub(crate) const CONFIG: u64 = 1 << 9;
/// `MQ`, `REPLY_ACK`, `BACKEND_REQ`, `CONFIG`, `INFLIGHT_SHMFD`, `RESET_DEVICE` and `CONFIGURE_MEM_SLOTS`.
pub(crate) const PROTOCOL_OFFERED: u64 = 1 | REPLY_ACK | 1 << 5 | CONFIG | 1 << 12 | 1 << 13 | 1 << 15;

/// Where the configuration space has the only byte that a driver writes: whether a cache may hold writes back.
pub(crate) const WRITEBACK_AT: u32 = std::mem::offset_of!(ConfigSpace, writeback) as u32;
/// Length of what a driver calls the serial number.
pub(crate) const SERIAL_BYTES: usize = 20;

const fn bit(feature: u32) -> u64 {
    1 << feature
}

/// The features of a device.
pub(crate) const fn offered(read_only: bool) -> u64 {
    let of_block = bit(VIRTIO_BLK_F_SIZE_MAX)
        | bit(VIRTIO_BLK_F_SEG_MAX)
        | bit(VIRTIO_BLK_F_BLK_SIZE)
        | bit(VIRTIO_BLK_F_TOPOLOGY)
        | bit(VIRTIO_BLK_F_FLUSH)
        | bit(VIRTIO_BLK_F_CONFIG_WCE)
        | bit(VIRTIO_BLK_F_MQ);
    let of_change = match read_only {
        true => bit(VIRTIO_BLK_F_RO),
        false => bit(VIRTIO_BLK_F_DISCARD) | bit(VIRTIO_BLK_F_WRITE_ZEROES),
    };
    let of_ring = bit(VIRTIO_RING_F_INDIRECT_DESC) | bit(VIRTIO_RING_F_EVENT_IDX);
    of_block | of_change | of_ring | bit(VIRTIO_F_VERSION_1) | PROTOCOL_FEATURES
}

/// Whether a driver uses event indices.
pub(crate) fn has_event_index(features: u64) -> bool {
    features & bit(VIRTIO_RING_F_EVENT_IDX) != 0
}

/// Whether a driver flushes what it wants to be safe. One that does not must find every write safe (5.2.6.2).
pub(crate) fn has_flush(features: u64) -> bool {
    features & bit(VIRTIO_BLK_F_FLUSH) != 0
}

/// `struct virtio_blk_config` as far as our features reach.
#[derive(IntoBytes, Immutable)]
#[repr(C, packed)]
struct ConfigSpace {
    capacity_sectors: u64,
    segment_bytes_max: u32,
    segments_max: u32,
    geometry: [u8; 4],
    block_bytes: u32,
    physical_block_exponent: u8,
    alignment_offset: u8,
    min_io_blocks: u16,
    optimal_io_blocks: u32,
    writeback: u8,
    unused: u8,
    queues: u16,
    discard_sectors_max: u32,
    discard_ranges_max: u32,
    discard_alignment_sectors: u32,
    write_zeroes_sectors_max: u32,
    write_zeroes_ranges_max: u32,
    write_zeroes_may_unmap: u8,
    unused_too: [u8; 3],
}

/// The configuration space of a volume of `size_bytes`.
pub(crate) fn space(size_bytes: u64, writeback: bool) -> Vec<u8> {
    let block_sectors = (BLOCK_BYTES / SECTOR_BYTES) as u16;
    let space = ConfigSpace {
        capacity_sectors: size_bytes / SECTOR_BYTES as u64,
        segment_bytes_max: SEGMENT_BYTES_MAX,
        segments_max: SEGMENTS_MAX,
        geometry: [0; 4],
        block_bytes: SECTOR_BYTES as u32,
        physical_block_exponent: block_sectors.ilog2() as u8,
        alignment_offset: 0,
        min_io_blocks: block_sectors,
        optimal_io_blocks: 0,
        writeback: writeback.into(),
        unused: 0,
        queues: QUEUES_MAX as u16,
        discard_sectors_max: RANGE_SECTORS_MAX,
        discard_ranges_max: RANGES_MAX,
        discard_alignment_sectors: block_sectors.into(),
        write_zeroes_sectors_max: RANGE_SECTORS_MAX,
        write_zeroes_ranges_max: RANGES_MAX,
        write_zeroes_may_unmap: 1,
        unused_too: [0; 3],
    };
    space.as_bytes().to_vec()
}

/// What a driver is told for a serial number: the first digits of the volume's id.
pub(crate) fn serial(volume: VolumeId) -> [u8; SERIAL_BYTES] {
    let digits = volume.to_string().replace('-', "");
    let mut serial = [0; SERIAL_BYTES];
    serial.copy_from_slice(&digits.as_bytes()[..SERIAL_BYTES]);
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_laid_out_as_the_standard_says() {
        let space = space(1 << 30, true);
        let u32_at = |at: usize| u32::from_le_bytes(space[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(space.len(), 60);
        assert_eq!(space[..8], (1u64 << 21).to_le_bytes());
        assert_eq!((u32_at(8), u32_at(12), u32_at(20)), (256 << 10, 126, 512));
        assert_eq!((space[24], space[26], space[32], space[34], space[56]), (3, 8, 1, 64, 1));
        assert_eq!(
            (u32_at(36), u32_at(40), u32_at(44), u32_at(48), u32_at(52)),
            (2 << 20, 32, 8, 2 << 20, 32)
        );
        assert_eq!(WRITEBACK_AT, 32);
    }

    #[test]
    fn a_serial_number_is_the_beginning_of_the_id() {
        let id = VolumeId::from_bytes(*b"\x9f\x0c\x6d\x3e\x3a\x5b\x4c\x7d\x8e\x9f\0\0\0\0\0\0");
        assert_eq!(&serial(id), b"9f0c6d3e3a5b4c7d8e9f");
    }
}
