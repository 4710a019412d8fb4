//! What a core does beside hosts' requests, and who says when.

use std::any::Any;
use std::rc::Rc;

use futures::future::LocalBoxFuture;

/// A kind of work that no host has asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Work {
    /// Moving survivors, so that chunks become free.
    Cleaning,
    /// Making groups of chunks that have parity instead of copies.
    Grouping,
    /// Copying chunks to where they should lie.
    Rebuild,
    /// Reading everything, to find what is bad.
    Scrub,
    /// Moving a volume to another place.
    Migration,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cleaning, Self::Grouping, Self::Rebuild, Self::Scrub, Self::Migration];
}

/// To be kept until the work is done for which there was a turn.
pub type Passed = Rc<dyn Any>;

/// Says when background work may go on. Each piece of it, some hundred KiB, takes a turn of its own.
pub trait Turns {
    /// A turn for work that moves so many bytes; `None` when it may go on at once.
    fn turn(&self, work: Work, bytes: u64) -> Option<LocalBoxFuture<'static, Passed>>;

    /// Hosts wait for space, or for a checkpoint that waits for such work: for a while nothing that gains space waits for a turn.
    fn hurry(&self);
}
