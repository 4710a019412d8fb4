//! NBD exports as disks: a client of the Network Block Device protocol that keeps the contract of [`quarry_env::Disk`].
//!
//! What it is: [`with_nbd`] gives an env in which paths such as `nbd://10.0.0.7:10809/disk` and
//! `nbd+unix:///disk?socket=/run/nbd.sock` name disks, one connection a core; negotiation (fixed newstyle, `GO`, block
//! sizes, structured replies), many requests in flight, and what happens when a connection ends. What it is not: no TLS, no
//! names of hosts, no metadata contexts; it does not know what is on the disk, and it decides nothing about a device that
//! fails: it fails requests, and `quarry-pool` takes the device out of use.
//!
//! # When a connection ends
//!
//! NBD has no fence, and no way to ask what became of a request. So (RFD 0014):
//!
//! - What was not answered is sent again over the next connection, with the same bytes for the same range, so that it does
//!   not matter whether the first has been, is being or will be carried out.
//! - **A range with a write or trim on its way when its connection ended is haunted**: for [`limits::LATE_TIME_MAX`] nothing
//!   else is written there, by no core of the process. A connection is ended by a reset, which throws away what the peer
//!   has not received; what the server has received by then it is taken to carry out or forget within that time.
//! - **An answered write is kept until a flush that was asked for later is answered.** A new connection may be to a server
//!   that has died with its cache and does not say so; so it begins with writing all of this again, and only then come reads,
//!   flushes and other writes. Where the range has been given to another core meanwhile, it is not written again.
//! - A server that is away longer than [`limits::OUTAGE_TIME_MAX`] while somebody waits, one whose flush fails, and one that
//!   refuses to take a write again, is given up for good: everything fails from then on, and nothing is sent any more. Who
//!   opens it again begins anew.
//!
//! # Who may use an export
//!
//! A claim in the device's header, renewed every few seconds, and a lease on it, stand for the lock that NBD does not have
//! (`claim`). Nothing is sent to an export that is held, unless it was seen to be held within the last [`limits::LEASE_TIME`].
//!
//! # Invariants
//!
//! - Two requests that change overlapping ranges are never on their way at once.
//! - Reads are repeated freely; they never see a state of the server before what was answered.
//! - What is bounded: requests and bytes in flight, bytes kept for repetition, the time of connecting, of silence, of
//!   outages ([`limits`]). Requests that wait are bounded by who asks: the pool.
//! - No answer of a server makes the client panic or read outside what it asked for; one that loses step loses the
//!   connection. That data is the right data is what the pool's checksums say.

mod address;
mod claim;
mod connection;
mod disk;
mod disks;
mod error;
mod export;
mod handshake;
mod inbox;
pub mod limits;
mod ranges;
mod reply;
mod request;
mod session;

pub use address::{AddressError, ExportAddress};
pub use claim::ClaimError;
pub use disks::with_nbd;
pub use error::ConnectionError;
pub use export::{ExportStats, Exports};
