//! A vhost-user-blk back end: volumes as virtio disks of virtual machines on the same host, through memory that both share, as
//! QEMU's `docs/interop/vhost-user.rst` and virtio 1.2 section 5.2 define it.
//!
//! What it is: the control socket with memory tables, many queues, configuration, and the log of requests in flight; split queues
//! with indirect descriptors and event indices; read, write, flush, discard, write zeroes, get id. What it is not: no packed
//! queues, no log of changed memory for the migration of a running guest, no storage: it serves whatever is a
//! [`quarry_volume::Volume`].
//!
//! # How a node uses it
//!
//! ```text
//! on each core:   let server = Server::new(env, exports, volumes, reservations, budget_bytes);
//! for an export:  server.open(name, path).await?      on the core that owns the volume
//!                 server.close(name)
//! to stop:        exports.stop();                     then wait until exports.sessions() is empty
//! ```
//!
//! # From a descriptor to an answer
//!
//! `server` accepts on the core that owns the volume; `control` deals with the messages that `channel` brings, in the words of
//! `message`, and has `control/queues` begin and end queues. Each queue is one task, `worker`: `virtqueue` gives it `chain`s of
//! descriptors, `request` says what they mean, the volume does it, and the answer goes into the used ring. `in_flight` notes what
//! was taken and not answered, for the process after this one.
//!
//! # Invariants
//!
//! - Everything of a device happens on the core that owns its volume. No thread of its own, no lock on the I/O path.
//! - What is written is copied out of guest memory once, before the volume sees it: the guest may change it meanwhile, and what
//!   is stored must be what was checksummed. What is read is copied once, into guest memory, from what was verified.
//! - A request is in the log of requests in flight from before it is begun until after it is answered. So after the death of
//!   either side it is done again, or was answered; and a device has one front end at a time, so it is not done twice at once.
//! - Nothing in guest memory is believed: whatever stands there costs a bounded number of steps and ends one queue at most. What a
//!   front end says on the socket ends its connection at most.
//! - A driver that does not flush, or has turned write-back off, finds every write safe when it is answered.

mod chain;
mod channel;
mod config;
mod control;
mod device;
mod error;
mod in_flight;
pub mod limits;
mod memory;
mod message;
mod request;
mod server;
mod virtqueue;
mod work;
mod worker;

pub use chain::{Chain, Segments};
pub use error::QueueError;
pub use in_flight::{InFlightLog, Unfinished};
pub use memory::{GuestMap, Region};
pub use request::{Range, Request, Status, Verb};
pub use server::{BUDGET_BYTES_MIN, Server};
pub use virtqueue::{Layout, Virtqueue};
