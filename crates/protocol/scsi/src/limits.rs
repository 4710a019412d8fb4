//! The bounds of what initiators may ask for, as the page of block limits tells them.

/// Bytes of a logical block.
pub const BLOCK_BYTES: u32 = quarry_types::SECTOR_BYTES as u32;
/// Logical blocks of a physical one, as an exponent of 2: writes of 4 KiB need no read.
pub const PHYSICAL_BLOCK_EXPONENT: u8 = 3;
/// Logical blocks of a physical one.
pub const PHYSICAL_BLOCKS: u32 = 1 << PHYSICAL_BLOCK_EXPONENT;
/// Most bytes of a command's data, whichever way it goes.
pub const TRANSFER_BYTES_MAX: u32 = 8 << 20;
/// What initiators do well to ask for at once.
pub const TRANSFER_BYTES_OPTIMAL: u32 = 1 << 20;
/// Most blocks of WRITE SAME: with a pattern that is not zero, every one of them is written.
pub const WRITE_SAME_BLOCKS_MAX: u32 = TRANSFER_BYTES_MAX / BLOCK_BYTES;
/// Most descriptors of one UNMAP.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 256;
/// Most bytes of parameters of a command, where no other bound holds.
pub const PARAMETER_BYTES_MAX: u32 = 64 << 10;
/// Most extents of one GET LBA STATUS.
pub const LBA_STATUS_DESCRIPTORS_MAX: usize = 1024;
/// How far one GET LBA STATUS looks.
pub const LBA_STATUS_BYTES_MAX: u64 = 4 << 30;
/// Bytes that are read, compared or written at once by commands that do so in steps: the memory that each takes.
pub const STEP_BYTES: u32 = 1 << 20;
/// How often ORWRITE tries a range that others write to at the same time.
pub const ORWRITE_TRIES_MAX: u32 = 64;
/// Targets of one EXTENDED COPY.
pub const COPY_TARGETS_MAX: usize = 16;
/// Segments of one EXTENDED COPY.
pub const COPY_SEGMENTS_MAX: usize = 64;
/// Most bytes that one segment of an EXTENDED COPY copies.
pub const COPY_SEGMENT_BYTES_MAX: u32 = 64 << 20;
/// Results of copies that a nexus can ask for.
pub const COPY_RESULTS_MAX: usize = 16;

const _: () = assert!(TRANSFER_BYTES_MAX as usize <= quarry_types::limits::REQUEST_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES * PHYSICAL_BLOCKS == quarry_types::limits::BLOCK_BYTES as u32);
