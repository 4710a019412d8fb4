//! NVMe/TCP: the subsystem of a node for hosts that speak the NVMe TCP transport specification 1.0.
//!
//! What it is: PDUs, digests, in-capsule data, R2T, C2HData with and without completion; one session for each queue, on the
//! core that owns its volumes; bounds for all of it. What it is not: no controller model (that is `quarry-nvme`), no TLS, no
//! client. Its PDUs are in `quarry-nvme-wire`.
//!
//! # How a node uses it
//!
//! ```text
//! once:           let subsystem = Subsystem::new(identity, access, advertised);
//! on each core:   let server = Server::new(env, exports, subsystem, volumes, cores, budget_bytes);
//!                 messages from other cores:  server.take_over(connection);
//! on one core:    let listener = env.network.listen(&address).await?;
//!                 env.spawner.spawn(server.clone().serve(listener)).detach();
//! to stop:        exports.stop();   then wait until exports.sessions() is empty: 10 s at most
//! ```
//!
//! # From a connection to an answer
//!
//! [`Server::serve`] accepts; `session` negotiates (`negotiation`) and brings an I/O queue to its core. There `transmission`
//! is one task for each queue: it parses PDUs (`transmission/parse`, `transmission/arrival`), holds commands in `slots`, and
//! packs answers into few sends (`outbox`).
//!
//! # Invariants
//!
//! - A session is one task. Between the arrival of a command and its answer there is no other task, no memory of its own for
//!   the command beside what the volume takes, and no copy of data that came with its command or is small.
//! - A command whose data was asked for gets it: memory for it is taken before. Nothing that waits for memory stands in the
//!   way of data that others have been asked for.
//! - What makes the two sides lose step ends the connection with a termination request that says why; every other fault
//!   fails one command. No input makes the server panic.
//! - A command that was begun is always finished, also when its host has died, and its queue is a member of its controller
//!   until then; only a stop of the node that takes too long drops it.
//! - No data digest is wrong unnoticed: data that does not fit its digest is thrown away and its command fails.

mod digest;
pub mod limits;
mod negotiation;
mod outbox;
mod queue;
mod server;
mod session;
mod slots;
mod transmission;

pub use server::{BUDGET_BYTES_MIN, Server};
pub use session::Connection;

/// The port that hosts expect I/O at (IANA).
pub const PORT: u16 = 4420;
/// The port that hosts expect discovery at (IANA).
pub const DISCOVERY_PORT: u16 = 8009;
