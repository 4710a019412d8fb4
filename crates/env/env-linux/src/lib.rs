//! The real world on io_uring: one [`Core`] is one thread, one ring and one executor.
//!
//! What it is: the implementation of [`quarry_env::Env`] over Linux (disks, sockets, clocks, randomness), the loop that
//! turns an executor between completions, and the ways into a core from other threads ([`CoreRemote`]). What it is not:
//! it knows nothing of pools, volumes or protocols, and it holds no policy but when to sleep (`wait_policy.rs`).
//!
//! Invariants:
//! - **Memory given to the kernel outlives the operation.** An operation in flight lives in the ring's slab and owns its
//!   buffers, vectors, addresses and its file, also when nobody waits for it any more. A core that ends, even by a panic,
//!   cancels what waits for a peer, waits for the rest, and only then frees memory.
//! - **A disk opened exclusively is locked until its last I/O has ended.** The lock (flock) belongs to the open file
//!   description, which every core of the process shares and which the rings have registered; the kernel lets go of it
//!   when the last request that uses it has completed, also after `kill -9`.
//! - A ring is used by the thread that made it, and by no other. Only wakers and [`CoreRemote`]s cross threads.
//! - **What a peer shares harms nobody when the peer takes it away.** Shared memory is volatile memory only; when it is cut off
//!   the SIGBUS of whoever uses it next puts zero pages in its place and marks it (`guard.rs`). No operation on a signal of a peer makes
//!   the core wait (`peer_event.rs`).
//! - No system call on the I/O path but `io_uring_enter`, and no allocation beyond the completion and the caller's views.
//!
//! Tested against Linux 6.18; older kernels lose features one by one down to about 5.19 (see `setup.rs`).

// This crate is where real clocks, files, sockets and threads are allowed: it is what keeps them out of all others.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod blocking;
mod clock;
mod core;
mod disk;
mod disk_geometry;
mod disk_lock;
mod disk_open;
mod disks;
mod driver;
mod fixed;
mod gather;
mod guard;
mod listener;
mod network;
mod op;
mod peer_event;
mod pmem;
mod random;
mod remote;
mod ring;
mod scan;
mod setup;
mod shared_memory;
mod socket;
mod stream;
mod sysfs;
mod timer;
mod wait_policy;
mod wake;

#[cfg(test)]
mod tests;

pub use crate::core::{Core, CoreConfig, CoreHandle, run_on_this_thread};
pub use crate::disk_open::OpenError;
pub use crate::remote::{CoreRemote, SpawnError};
