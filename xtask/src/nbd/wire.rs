//! Numbers of the protocol (proto.md, "Values").

/// "NBDMAGIC".
pub const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT".
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

pub const HANDSHAKE_FIXED_NEWSTYLE: u16 = 1;
pub const HANDSHAKE_NO_ZEROES: u16 = 2;

pub const OPTION_GO: u32 = 7;
pub const OPTION_STRUCTURED_REPLY: u32 = 8;

pub const REPLY_ACK: u32 = 1;
pub const REPLY_INFO: u32 = 3;
pub const REPLY_ERROR_BIT: u32 = 1 << 31;

pub const INFO_EXPORT: u16 = 0;
pub const INFO_BLOCK_SIZE: u16 = 3;

pub const TRANSMISSION_READ_ONLY: u16 = 1 << 1;
pub const TRANSMISSION_SEND_FLUSH: u16 = 1 << 2;
pub const TRANSMISSION_SEND_FUA: u16 = 1 << 3;
pub const TRANSMISSION_SEND_TRIM: u16 = 1 << 5;
pub const TRANSMISSION_SEND_WRITE_ZEROES: u16 = 1 << 6;
pub const TRANSMISSION_CAN_MULTI_CONN: u16 = 1 << 8;

/// Error of a request for which there is no space.
pub const ENOSPC: u32 = 28;

/// The reply only after the data survives power loss.
pub const FLAG_FUA: u16 = 1 << 0;
/// Write zeroes without making a hole.
pub const FLAG_NO_HOLE: u16 = 1 << 1;

pub const CHUNK_FLAG_DONE: u16 = 1;
pub const CHUNK_NONE: u16 = 0;
pub const CHUNK_OFFSET_DATA: u16 = 1;
pub const CHUNK_OFFSET_HOLE: u16 = 2;
pub const CHUNK_ERROR_BIT: u16 = 1 << 15;

/// Longest payload of an option reply or error chunk that we accept: strings have at most 4096 bytes.
pub const MESSAGE_BYTES_MAX: usize = 8192;

/// What is asked of an export.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Command {
    /// Read a range.
    Read = 0,
    /// Write a range.
    Write = 1,
    /// Close the connection.
    Disconnect = 2,
    /// Make completed writes survive power loss.
    Flush = 3,
    /// The content of a range is not needed any more.
    Trim = 4,
    /// Make a range read as zeroes.
    WriteZeroes = 6,
}
