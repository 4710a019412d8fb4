//! The bound of every queue, buffer and cache, by name, and how the bounds relate.

use std::time::Duration;

/// Unit of a log address and the smallest alignment that a host may use.
pub const SECTOR_BYTES: usize = 512;
/// The granule of the map; smaller writes read, modify and write one block.
pub const BLOCK_BYTES: usize = 4096;
/// Sectors in a block.
pub const BLOCK_SECTORS: u32 = (BLOCK_BYTES / SECTOR_BYTES) as u32;

/// Default size of a segment and of a chunk.
pub const SEGMENT_BYTES_DEFAULT: u64 = 32 << 20;
/// Smallest segment, for small devices.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Sectors in the largest segment; a log address has 16 bits for them.
pub const SEGMENT_SECTORS_MAX: u32 = (SEGMENT_BYTES_DEFAULT / SECTOR_BYTES as u64) as u32;
/// A device gets segments small enough for this many slots, as far as [`SEGMENT_BYTES_MIN`] allows.
pub const SLOTS_WANTED_MIN: u64 = 1024;

/// Space in front of the first slot of a device: label, its copy and the anchors of the logs.
pub const DEVICE_HEADER_BYTES: u64 = 1 << 20;
/// Smallest device that can join a pool.
pub const DEVICE_BYTES_MIN: u64 = 32 << 20;
/// How the address of an NBD export begins that is a device.
pub const NBD_SCHEME: &str = "nbd://";
/// The same over a unix socket.
pub const NBD_UNIX_SCHEME: &str = "nbd+unix://";
/// How the address of a namespace behind NVMe/TCP begins that is a device.
pub const NVME_TCP_SCHEME: &str = "nvme-tcp://";
/// How the address of a logical unit behind iSCSI begins that is a device.
pub const ISCSI_SCHEME: &str = "iscsi://";
/// How addresses of devices begin that are behind a network, and no place in a bucket.
pub const NETWORK_SCHEMES: [&str; 4] = [NBD_SCHEME, NBD_UNIX_SCHEME, NVME_TCP_SCHEME, ISCSI_SCHEME];
/// How the path of a file begins that is used as persistent memory; the path follows.
pub const PMEM_SCHEME: &str = "pmem://";
/// How the address of a place in a bucket begins that is a device.
pub const S3_SCHEME: &str = "s3://";
/// Most devices in one pool.
pub const DEVICES_MAX: usize = 64;
/// How long a device may take for anything before it is given up, if it can be done without. Hosts give a command 30 s.
pub const DEVICE_PATIENCE_DEFAULT: Duration = Duration::from_secs(15);
/// The least and the most that can be set.
pub const DEVICE_PATIENCE_MIN: Duration = Duration::from_secs(1);
/// See [`DEVICE_PATIENCE_MIN`].
pub const DEVICE_PATIENCE_MAX: Duration = Duration::from_secs(600);
/// How much longer a device behind a network may take: its client connects again, sends again, and keeps off ranges.
pub const NETWORK_PATIENCE_EXTRA: Duration = Duration::from_secs(10);
/// The same for a bucket: a request is sent again while its server is away, and what is in doubt is waited for before it is written anew.
pub const OBJECT_PATIENCE_EXTRA: Duration = Duration::from_secs(40);
/// Most copies of a chunk.
pub const COPIES_MAX: usize = 4;
/// Fewest data members of an erasure code.
pub const CODE_DATA_MIN: usize = 2;
/// Most data members of an erasure code.
pub const CODE_DATA_MAX: usize = 8;
/// Fewest parity members of an erasure code.
pub const CODE_PARITY_MIN: usize = 1;
/// Most parity members of an erasure code: as many devices may be missing.
pub const CODE_PARITY_MAX: usize = 3;
/// Most members of a group.
pub const CODE_MEMBERS_MAX: usize = CODE_DATA_MAX + CODE_PARITY_MAX;
/// Most logs in one pool. Each has two anchors in every device's header.
pub const LOGS_MAX: u16 = 64;

/// Largest volume: 2^38 blocks of 4 KiB.
pub const VOLUME_BYTES_MAX: u64 = 1 << 50;
/// Longest history of a volume, in seconds: a moment each, about 150 bytes in every image.
pub const HISTORY_S_MAX: u32 = 3600;
/// Most seconds of history in one log, of all of its volumes.
pub const MOMENTS_MAX: usize = 36_000;
/// Most volumes on a node.
pub const VOLUMES_MAX: usize = 65_536;
/// Longest name of a pool or volume, in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// Most payload in one batch, in bytes.
pub const BATCH_PAYLOAD_BYTES_MAX: usize = 512 << 10;
/// Most bytes of header and record table of one batch.
pub const BATCH_HEADER_BYTES_MAX: usize = 32 << 10;
/// Batches of one log that may be on their way to the devices at once.
pub const BATCHES_IN_FLIGHT_MAX: usize = 8;

/// Most bytes of a write that counts as a whole or not at all: it has to fit into one batch.
pub const ATOMIC_BYTES_MAX: usize = BATCH_PAYLOAD_BYTES_MAX / 2;

/// Largest read or write that the engine takes as one request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Default of `--memory`.
pub const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// Smallest `--memory` that works.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;

const _: () = assert!(DEVICE_PATIENCE_MIN.as_millis() <= DEVICE_PATIENCE_DEFAULT.as_millis());
const _: () = assert!(
    (DEVICE_PATIENCE_DEFAULT.as_millis() + NETWORK_PATIENCE_EXTRA.as_millis()) < 30_000,
    "hosts wait 30 s"
);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));
const _: () = assert!(ATOMIC_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(CODE_PARITY_MAX < COPIES_MAX, "what is in no group survives as many losses as groups");
const _: () = assert!(SEGMENT_BYTES_DEFAULT.is_multiple_of(SEGMENT_BYTES_MIN));
const _: () = assert!(DEVICE_BYTES_MIN >= DEVICE_HEADER_BYTES + 16 * SEGMENT_BYTES_MIN);
const _: () = assert!(
    (BATCH_PAYLOAD_BYTES_MAX + BATCH_HEADER_BYTES_MAX) as u64 <= SEGMENT_BYTES_MIN - 8 * BLOCK_BYTES as u64,
    "a full batch must fit into the smallest segment behind its header"
);
const _: () = assert!(VOLUME_BYTES_MAX / BLOCK_BYTES as u64 <= 1 << 40);
