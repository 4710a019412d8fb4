//! A store in memory. Reads and appends take a random number of turns and end in any order; appends get their addresses
//! when they end, as if batches closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use quarry_env::{BufferPool, View, yield_now};
use quarry_format::node::{Node, NodeRef};
use quarry_types::{LogAddress, LogId, SegmentId};

use crate::{AppendError, EncodedNode, NodeReadError, NodeStore};

/// Sectors of a segment.
const SEGMENT_SECTORS: u32 = 65_536;
/// Sectors that every record takes, whatever its length.
const GRANULE_SECTORS: u32 = 8;

/// Addresses as a log gives them: rising, never twice.
pub struct Addresses {
    next: Cell<LogAddress>,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { next: Cell::new(LogAddress::new(SegmentId::new(LogId(1), 1), GRANULE_SECTORS)) }
    }
}

impl Addresses {
    pub fn next(&self) -> LogAddress {
        let address = self.next.get();
        let next = address.sector() + GRANULE_SECTORS;
        self.next.set(match next < SEGMENT_SECTORS {
            true => address.plus(GRANULE_SECTORS),
            false => LogAddress::new(address.segment().next(), GRANULE_SECTORS),
        });
        address
    }
}

/// Why a node cannot be read.
pub type Refusal = fn(LogAddress) -> NodeReadError;

#[derive(Default)]
pub struct TestStore {
    buffers: BufferPool,
    pub addresses: Rc<Addresses>,
    pub nodes: RefCell<BTreeMap<LogAddress, Vec<u8>>>,
    random: Cell<u64>,
    /// Most turns that an operation takes.
    pub turns_max: Cell<u64>,
    /// Appends that still succeed; `None` is any number.
    pub appends_left: Cell<Option<usize>>,
    pub reads: Cell<usize>,
    /// What reads say instead of reading.
    pub refuses: Cell<Option<Refusal>>,
    pub in_flight: Cell<usize>,
    pub in_flight_max: Cell<usize>,
}

impl TestStore {
    pub fn new(seed: u64, turns_max: u64) -> Rc<Self> {
        let store = Self::default();
        store.random.set(seed | 1);
        store.turns_max.set(turns_max);
        Rc::new(store)
    }

    async fn delay(&self) {
        let mut bits = self.random.get();
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        self.random.set(bits);
        for _ in 0..bits % (self.turns_max.get() + 1) {
            yield_now().await;
        }
    }

    /// The node at an address, past the map's own code.
    pub fn node(&self, address: LogAddress) -> Node {
        Node::decode(&self.nodes.borrow()[&address]).expect("the store holds what was appended")
    }

    async fn append_later(&self, node: EncodedNode) -> Result<LogAddress, AppendError> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.in_flight_max.set(self.in_flight_max.get().max(self.in_flight.get()));
        self.delay().await;
        self.in_flight.set(self.in_flight.get() - 1);
        match self.appends_left.get() {
            Some(0) => return Err(AppendError::NoSpace),
            left => self.appends_left.set(left.map(|left| left - 1)),
        }
        let address = self.addresses.next();
        let mut bytes = node.bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        assert!(self.nodes.borrow_mut().insert(address, bytes).is_none());
        Ok(address)
    }

    async fn read_later(&self, node: NodeRef) -> Result<View, NodeReadError> {
        self.reads.set(self.reads.get() + 1);
        self.delay().await;
        if let Some(refusal) = self.refuses.get() {
            return Err(refusal(node.address));
        }
        let nodes = self.nodes.borrow();
        let bytes = nodes.get(&node.address).ok_or_else(|| NodeReadError::Lost {
            address: node.address,
            source: Rc::new(std::io::Error::other("no such node")),
        })?;
        Ok(self.buffers.copy_of(bytes))
    }
}

impl NodeStore for TestStore {
    fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    fn read(&self, node: NodeRef) -> LocalBoxFuture<'_, Result<View, NodeReadError>> {
        self.read_later(node).boxed_local()
    }

    fn append(&self, node: EncodedNode) -> LocalBoxFuture<'_, Result<LogAddress, AppendError>> {
        self.append_later(node).boxed_local()
    }
}
