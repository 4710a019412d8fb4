//! The numbers of the NBD protocol, from the section "Values" of proto.md and from its branch `extension-ext-header`.
//!
//! What it is: constants, for our server (`quarry-nbd`) and our client (`quarry-network-disk`). What it is not: it encodes and
//! decodes nothing; what each side reads and writes is its own.

/// First word of the server ("Newstyle negotiation"): `NBDMAGIC`.
pub const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word of the server, and first of each option: `IHAVEOPT`.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
/// First word of each option reply ("Fixed newstyle negotiation").
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// "Request message", compact.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// "Request message", extended.
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// "Simple reply message".
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// "Structured reply chunk message".
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// "Extended reply chunk message".
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

/// "Handshake flags" of the server; "Client flags" of the client have the same bits.
pub mod handshake_flags {
    /// Fixed newstyle: options are answered.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No padding behind the reply to `EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// "Transmission flags".
pub mod transmission_flags {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Writes are refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `FLUSH` works.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// The flag `FUA` works.
    pub const SEND_FUA: u16 = 1 << 3;
    /// `TRIM` works.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// `WRITE_ZEROES` and the flag `NO_HOLE` work.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// The flag `DF` works; only with structured or extended replies.
    pub const SEND_DF: u16 = 1 << 7;
    /// A flush on one connection covers the writes of all.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// `CACHE` works.
    pub const SEND_CACHE: u16 = 1 << 10;
    /// The flag `FAST_ZERO` works.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
    /// `BLOCK_STATUS` takes a payload; only with extended headers and a metadata context.
    pub const BLOCK_STATUS_PAYLOAD: u16 = 1 << 12;
}

/// "Option types".
pub mod options {
    /// Choose an export and begin, without a way to fail.
    pub const EXPORT_NAME: u32 = 1;
    /// End the negotiation.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Begin TLS.
    pub const STARTTLS: u32 = 5;
    /// Describe an export.
    pub const INFO: u32 = 6;
    /// Choose an export and begin.
    pub const GO: u32 = 7;
    /// Use structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Select metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
    /// Use extended headers.
    pub const EXTENDED_HEADERS: u32 = 11;
}

/// "Option reply types".
pub mod option_replies {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export.
    pub const SERVER: u32 = 2;
    /// One aspect of an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    const ERROR: u32 = 1 << 31;
    /// Not known here.
    pub const ERR_UNSUP: u32 = ERROR + 1;
    /// Known, but forbidden here.
    pub const ERR_POLICY: u32 = ERROR + 2;
    /// Malformed.
    pub const ERR_INVALID: u32 = ERROR + 3;
    /// The connection must be encrypted first.
    pub const ERR_TLS_REQD: u32 = ERROR + 5;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR + 6;
    /// Too large.
    pub const ERR_TOO_BIG: u32 = ERROR + 9;
    /// Extended headers were agreed, structured replies are out.
    pub const ERR_EXT_HEADER_REQD: u32 = ERROR + 10;
}

/// Longest name of an export ("Terminology and conventions": strings).
pub const NAME_BYTES_MAX: usize = 4096;

/// Information types of `NBD_REP_INFO`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The canonical name.
    pub const NAME: u16 = 1;
    /// A text for people.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum and preferred block, largest payload.
    pub const BLOCK_SIZE: u16 = 3;
}

/// "Request types".
pub mod commands {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Finish and close.
    pub const DISC: u16 = 2;
    /// Make completed writes permanent.
    pub const FLUSH: u16 = 3;
    /// Discard.
    pub const TRIM: u16 = 4;
    /// Read ahead.
    pub const CACHE: u16 = 5;
    /// Zero a range.
    pub const WRITE_ZEROES: u16 = 6;
    /// Which parts of a range are allocated.
    pub const BLOCK_STATUS: u16 = 7;
}

/// "Command flags".
pub mod command_flags {
    /// Force unit access; allowed with every command.
    pub const FUA: u16 = 1 << 0;
    /// `WRITE_ZEROES`: keep the space allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// `READ`: one chunk of data at most.
    pub const DF: u16 = 1 << 2;
    /// `BLOCK_STATUS`: one extent, inside the range.
    pub const REQ_ONE: u16 = 1 << 3;
    /// `WRITE_ZEROES`: fail rather than be as slow as a write.
    pub const FAST_ZERO: u16 = 1 << 4;
    /// Extended headers: the length is that of a payload.
    pub const PAYLOAD_LEN: u16 = 1 << 5;
}

/// "Structured reply types".
pub mod chunks {
    /// Nothing more.
    pub const NONE: u16 = 0;
    /// Data at an offset.
    pub const OFFSET_DATA: u16 = 1;
    /// Zeroes at an offset, without their bytes.
    pub const OFFSET_HOLE: u16 = 2;
    /// Extents with 32-bit lengths.
    pub const BLOCK_STATUS: u16 = 5;
    /// Extents with 64-bit lengths.
    pub const BLOCK_STATUS_EXT: u16 = 6;
    /// An error.
    pub const ERROR: u16 = ERROR_BIT + 1;
    /// An error with the offset where it lies.
    pub const ERROR_OFFSET: u16 = ERROR_BIT + 2;
    /// Set in the types of all chunks that tell of an error.
    pub const ERROR_BIT: u16 = 1 << 15;
    /// Flag of the last chunk of a reply.
    pub const FLAG_DONE: u16 = 1;
}

/// States of `base:allocation`.
pub mod allocation {
    /// Nothing is allocated.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u32 = 1 << 1;
}
