//! Map nodes in the log: read through the segment table, appended as records.

use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use quarry_env::{BufferPool, View};
use quarry_format::node::NodeRef;
use quarry_log::Log;
use quarry_map::{AppendError, EncodedNode, NodeReadError, NodeStore};
use quarry_pool::{Expected, LogStore, PoolError};
use quarry_types::LogAddress;

/// Nodes of the maps of one log.
pub(crate) struct EngineNodeStore {
    pub(crate) store: Rc<LogStore>,
    pub(crate) log: Rc<Log>,
}

impl NodeStore for EngineNodeStore {
    fn buffers(&self) -> &BufferPool {
        &self.store.pool.env.buffers
    }

    fn read(&self, node: NodeRef) -> LocalBoxFuture<'_, Result<View, NodeReadError>> {
        async move {
            let expected = Expected { sectors: u32::from(node.sectors), checksum: node.checksum };
            self.store.read(node.address, expected).await.map_err(|error| {
                let address = node.address;
                let (is_loss, is_nowhere) = (error.is_loss(), matches!(error, PoolError::Dangling { .. }));
                let source = Rc::new(error);
                match (is_loss, is_nowhere) {
                    (true, _) => NodeReadError::Lost { address, source },
                    (_, true) => NodeReadError::Dangling { address, source },
                    _ => NodeReadError::Unavailable { address, source },
                }
            })
        }
        .boxed_local()
    }

    fn append(&self, node: EncodedNode) -> LocalBoxFuture<'_, Result<LogAddress, AppendError>> {
        let appended = self.log.append_node(node.volume, node.level, node.first_block, &node.bytes);
        async move { appended.await.map_err(|error| AppendError::Unavailable { source: Box::new(error) }) }
            .boxed_local()
    }
}
