//! Versions: what a map shows at one point of the log, shared by the volumes and snapshots that stand on it.
//!
//! A version is a tree, or an overlay over an older version that no checkpoint has merged yet. A snapshot is a version that is
//! kept; a volume is a version and an overlay of its own on top. What a version shows never changes.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use quarry_env::yield_now;
use quarry_format::node::NodeRef;
use quarry_types::SnapshotCounter;

use crate::overlay::Overlay;

/// Parts of an overlay that are freed before other tasks get their turn.
const FREED_AT_ONCE: usize = 8;

/// See the module.
pub struct Version {
    content: RefCell<Content>,
}

pub(crate) enum Content {
    /// A tree; no root when nothing is mapped.
    Merged(Option<NodeRef>),
    Pending(Pending),
}

/// Changes on their way into a tree.
pub(crate) struct Pending {
    pub below: Rc<Version>,
    pub overlay: Rc<Overlay>,
    pub birth: SnapshotCounter,
    /// The root of a merge that is not installed.
    pub prepared: Option<Option<NodeRef>>,
}

impl Version {
    /// The version that a tree shows.
    pub fn merged(root: Option<NodeRef>) -> Rc<Self> {
        Rc::new(Self { content: RefCell::new(Content::Merged(root)) })
    }

    pub(crate) fn pending(below: Rc<Self>, overlay: Overlay, birth: SnapshotCounter) -> Rc<Self> {
        let pending = Pending { below, overlay: Rc::new(overlay), birth, prepared: None };
        Rc::new(Self { content: RefCell::new(Content::Pending(pending)) })
    }

    pub(crate) fn content(&self) -> Ref<'_, Content> {
        self.content.borrow()
    }

    /// Whether it is not a tree yet.
    pub fn is_pending(&self) -> bool {
        matches!(*self.content(), Content::Pending(_))
    }

    /// The version under a pending one.
    pub fn below(&self) -> Option<Rc<Self>> {
        match &*self.content() {
            Content::Merged(_) => None,
            Content::Pending(pending) => Some(pending.below.clone()),
        }
    }

    /// The root of its tree, also when that is not installed yet; `None` for a version that waits for its merge.
    pub fn root(&self) -> Option<Option<NodeRef>> {
        match &*self.content() {
            Content::Merged(root) => Some(*root),
            Content::Pending(pending) => pending.prepared,
        }
    }

    /// The root of the newest tree in it or below.
    pub fn newest_root(&self) -> Option<NodeRef> {
        match &*self.content() {
            Content::Merged(root) => *root,
            Content::Pending(pending) => pending.below.newest_root(),
        }
    }

    /// Versions down to the newest tree, which every read may have to look at.
    pub fn layers(&self) -> usize {
        match &*self.content() {
            Content::Merged(_) => 0,
            Content::Pending(pending) => 1 + pending.below.layers(),
        }
    }

    /// Blocks that its tree maps, without those that wait for a merge.
    pub fn mapped_blocks(&self) -> u64 {
        match &*self.content() {
            Content::Merged(root) => root.map_or(0, |root| root.mapped()),
            Content::Pending(pending) => pending.below.mapped_blocks(),
        }
    }

    /// Entries that wait for a merge, whether they are new or overwritten, in it and below.
    pub fn pending_entries(&self) -> usize {
        match &*self.content() {
            Content::Merged(_) => 0,
            Content::Pending(pending) => pending.overlay.entries() + pending.below.pending_entries(),
        }
    }

    /// Memory of what waits for a merge, of this version alone.
    pub fn pending_bytes(&self) -> usize {
        match &*self.content() {
            Content::Merged(_) => 0,
            Content::Pending(pending) => pending.overlay.bytes(),
        }
    }

    /// Takes the root of its merge, for the merges of the versions above it. Nobody else sees a difference.
    ///
    /// # Panics
    /// When the version is not pending.
    pub fn prepare(&self, root: Option<NodeRef>) {
        match &mut *self.content.borrow_mut() {
            Content::Pending(pending) => pending.prepared = Some(root),
            Content::Merged(_) => panic!("only a pending version is merged"),
        }
    }

    /// Forgets the root of a merge that will not count.
    pub fn unprepare(&self) {
        if let Content::Pending(pending) = &mut *self.content.borrow_mut() {
            pending.prepared = None;
        }
    }

    /// Becomes the tree that was prepared.
    ///
    /// # Panics
    /// When no merge was prepared.
    pub fn install(&self) -> Retired {
        let mut content = self.content.borrow_mut();
        let Content::Pending(pending) = &*content else { panic!("only a pending version is installed") };
        let root = pending.prepared.expect("only a merge that was prepared is installed");
        match std::mem::replace(&mut *content, Content::Merged(root)) {
            Content::Pending(pending) => Retired(pending.overlay),
            Content::Merged(_) => unreachable!("it was pending a moment ago"),
        }
    }

    /// Takes the changes of a pending version back that only the caller holds.
    pub(crate) fn into_pending(self: Rc<Self>) -> Result<Pending, Rc<Self>> {
        if !self.is_pending() {
            return Err(self);
        }
        match Rc::try_unwrap(self)?.content.into_inner() {
            Content::Pending(pending) => Ok(pending),
            Content::Merged(_) => unreachable!("it was pending a moment ago"),
        }
    }
}

/// An overlay that has become part of a tree. Dropping it frees a large one in one go, which may take milliseconds.
#[must_use = "release it, so that freeing it delays nobody"]
pub struct Retired(Rc<Overlay>);

impl Retired {
    /// Frees it step by step.
    pub async fn release(self) {
        let Ok(mut overlay) = Rc::try_unwrap(self.0) else { return };
        while (0..FREED_AT_ONCE).all(|_| overlay.free_some()) {
            yield_now().await;
        }
    }
}
