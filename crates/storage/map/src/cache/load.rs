//! Misses: one read for everybody who waits for a node.

use std::rc::Rc;

use quarry_env::{Completer, completion};
use quarry_format::crc32c;
use quarry_format::node::{Node, NodeRef};
use quarry_types::BlockIndex;

use super::{Cached, NodeCache};
use crate::{NodeReadError, NodeStore};

type Loaded = Result<Rc<Cached>, NodeReadError>;

/// Tasks that wait for a read that another one has begun. `None` tells them that it was dropped.
pub(super) type Waiters = Vec<Completer<Option<Loaded>>>;

/// A reference and the place in the tree where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needed {
    /// The node.
    pub node: NodeRef,
    /// First block of the range that it covers.
    pub first_block: BlockIndex,
}

/// Ends a load for those who wait, also when the task that does it is dropped.
struct Loading<'a> {
    cache: &'a NodeCache,
    node: NodeRef,
    result: Option<Loaded>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let waiters = self.cache.loading.borrow_mut().remove(&self.node.address);
        for waiter in waiters.into_iter().flatten() {
            waiter.complete(self.result.clone());
        }
    }
}

impl NodeCache {
    /// The node, from memory or from the store.
    pub(crate) async fn load(&self, needed: Needed, store: &dyn NodeStore) -> Loaded {
        let address = needed.node.address;
        loop {
            if let Some(cached) = self.get(address) {
                return Ok(cached);
            }
            let waiting = self.loading.borrow_mut().get_mut(&address).map(|waiters| {
                let (completer, waiting) = completion();
                waiters.push(completer);
                waiting
            });
            let Some(waiting) = waiting else { break };
            if let Some(loaded) = waiting.await {
                return loaded;
            }
        }
        self.loading.borrow_mut().insert(address, Waiters::new());
        let mut loading = Loading { cache: self, node: needed.node, result: None };
        let read = read(needed.node, Some(needed.first_block), store).await;
        let loaded = read.map(|node| self.insert(address, node));
        loading.result = Some(loaded.clone());
        loaded
    }
}

/// Reads a node past the cache and checks it against its reference and, where it is known, its place.
pub(crate) async fn read(
    node: NodeRef,
    first_block: Option<BlockIndex>,
    store: &dyn NodeStore,
) -> Result<Node, NodeReadError> {
    let address = node.address;
    let bytes = store.read(node).await?;
    let needed = node.length_bytes();
    let Some(bytes) = bytes.get(..needed) else {
        return Err(NodeReadError::Short { address, needed, available: bytes.len() });
    };
    let computed = crc32c(bytes);
    if computed != node.checksum {
        return Err(NodeReadError::Checksum { address, expected: node.checksum, computed });
    }
    let found = Node::decode(bytes).map_err(|source| NodeReadError::Format { address, source })?;
    let first_block = first_block.unwrap_or(found.first_block);
    if found.level() != node.level || found.first_block != first_block {
        return Err(NodeReadError::Misplaced {
            address,
            level: node.level,
            first_block,
            found_level: found.level(),
            found_first_block: found.first_block,
        });
    }
    Ok(found)
}
