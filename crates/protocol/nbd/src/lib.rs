//! An NBD server: volumes for clients that speak the Network Block Device protocol, as `doc/proto.md` of
//! github.com/NetworkBlockDevice/nbd defines it, with its branch `extension-ext-header`.
//!
//! What it is: fixed newstyle negotiation with `EXPORT_NAME`, `LIST`, `INFO`, `GO`, `ABORT`, `STRUCTURED_REPLY`,
//! `EXTENDED_HEADERS`, `LIST_META_CONTEXT` and `SET_META_CONTEXT` (`base:allocation`); `READ`, `WRITE`, `FLUSH`, `TRIM`,
//! `CACHE`, `WRITE_ZEROES`, `BLOCK_STATUS` and `DISC` with every flag that proto.md gives them; many connections to one
//! export. What it is not: no TLS (`STARTTLS` is refused by policy), no client, no storage: it serves whatever is a
//! [`quarry_volume::Volume`].
//!
//! # How a node uses it
//!
//! ```text
//! on each core:   let server = Server::new(env, exports, volumes, cores, reservations, budget_bytes, tls);
//!                 messages from other cores:  server.take_over(connection);
//! on one core:    let listener = env.network.listen(&address).await?;
//!                 env.spawner.spawn(server.clone().serve(listener)).detach();
//! to stop:        exports.stop();   then wait until exports.sessions() is empty: 10 s at most
//! for people:     uri(&address, export_name)
//! ```
//!
//! # From a connection to a reply
//!
//! [`Server::serve`] accepts; `session` negotiates (`handshake`, `option`, `meta_context`) and brings the
//! connection to the core that owns the volume. There `transmission` is one task per session, with what `quarry-target` has for
//! sessions: a receiver takes in bytes, `wire` and `request` say what they mean and whether it is allowed, `perform` asks the
//! volume, `work` is what takes time, `reply` packs what is done into few sends. A budget shares a core's memory.
//!
//! # Invariants
//!
//! - A session is one task. Between the arrival of a request and its reply there is no other task and no copy of data,
//!   except of the part of a large payload that arrived with its header.
//! - Requests run concurrently and replies go out in any order; ordering is the client's business (proto.md, "Ordering of
//!   messages and writes"). A flush covers every write whose reply was sent on any connection before it.
//! - What a session holds is bounded: [`limits::REQUESTS_MAX`] requests, [`limits::SESSION_BYTES_MAX`] of payload and
//!   data. It receives nothing while it is at its bound. Over all sessions of a core a budget holds.
//! - A wrong request gets its error and the connection goes on; only what makes the two sides lose step (a bad magic
//!   number, a payload beyond the largest) closes it. No input makes the server panic.
//! - Clients of NBD cannot reserve. What hosts of other protocols have reserved is refused to them (`EPERM`), as to a host without a key.
//! - A request that was begun is always finished, also when its client has died; only a stop that takes too long drops it.

mod constants;
mod handshake;
pub mod limits;
mod meta_context;
mod option;
mod perform;
mod reply;
mod request;
mod server;
mod session;
mod status;
mod transmission;
mod uri;
mod wire;
mod work;

pub use server::{BUDGET_BYTES_MIN, Server};
pub use session::Connection;
pub use status::{Errno, errno};
pub use uri::{PORT, uri};
