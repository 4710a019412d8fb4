//! Why a node could not be read, written or merged.

use std::error::Error;
use std::rc::Rc;

use quarry_format::FormatError;
use quarry_types::{BlockIndex, LogAddress};

/// Why a node could not be read. Everyone who waits for one read gets the same error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeReadError {
    /// The store could not read now; repeat later.
    #[error("map node {address:?} cannot be read now")]
    Unavailable {
        /// The node.
        address: LogAddress,
        /// What the store says.
        source: Rc<dyn Error>,
    },
    /// The store knows that no copy is whole.
    #[error("map node {address:?} is lost on every copy")]
    Lost {
        /// The node.
        address: LogAddress,
        /// What the store says.
        source: Rc<dyn Error>,
    },
    /// The store knows nothing of it, which must not be: not even that it is lost is known.
    #[error("map node {address:?} is nowhere")]
    Dangling {
        /// The node.
        address: LogAddress,
        /// What the store says.
        source: Rc<dyn Error>,
    },
    /// The store gave fewer bytes than the node has.
    #[error("map node {address:?} has {needed} bytes, {available} were read")]
    Short {
        /// The node.
        address: LogAddress,
        /// Length of the node.
        needed: usize,
        /// Bytes read.
        available: usize,
    },
    /// The bytes are not those that the reference names.
    #[error("map node {address:?} is damaged: checksum {expected:#010x} expected, computed {computed:#010x}")]
    Checksum {
        /// The node.
        address: LogAddress,
        /// The checksum in the reference.
        expected: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The bytes are those that were written, but are no node.
    #[error("map node {address:?} cannot be decoded")]
    Format {
        /// The node.
        address: LogAddress,
        /// What is wrong with it.
        source: FormatError,
    },
    /// It is a node of another place in the tree.
    #[error(
        "map node {address:?} belongs to level {found_level}, block {found_first_block}, \
         not to level {level}, block {first_block}"
    )]
    Misplaced {
        /// The node.
        address: LogAddress,
        /// Level in the reference.
        level: u8,
        /// First block of its place.
        first_block: BlockIndex,
        /// Level that the node names.
        found_level: u8,
        /// First block that the node names.
        found_first_block: BlockIndex,
    },
}

impl NodeReadError {
    /// The node.
    pub fn address(&self) -> LogAddress {
        match self {
            NodeReadError::Unavailable { address, .. }
            | NodeReadError::Lost { address, .. }
            | NodeReadError::Dangling { address, .. }
            | NodeReadError::Short { address, .. }
            | NodeReadError::Checksum { address, .. }
            | NodeReadError::Format { address, .. }
            | NodeReadError::Misplaced { address, .. } => *address,
        }
    }

    /// Whether the node is damaged, so that repeating does not help; otherwise it cannot be read now.
    pub fn is_corrupt(&self) -> bool {
        !matches!(self, NodeReadError::Unavailable { .. })
    }

    /// Whether all copies were read and none is good, so that nothing is lost by giving the node up.
    pub fn is_final(&self) -> bool {
        !matches!(self, NodeReadError::Unavailable { .. } | NodeReadError::Dangling { .. })
    }
}

/// Why a node could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The pool is full.
    #[error("no space for a map node")]
    NoSpace,
    /// Another owner has taken the log over.
    #[error("the log has another owner")]
    Fenced,
    /// The log cannot take it.
    #[error("the log cannot take a map node")]
    Unavailable {
        /// What the log says.
        source: Box<dyn Error>,
    },
}

/// What ended a merge.
#[derive(Debug, thiserror::Error)]
pub enum MergeFailure {
    /// A node of the tree could not be read.
    #[error(transparent)]
    Read(#[from] NodeReadError),
    /// A new node could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A merge that failed. Nothing has changed but that some nodes were appended in vain.
#[derive(Debug, thiserror::Error)]
#[error("the overlay could not be merged into the map")]
pub struct MergeError {
    /// The first failure.
    #[source]
    pub failure: MergeFailure,
    /// Nodes that were appended before it (address, sectors). They are dead: nothing refers to them.
    pub wasted: Vec<(LogAddress, u8)>,
}
