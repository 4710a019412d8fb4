//! The properties of a controller (NVMe Base 2.0, 3.1.3): where they are and what their bits are.

/// Offsets of the properties that exist over fabrics.
pub mod offset {
    /// Controller Capabilities, 8 bytes.
    pub const CAPABILITIES: u32 = 0x00;
    /// Version.
    pub const VERSION: u32 = 0x08;
    /// Controller Configuration.
    pub const CONFIGURATION: u32 = 0x14;
    /// Controller Status.
    pub const STATUS: u32 = 0x1C;
    /// NVM Subsystem Reset, which is not supported.
    pub const SUBSYSTEM_RESET: u32 = 0x20;
    /// Controller Ready Timeouts.
    pub const READY_TIMEOUTS: u32 = 0x68;
}

/// Bits of Controller Configuration and Controller Status.
pub mod bits {
    /// CC.EN.
    pub const ENABLE: u32 = 1;
    /// CC.CSS: which command sets; 0 for NVM, 6 for all that are supported.
    pub const COMMAND_SET_SHIFT: u32 = 4;
    /// CC.MPS: size of a page.
    pub const PAGE_SHIFT: u32 = 7;
    /// CC.AMS: how queues are served in turn.
    pub const ARBITRATION_SHIFT: u32 = 11;
    /// CC.SHN: shut down, 1 in order, 2 at once.
    pub const SHUTDOWN_SHIFT: u32 = 14;
    /// CC.IOSQES: size of a submission queue entry, as a power of two.
    pub const SUBMISSION_ENTRY_SHIFT: u32 = 16;
    /// CC.IOCQES: size of a completion queue entry, as a power of two.
    pub const COMPLETION_ENTRY_SHIFT: u32 = 20;
    /// CSTS.RDY.
    pub const READY: u32 = 1;
    /// CSTS.CFS: it has failed.
    pub const FATAL: u32 = 2;
    /// CSTS.SHST: going down.
    pub const SHUTDOWN_OCCURS: u32 = 1 << 2;
    /// CSTS.SHST: down.
    pub const SHUTDOWN_COMPLETE: u32 = 2 << 2;
}

/// Submission entries of 64 bytes.
pub const SUBMISSION_ENTRY_LOG2: u8 = 6;
/// Completion entries of 16 bytes.
pub const COMPLETION_ENTRY_LOG2: u8 = 4;
