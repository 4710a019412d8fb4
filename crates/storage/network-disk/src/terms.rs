//! What a server says of a disk.

use crate::limits::PAYLOAD_BYTES_MAX;

/// What a disk is and can do, whatever the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Unit of offsets and lengths in bytes.
    pub block_bytes_min: u32,
    /// Unit in which it works best, in bytes.
    pub block_bytes_preferred: u32,
    /// Largest payload of a request in bytes.
    pub payload_bytes_max: u32,
    /// Largest range of one trim in bytes; 0 where the server does not know trimming.
    pub trim_bytes_max: u32,
    /// Whether nobody may write.
    pub is_read_only: bool,
    /// Whether a flush makes writes survive power loss.
    pub can_flush: bool,
    /// Whether a flush over one connection covers what was answered over others.
    pub shares_flush: bool,
    /// What the disk is called by its server, whatever its address: a world-wide name. `None` where the protocol has none.
    pub identity: Option<String>,
}

impl Terms {
    /// Whether a disk can go on where another connection has left off. It may have grown.
    pub fn continues(&self, before: &Terms) -> bool {
        self.identity == before.identity
            && self.size_bytes >= before.size_bytes
            && self.block_bytes_min <= before.block_bytes_min
            && self.payload_bytes_max.min(PAYLOAD_BYTES_MAX)
                >= before.payload_bytes_max.min(PAYLOAD_BYTES_MAX)
            && self.trim_bytes_max >= before.trim_bytes_max
            && (before.is_read_only || !self.is_read_only)
            && (self.can_flush || !before.can_flush)
            && (self.shares_flush || !before.shares_flush)
    }
}
