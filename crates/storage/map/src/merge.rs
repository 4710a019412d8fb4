//! Brings the changes of a version into a tree: writes every changed leaf and its ancestors anew, bottom up.
//!
//! The merge goes down from the root to the changed leaves and writes each node when all that changed below it is done.
//! Reading a node, merging and writing a leaf, and writing an interior node are *tasks*, of which up to
//! [`MERGE_TASKS_MAX`] run at once. An interior node whose children are being merged is *open*. Children of the lowest
//! open node are begun first; so each level has at most as many open nodes as tasks could be begun while no lower
//! node had work left, about [`MERGE_TASKS_MAX`], and memory is bounded however large tree and overlay are.
//!
//! Invariants:
//! - The tree and the overlay are only read; what readers see does not change before the new root is installed.
//! - Each reference that is neither in the new tree nor a snapshot's is reported exactly once: as dead, or as detached when
//!   what is below it died too and was not read. A hole over a whole subtree detaches it.
//! - A subtree without a change is not written; a node without a present slot is not written, nor is a leaf whose only entry
//!   can stand in its parent.
//! - A node that is bad on every copy stops nobody from writing below it: the new one says of each block that was not written that it is lost.
//!   What only the old one referred to is reported by nobody, and stays used.

mod leaf;
mod open;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use quarry_env::yield_now;
use quarry_format::crc32c;
use quarry_format::detached::{Detached, Floor};
use quarry_format::node::{Entry, NODE_SLOTS, Node, NodeRef, span_blocks};
use quarry_types::{BlockIndex, LogAddress, SnapshotCounter, VolumeId};

use crate::cache::{Cached, Needed, NodeCache};
use crate::overlay::Overlay;
use crate::version::{Content, Version};
use crate::{EncodedNode, MergeError, MergeFailure, NodeReadError, NodeStore};
use open::{Open, OpenNodes, Parent};

/// Reads and appends that one merge has in flight.
pub const MERGE_TASKS_MAX: usize = 64;
/// Tasks that end, and leaves that are merged, before other tasks of the core get their turn: about 10 us of work.
const TASKS_PER_TURN: usize = 4;

const _: () = assert!(MERGE_TASKS_MAX <= NODE_SLOTS, "one open node can keep all tasks busy");

/// What a merge has done. Nothing of it counts before the root is installed.
#[derive(Clone, Debug, Default)]
pub struct MergeOutcome {
    /// The new root.
    pub root: Option<NodeRef>,
    /// Nodes that were appended (address, sectors).
    pub new_nodes: Vec<(LogAddress, u8)>,
    /// Entries of the old tree that neither the new one nor a snapshot holds.
    pub dead_entries: Vec<Entry>,
    /// Nodes of the old tree that neither the new one nor a snapshot holds.
    pub dead_nodes: Vec<NodeRef>,
    /// Subtrees of the old tree that holes have cut off, with all that is below them: for [`crate::drop_step`].
    pub detached: Vec<Detached>,
    /// Old nodes that were bad on every copy, and first blocks of what they covered.
    pub lost: Vec<(BlockIndex, NodeReadError)>,
}

impl MergeOutcome {
    fn node_goes(&mut self, floor: &Floor, first_block: BlockIndex, node: NodeRef) {
        let blocks = first_block..first_block + span_blocks(node.level);
        if !node.is_lone() && floor.is_node_above(&blocks, node.birth) {
            self.dead_nodes.push(node);
        }
    }
}

/// What stands in a place of the tree before the merge.
#[derive(Clone, Copy, Debug)]
enum Old {
    /// Nothing.
    Absent,
    /// A node of the place's level.
    Node(NodeRef),
    /// The old root, which is lower than the place and covers its beginning: the tree grows.
    Lower(NodeRef),
}

impl Old {
    fn reference(self) -> Option<NodeRef> {
        match self {
            Old::Absent => None,
            Old::Node(node) | Old::Lower(node) => Some(node),
        }
    }
}

/// A subtree to be merged.
#[derive(Clone, Copy, Debug)]
struct Job {
    parent: Parent,
    level: u8,
    first_block: BlockIndex,
    old: Old,
}

impl Job {
    fn range(&self) -> Range<BlockIndex> {
        self.first_block..self.first_block + span_blocks(self.level)
    }
}

/// How a task ended.
enum Ended {
    /// The old interior node is in memory.
    Loaded(Job, NodeRef, Rc<Cached>),
    /// A subtree is finished.
    Merged(Parent, Option<NodeRef>),
}

type Task<'a> = LocalBoxFuture<'a, Result<Ended, MergeFailure>>;

/// What all tasks of a merge share.
struct Context<'a> {
    volume: VolumeId,
    overlay: &'a Overlay,
    birth: SnapshotCounter,
    floor: Floor,
    store: &'a dyn NodeStore,
    cache: &'a NodeCache,
    outcome: RefCell<MergeOutcome>,
    /// A task has failed; the others write nothing more.
    failed: Cell<bool>,
    /// Leaves that were merged so far.
    leaves: Cell<usize>,
}

impl Context<'_> {
    /// Lets other tasks of the core run when it is their turn.
    async fn take_turns(&self) {
        self.leaves.set(self.leaves.get() + 1);
        if self.leaves.get().is_multiple_of(TASKS_PER_TURN) {
            yield_now().await;
        }
    }

    /// The old node, or what stands for it if it is lost.
    async fn load(&self, node: NodeRef, first_block: BlockIndex) -> Result<Rc<Cached>, NodeReadError> {
        match self.cache.load(Needed { node, first_block }, self.store).await {
            Err(error) if error.is_final() => {
                // What is below one that was lost before is no news.
                if node.address != LogAddress::LOST {
                    self.outcome.borrow_mut().lost.push((first_block, error));
                }
                Ok(Rc::new(Cached::apart(Node::lost(self.volume, node, first_block))))
            }
            loaded => loaded,
        }
    }

    /// Writes a new node; it is in the cache before anybody can ask for it.
    async fn append(&self, node: Node) -> Result<NodeRef, MergeFailure> {
        let sectors = node.sectors();
        let mut reference = NodeRef::stored(node.level(), sectors, self.birth, node.mapped());
        let mut buffer = self.store.buffers().allocate(reference.length_bytes());
        node.encode(&mut buffer);
        reference.checksum = crc32c(&buffer);
        let (volume, level, first_block) = (self.volume, reference.level, node.first_block);
        let encoded = EncodedNode { volume, level, first_block, bytes: buffer.freeze() };
        reference.address = self.store.append(encoded).await?;
        self.outcome.borrow_mut().new_nodes.push((reference.address, sectors));
        self.cache.insert(reference.address, node);
        Ok(reference)
    }
}

struct Merge<'a> {
    context: &'a Context<'a>,
    open: OpenNodes,
    tasks: FuturesUnordered<Task<'a>>,
    /// The new root, once it is known.
    root: Option<Option<NodeRef>>,
}

impl<'a> Merge<'a> {
    /// Starts what has to be done for a subtree in which something changes.
    fn begin(&mut self, mut job: Job) {
        let range = job.range();
        if self.context.overlay.holes().covers(&range) {
            let (first_block, floor) = (job.first_block, self.context.floor);
            let detached = job.old.reference().map(|node| Detached { node, first_block, floor });
            let held = |detached: &Detached| floor.may_be_above(&detached.blocks(), detached.node.birth);
            self.context.outcome.borrow_mut().detached.extend(detached.filter(held));
            job.old = Old::Absent;
        }
        let context = self.context;
        match job.old {
            Old::Absent if !context.overlay.has_entries(&range) => self.merged(job.parent, None),
            Old::Absent | Old::Node(_) if job.level == 0 => {
                self.tasks.push(Box::pin(leaf::merge(context, job)))
            }
            Old::Node(node) => self.tasks.push(Box::pin(async move {
                let cached = context.load(node, job.first_block).await?;
                Ok(Ended::Loaded(job, node, cached))
            })),
            Old::Absent | Old::Lower(_) => self.opened(job, Open::new(&job, None)),
        }
    }

    /// Goes on with an interior node that is in memory.
    fn opened(&mut self, job: Job, open: Open) {
        let index = self.open.insert(open);
        let Old::Lower(root) = job.old else { return self.close_if_done(index) };
        // The tree grows: the old root comes below the new node, directly or by another new node.
        let level = job.level - 1;
        if root.level == level {
            self.open.get_mut(index).set(0, Some(root));
            return self.close_if_done(index);
        }
        self.open.get_mut(index).reserve_first_slot();
        let parent = Parent::Slot { open: index, slot: 0 };
        self.begin(Job { parent, level, first_block: 0, old: Old::Lower(root) });
    }

    /// Takes note that a subtree is finished.
    fn merged(&mut self, parent: Parent, node: Option<NodeRef>) {
        match parent {
            Parent::Root => self.root = Some(node),
            Parent::Slot { open, slot } => {
                let parent = self.open.get_mut(open);
                parent.set(slot, node);
                parent.pending -= 1;
                self.close_if_done(open);
            }
        }
    }

    /// Writes an open node of which all children are finished.
    fn close_if_done(&mut self, index: usize) {
        let open = self.open.get_mut(index);
        if open.pending > 0 || open.has_more(self.context.overlay) {
            return;
        }
        let open = self.open.remove(index);
        if !open.changed {
            return self.merged(open.parent, open.old);
        }
        if let Some(old) = open.old {
            self.context.outcome.borrow_mut().node_goes(&self.context.floor, open.first_block, old);
        }
        if open.children.is_empty() {
            return self.merged(open.parent, None);
        }
        let context = self.context;
        self.tasks.push(Box::pin(async move {
            let parent = open.parent;
            if context.failed.get() {
                return Ok(Ended::Merged(parent, None));
            }
            let node = context.append(open.into_node(context.volume)).await?;
            Ok(Ended::Merged(parent, Some(node)))
        }));
    }

    /// Begins subtrees until enough tasks run.
    fn fill(&mut self) {
        let mut turn = 0;
        while self.tasks.len() < MERGE_TASKS_MAX && turn < MERGE_TASKS_MAX {
            let Some(job) = self.open.next_job(self.context.overlay) else { return };
            self.begin(job);
            turn += 1;
        }
    }

    async fn run(&mut self, root: Job) -> Result<(), MergeFailure> {
        self.begin(root);
        let mut ended: usize = 0;
        while self.root.is_none() {
            self.fill();
            if let Some(task) = self.tasks.next().await {
                match task? {
                    Ended::Loaded(job, node, cached) => {
                        self.opened(job, Open::new(&job, Some((node, &cached.node))))
                    }
                    Ended::Merged(parent, node) => self.merged(parent, node),
                }
            }
            ended += 1;
            if ended.is_multiple_of(TASKS_PER_TURN) {
                yield_now().await;
            }
        }
        Ok(())
    }
}

/// The level that the tree needs for the old root and every new entry.
fn root_level(root: Option<NodeRef>, overlay: &Overlay) -> u8 {
    let mut level = root.map_or(0, |root| root.level);
    if let Some(last) = overlay.last_block() {
        while span_blocks(level) <= last {
            level += 1;
        }
    }
    level
}

impl Version {
    /// Writes the tree that shows this version, for `volume`. What anybody reads does not change; readers and writers go on
    /// meanwhile. Afterwards [`Version::prepare`] and [`Version::install`] make the new root count. Nothing dies below `floor`.
    ///
    /// Reads through `cache` and leaves the new nodes in it. Runs once at a time, and to its end: dropping it loses count of
    /// the nodes that it has appended.
    ///
    /// # Errors
    /// [`MergeError`] with the first failure, after everything in flight has ended.
    ///
    /// # Panics
    /// When the version is not pending, or that below it waits for its own merge.
    pub async fn merge(
        &self,
        volume: VolumeId,
        floor: Floor,
        store: &dyn NodeStore,
        cache: &NodeCache,
    ) -> Result<MergeOutcome, MergeError> {
        let (root, overlay, birth) = match &*self.content() {
            Content::Pending(pending) => {
                let root = pending.below.root().expect("versions are merged from below");
                (root, pending.overlay.clone(), pending.birth)
            }
            Content::Merged(_) => panic!("only a pending version is merged"),
        };
        let overlay = &*overlay;
        // Room for all that can die one by one, so that growing never copies; memory that is not touched costs nothing.
        let dead_entries_max = overlay.entries().min(root.map_or(0, |root| root.mapped() as usize));
        let outcome =
            MergeOutcome { dead_entries: Vec::with_capacity(dead_entries_max), ..MergeOutcome::default() };
        let context = Context {
            volume,
            overlay,
            birth,
            floor,
            store,
            cache,
            outcome: RefCell::new(outcome),
            failed: Cell::new(false),
            leaves: Cell::new(0),
        };
        let level = root_level(root, overlay);
        let old = match root {
            None => Old::Absent,
            Some(root) if root.level < level => Old::Lower(root),
            Some(root) => Old::Node(root),
        };
        let mut merge = Merge {
            context: &context,
            open: OpenNodes::default(),
            tasks: FuturesUnordered::new(),
            root: None,
        };
        let result = merge.run(Job { parent: Parent::Root, level, first_block: 0, old }).await;
        if result.is_err() {
            context.failed.set(true);
            while merge.tasks.next().await.is_some() {}
        }
        let new_root = merge.root.take().flatten();
        drop(merge);
        let outcome = context.outcome.into_inner();
        match result {
            Ok(()) => Ok(MergeOutcome { root: new_root, ..outcome }),
            Err(failure) => Err(MergeError { failure, wasted: outcome.new_nodes }),
        }
    }
}
