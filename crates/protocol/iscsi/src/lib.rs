//! An iSCSI target (RFC 7143 and 7144): the volumes of a node for hosts with an initiator.
//!
//! What it is: one target a node, with one portal group; login with CHAP in both directions, discovery and normal sessions of one
//! connection each, several sessions of an initiator; header and data digests; immediate, unsolicited and solicited data; task
//! management, NOPs both ways, asynchronous messages; error recovery level 0. What it is not: no SCSI (that is
//! `quarry-scsi`), no TLS or IPsec, no multiple connections of a session, no recovery within a connection.
//!
//! # How a node uses it
//!
//! ```text
//! once:           let target = Target::new(node, advertise, exports, access, reservations);
//! on each core:   let server = Server::new(env, target.clone(), volumes, cores, budget_bytes);
//!                 messages from other cores:  server.take_over(connection);
//! on one core:    let listener = env.network.listen(&address).await?;
//!                 env.spawner.spawn(server.clone().serve(listener)).detach();
//! to stop:        exports.stop();   then wait until exports.sessions() is empty: 10 s at most
//! for people:     uri(address, &target.name, lun)
//! ```
//!
//! # From a connection to an answer
//!
//! [`Server::serve`] accepts; `connection` sees a login through (`login`, `parameters`, `chap`, `text`), finds a place for the
//! session (`sessions`) and brings it to the core that owns the first volume which the initiator sees. There `full_feature` is one
//! task per session: its `parse` takes units apart (`quarry-iscsi-wire`), `commands` begins what they ask for, `data` and `collect`
//! gather what belongs to a write, `management` ends commands early, `timers` asks silent initiators; `numbers` counts, `outbox`
//! packs answers into few sends. `targets` names things.
//!
//! # Invariants
//!
//! - A session is one task. Between the arrival of a command and its answer there is no other task, and no copy of data that
//!   arrived with its command, or that is large; answers leave in one send each time the task runs.
//! - Commands run concurrently and are answered in any order (SIMPLE tasks; ORDERED and HEAD OF QUEUE are taken for them).
//! - What a session holds is bounded: [`limits::WINDOW`] commands, and memory by the budget of its core. It receives nothing
//!   while it is at its bound, and turns commands away rather than wait for data that stands behind them.
//! - A command that was begun is always finished, also when it was aborted, its initiator has died or its session was stopped; one
//!   of many steps ends before its next one. An abort is answered when what it ends has ended, and nobody takes the place of a
//!   session before that.
//! - A session sees what its login has proven that it may see, also when hosts change.
//! - What breaks the protocol ends that session and nothing else; no input makes the server panic.

mod chap;
mod collect;
mod connection;
mod full_feature;
pub mod limits;
pub mod login;
mod numbers;
mod outbox;
pub mod parameters;
mod request;
mod server;
mod sessions;
mod targets;
pub mod text;

pub use chap::CHALLENGE_BYTES;
pub use connection::Connection;
pub use quarry_scsi::SoftThreshold;
pub use server::{BUDGET_BYTES_MIN, Server, Target};
pub use targets::{PORT, target_name, uri};
