//! What a volume promises and how it stores its data: everything about it that may be changed while it is served.

/// When an acknowledged write has become safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Acknowledged once appended on every copy: survives the daemon's death. A flush makes it survive power loss.
    #[default]
    Flush,
    /// Acknowledged once every copy has been flushed as well: each write survives power loss.
    Always,
}

/// How blocks are made smaller before they are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    Off,
    /// LZ4: the fast one.
    Lz4,
    /// Zstandard at level 1: denser, at several times the cost.
    Zstd,
}

/// Whether blocks that are there already are stored once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplication {
    /// Yes, each time.
    #[default]
    Off,
    /// No: what seems to be there is read and compared byte by byte first.
    Verified,
    /// No: what has the same keyed 128-bit BLAKE3 hash is taken for the same without reading it.
    Hashed,
}

/// Whether what hosts read again is answered from memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadCache {
    /// Yes: the volume has its part in the node's read cache.
    #[default]
    On,
    /// No: each read is one of a device, and the memory is left to other volumes.
    Off,
}

/// The settings of a volume. What they change concerns writes from then on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VolumeSettings {
    /// When its writes are safe.
    pub durability: Durability,
    /// How its blocks are made smaller.
    pub compression: Compression,
    /// Whether blocks that are there already are stored once more.
    pub deduplication: Deduplication,
    /// Whether what is read again is answered from memory.
    pub read_cache: ReadCache,
    /// Space that the volume may take at most, its snapshots not counted, in bytes; 0 for its size.
    pub quota_bytes: u64,
    /// Space of the pool that is kept for it, in bytes.
    pub reserved_bytes: u64,
    /// For so many seconds back the volume can be had as it was at any second; 0 for none.
    pub history_s: u32,
}

impl VolumeSettings {
    /// Those of a clone: it stores its data in the same way, but promises, limits of space and history are its origin's alone.
    pub fn of_clone(self) -> Self {
        Self { quota_bytes: 0, reserved_bytes: 0, history_s: 0, ..self }
    }
}
