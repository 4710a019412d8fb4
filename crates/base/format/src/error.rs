//! Why bytes are not what they should be.

/// What is wrong with the bytes of a structure.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The structure starts with something else.
    #[error("no {structure} here (magic {found:#018x})")]
    Magic {
        /// The structure that was looked for.
        structure: &'static str,
        /// What stands in the place of its magic.
        found: u64,
    },
    /// Written by a version that this one cannot read.
    #[error("{structure} has version {found}; this version of Quarry reads {supported}")]
    Version {
        /// The structure.
        structure: &'static str,
        /// The version found.
        found: u16,
        /// The version that this code reads.
        supported: u16,
    },
    /// The bytes have changed since they were written, or were never written whole.
    #[error("{structure} is damaged: checksum {found:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The structure.
        structure: &'static str,
        /// The checksum stored.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The bytes end before the structure does.
    #[error("{structure} is cut off: {needed} bytes needed, {available} there")]
    Short {
        /// The structure.
        structure: &'static str,
        /// Bytes that the structure needs from here.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// A field holds what no writer writes.
    #[error("{structure} has {field} = {found}, which no version writes")]
    Field {
        /// The structure.
        structure: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
}
