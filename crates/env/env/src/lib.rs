//! The world as arguments: time, chance, disks, networks and tasks, as traits.
//!
//! What it is: the contract that `env-linux` (the real world, on io_uring) and `env-sim` (a seeded world in which
//! things break) both fulfil, plus what both share: aligned [`Buffer`]s, one-shot [`Completion`]s and the single-threaded
//! task [`Executor`]. What it is not: it opens no file, reads no clock and starts no thread.
//!
//! Invariants:
//! - Everything that is not deterministic reaches the other crates through an [`Env`].
//! - An `Env` belongs to one core (one executor). Only what is `Send` crosses cores: [`DetachedStream`]s and messages.
//! - A started disk or network operation runs to its end, also when its [`Completion`] is dropped; it owns its buffers.

mod buffer;
mod completion;
mod disk;
mod executor;
mod network;
mod sharing;
mod signal;
mod turns;

use std::rc::Rc;
use std::time::Duration;

pub use buffer::{Buffer, BufferPool, RegisterSlab, View};
pub use completion::{Completer, Completion, Observer, completion};
pub use disk::{Disk, DiskGeometry, DiskKind, Disks, OpenMode};
pub use executor::{Executor, JoinHandle, LocalSpawner, PickNext, Ready, yield_now};
pub use network::{Address, DetachedStream, Listener, Network, PEER_FILES_MAX, ReceivedWithFiles, Stream};
pub use sharing::{PeerEvent, PeerFile, SharedMemory, Sharing};
pub use signal::Signal;
pub use turns::{Passed, Turns, Work};

/// Monotonic and wall-clock time.
pub trait Clock {
    /// Time since an arbitrary start; never goes back.
    fn now(&self) -> Duration;
    /// The time, by the same clock, at which the core began the turn of its loop that runs now. Costs nothing, so that every
    /// request can be timed: what a task waits for ends in a later turn, and nothing reaches a device or a peer within one.
    fn turn(&self) -> Duration {
        self.now()
    }
    /// Time since 1970-01-01T00:00:00Z; may jump.
    fn wall(&self) -> Duration;
    /// Completes once `duration` has passed.
    fn sleep(&self, duration: Duration) -> Completion<()>;
}

/// A source of random bits.
pub trait Random {
    /// 64 uniform bits.
    fn next_u64(&self) -> u64;

    /// 128 uniform bits, enough for an id.
    fn next_u128(&self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }
}

/// All that one core may touch of the world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Rc<dyn Clock>,
    /// Chance.
    pub random: Rc<dyn Random>,
    /// Disks by path.
    pub disks: Rc<dyn Disks>,
    /// Sockets.
    pub network: Rc<dyn Network>,
    /// Tasks on this core.
    pub spawner: LocalSpawner,
    /// I/O memory of this core.
    pub buffers: BufferPool,
}
