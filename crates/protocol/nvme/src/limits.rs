//! The bounds of the controller model, and how they relate.

use std::time::Duration;

/// Bytes of a logical block: LBA format 0, the only one.
pub const LBA_BYTES: u64 = 512;
/// Blocks of 512 bytes in the unit that a volume writes whole and without a read.
pub const PREFERRED_BLOCKS: u64 = 8;

/// Least size of a memory page (CAP.MPSMIN): the unit of MDTS.
pub const PAGE_BYTES: u32 = 4096;
/// MDTS, as a power of two of pages.
pub const TRANSFER_PAGES_LOG2: u8 = 8;
/// Most data that one command moves.
pub const TRANSFER_BYTES_MAX: u32 = PAGE_BYTES << TRANSFER_PAGES_LOG2;
/// Longest Write Zeroes (WZSL), as a power of two of pages: what 16 bits of blocks can say.
pub const ZEROES_PAGES_LOG2: u8 = 13;

/// Most entries of an I/O queue (CAP.MQES is one less).
pub const IO_ENTRIES_MAX: u16 = 256;
/// Most entries of an admin queue.
pub const ADMIN_ENTRIES_MAX: u16 = 128;
/// I/O queues of one controller.
pub const IO_QUEUES_MAX: u16 = 128;
/// Asynchronous Event Requests that wait at once.
pub const EVENT_REQUESTS_MAX: usize = 4;
/// Entries of a controller's error log.
pub const ERROR_ENTRIES_MAX: usize = 64;
/// Notifications about reservations that wait to be read.
pub const RESERVATION_NOTICES_MAX: usize = 255;
/// Highest controller id that is given (0xFFF0 and above are reserved).
pub const CONTROLLER_ID_MAX: u16 = 0xFFEF;

/// Highest namespace id (NN).
pub const NAMESPACE_ID_MAX: u32 = quarry_target::limits::UNIT_NUMBER_MAX;
/// Most namespaces that one host sees (MNAN), and the length of the list of changed namespaces.
pub const NAMESPACES_MAX: usize = 1024;
/// ANA groups: one for each core, as each has a log of its own; cores beyond share them.
pub const ANA_GROUPS_MAX: u32 = 128;

/// Ranges of one Dataset Management command.
pub const DATASET_RANGES_MAX: usize = 256;
/// Source ranges of one Copy command (MSRC is one less).
pub const COPY_RANGES_MAX: usize = 128;
/// Blocks of one source range (MSSRL).
pub const COPY_RANGE_BLOCKS_MAX: u16 = 32_768;
/// Blocks of one Copy command (MCL).
pub const COPY_BLOCKS_MAX: u32 = 65_536;
/// What commands that read on their own behalf read at once.
pub const STEP_BYTES: u32 = 1 << 20;
/// Most memory for what one command reads on its own behalf.
pub const WORKING_BYTES_MAX: u64 = 2 * STEP_BYTES as u64;
/// Extents that an Identify Namespace looks at to find out how much is allocated.
pub const USAGE_EXTENTS_MAX: usize = 16_384;

/// Unit of the keep-alive time-out (KAS is 1).
pub const KEEP_ALIVE_UNIT: Duration = Duration::from_millis(100);
/// A host that is silent is given up at most this part of its time-out too late.
pub const DEADLINE_TICKS: u32 = 8;
/// How long a discovery controller without keep-alive lives after its last command.
pub const DISCOVERY_IDLE_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest time that a controller takes to get ready (CAP.TO): what is in flight must end before.
pub const READY_TIME_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(TRANSFER_BYTES_MAX as usize <= quarry_types::limits::REQUEST_BYTES_MAX);
const _: () = assert!(TRANSFER_BYTES_MAX <= STEP_BYTES, "Compare reads in one step");
const _: () = assert!(NAMESPACES_MAX <= NAMESPACE_ID_MAX as usize);
const _: () = assert!(DATASET_RANGES_MAX * 16 <= TRANSFER_BYTES_MAX as usize);
