//! Disks of servers: a client of NBD, NVMe/TCP and iSCSI that keeps the contract of [`quarry_env::Disk`].
//!
//! What it is: [`with_network_disks`] gives an env in which paths such as `nbd://10.0.0.7:10809/disk`,
//! `nvme-tcp://10.0.0.7:4420/NQN/1` and `iscsi://10.0.0.7:3260/IQN/0` name disks, one connection a core; many requests in
//! flight, and what happens when a connection ends. What it is not: no TLS, no authentication, no names of hosts; it does not
//! know what is on the disk, and it decides nothing about a device that fails: it fails requests, and `quarry-pool` takes the
//! device out of use.
//!
//! A protocol is what is in its folder (`nbd`, `nvme_tcp`, `iscsi`): its addresses, how a connection begins, how a request and its
//! answer look. [`transport`] is what the rest sees of it. Everything below is the same for all of them.
//!
//! # When a connection ends
//!
//! Nobody knows what became of the requests on their way, and a server may have lost what it had not flushed. So (RFD 0014):
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
//! # Who may use a disk
//!
//! A claim in the device's header, renewed every few seconds, and a lease on it, stand for a lock
//! (`claim`). Nothing is sent to a disk that is held, unless it was seen to be held within the last [`limits::LEASE_TIME`].
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
mod arrival;
mod claim;
mod connection;
mod disk;
mod disks;
mod error;
mod host;
mod inbox;
mod iscsi;
pub mod limits;
mod nbd;
mod nvme_tcp;
mod outgoing;
mod ranges;
mod remote;
mod request;
mod session;
mod slots;
mod terms;
mod transport;

pub use address::{AddressError, DiskAddress};
pub use claim::ClaimError;
pub use disks::with_network_disks;
pub use error::ConnectionError;
pub use host::Host;
pub use remote::{RemoteStats, Remotes};
