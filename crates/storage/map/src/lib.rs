//! The map of a volume: from a block to the place of its data in the log.
//!
//! What it is: a persistent (copy-on-write) radix tree of 128 slots a node, whose nodes are records of the log like data;
//! before it, in memory, an *overlay* of what has changed since the tree was written. What it is not: it does no I/O of
//! its own (a [`NodeStore`] does), it counts no space and frees none (it tells what died), and it does not know which
//! snapshots there are; but nodes never change, so that keeping a [`Version`] keeps what the volume was.
//!
//! # The life of a change
//! [`VolumeMap::insert`] and [`VolumeMap::unmap`] change the *active* overlay. [`VolumeMap::freeze`] makes a *pending* version
//! of it and begins another; [`Version::merge`] writes the changed part of the tree, while everybody reads and writes on;
//! [`Version::install`] makes the version that tree. Reads look at the active overlay, then at the versions below down to
//! the first tree: the newest that knows of a block wins.
//!
//! # Snapshots
//! A snapshot is a version that somebody keeps, a clone a volume on the same version. What a snapshot holds has a birth of at
//! most its number; so each merge and each drop is told the [`Floor`] under which nothing dies. [`dissolve_step`] finds by
//! comparing two trees what only a snapshot held; [`changes`] finds in the same way which blocks differ.
//!
//! # Who dies when
//! Every reference, to a block or to a node, is reported dead exactly once (several blocks may refer to one record: then each
//! of these references has a life of its own, and its birth): an entry that never left the active overlay when
//! it is replaced; what a tree holds and no snapshot by the merge that replaces it; what a hole cuts off as a whole by
//! [`drop_step`], which walks the *detached* subtrees later; what a snapshot holds when it is dissolved; nodes that a failed
//! merge wrote by its error. What a merge reports counts once its root is installed; its space may be used again once a
//! durable checkpoint has the new root and every read that began before has ended.
//!
//! [`Floor`]: quarry_format::detached::Floor
//!
//! # Invariants
//! - A node is never changed and an address never reused, so the [`NodeCache`] is never invalidated.
//! - Between two `await`s the map does not change by itself; no borrow of it is held across one.
//! - Memory is bounded: nodes by the cache's budget, a merge by [`MERGE_TASKS_MAX`] and what it reports; the overlays by
//!   whoever admits writes, who looks at [`VolumeMap::overlay_bytes`].
//! - Bytes from the store are checked against checksum, format and place before anything believes them.

mod arena;
mod cache;
mod changes;
mod compare;
mod dissolve;
mod drop_tree;
mod error;
mod extents;
mod group;
mod holes;
mod lookup;
mod merge;
mod overlay;
mod store;
#[cfg(test)]
mod tests;
mod version;
mod volume_map;
mod walk;

pub use cache::{Needed, NodeCache};
pub use changes::{Change, blocks_at, changes};
pub use dissolve::{Dissolved, dissolve_step, unshared_entries};
pub use drop_tree::drop_step;
pub use error::{AppendError, MergeError, MergeFailure, NodeReadError};
pub use extents::MapExtent;
pub use lookup::{Lookup, Run, Runs};
pub use merge::{MERGE_TASKS_MAX, MergeOutcome};
pub use store::{EncodedNode, NodeStore};
pub use version::{Retired, Version};
pub use volume_map::VolumeMap;
