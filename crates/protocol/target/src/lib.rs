//! What every protocol shares: the node's table of exported volumes, the sessions that use them, the signal to stop, and
//! the way of a connection to the core that owns its volume.
//!
//! What it is: [`Exports`], one table for all cores, behind one lock that no I/O takes; [`Access`], which host sees which
//! volume under which number, for protocols that show a host many volumes; [`names`], what they call the node; [`Session`],
//! the membership of one connection in it; [`Reservations`], who has reserved which volume against whom; [`Stop`]; and two
//! traits, [`Volumes`] and [`HandOver`], by which the node lends a protocol its volumes and its cores. For the inside of a
//! session: a [`Share`] of the [`Budget`] that is the memory of its core; [`Receiver`] and [`Gather`], bytes with few copies; [`InFlight`] and
//! [`Woken`], many requests in one task. What it is not: no protocol, no storage.
//!
//! Invariants:
//! - An export that a session has bound cannot be removed: [`Exports::remove`] and [`Session::bind`] take the same lock.
//! - A connection exists as long as its [`Session`] lives; dropping it is how it leaves, on whichever core that is.
//! - At most [`limits::SESSIONS_MAX`] sessions and [`limits::EXPORTS_MAX`] exports exist on a node.
//! - The size in the table is a snapshot for negotiation; the volume itself is the authority while I/O runs.

mod accept;
mod access;
mod budget;
mod counters;
mod error;
mod exports;
mod gather;
mod hand_over;
mod host;
mod in_flight;
mod inbox;
pub mod limits;
pub mod names;
mod receiver;
mod reservation;
mod session;
mod stop;
mod woken;

#[cfg(test)]
mod tests;

pub use accept::accept;
pub use access::{Access, Audience, Clients, Fabric, Mapping, View};
pub use budget::{Budget, Share, ShareBounds, Shortage};
pub use counters::{Counters, Traffic};
pub use error::{AccessError, AdmitError, ExportError};
pub use exports::{Export, Exports};
pub use gather::{Gather, HEAD_BYTES};
pub use hand_over::{HandOver, Volumes};
pub use host::{Chap, Host, Network, same_initiator};
pub use in_flight::InFlight;
pub use inbox::Inbox;
pub use receiver::{ReceiveSizes, Receiver};
pub use reservation::{
    Action, Done, Drain, DrainId, Drained, Initiator, Member, Notice, Registration, Reservation,
    ReservationError, ReservationKey, ReservationKind, ReservationState, ReservationStore, Reservations,
    StoreError, VolumeReservations, Watcher,
};
pub use session::{Login, Session, SessionId, SessionInfo};
pub use stop::{Stop, Stopped};
pub use woken::Woken;
