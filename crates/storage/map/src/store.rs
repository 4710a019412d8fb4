//! Where nodes are kept, as a trait that the engine implements over log and pool.

use futures::future::LocalBoxFuture;
use quarry_env::{BufferPool, View};
use quarry_format::node::NodeRef;
use quarry_types::{BlockIndex, LogAddress, VolumeId};

use crate::{AppendError, NodeReadError};

/// A new node on its way to the log.
#[derive(Clone, Debug)]
pub struct EncodedNode {
    /// The volume whose merge writes it.
    pub volume: VolumeId,
    /// Its level; 0 is a leaf.
    pub level: u8,
    /// First block of the range that it covers.
    pub first_block: BlockIndex,
    /// The node in whole sectors. The store may add zeroes behind it.
    pub bytes: View,
}

/// Reads and appends nodes.
pub trait NodeStore {
    /// Memory in which nodes are encoded.
    fn buffers(&self) -> &BufferPool;

    /// The bytes of `node`, at least [`NodeRef::length_bytes`] of them; more are ignored. The caller checks them against
    /// the checksum; a store that has several copies checks them as well, to choose a whole one.
    fn read(&self, node: NodeRef) -> LocalBoxFuture<'_, Result<View, NodeReadError>>;

    /// Appends a node; resolves when the log has given it its address. Up to [`crate::MERGE_TASKS_MAX`] appends of one
    /// merge are in flight at once, so a store must be able to take more while earlier ones wait for their batch.
    fn append(&self, node: EncodedNode) -> LocalBoxFuture<'_, Result<LogAddress, AppendError>>;
}
