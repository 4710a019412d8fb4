//! Who may do what: users, tokens, tenants, and the decision.
//!
//! What it is: [`AccessStore`], one redb file in the data directory with users, the tokens that stand for them and tenants;
//! [`Policies`], which says by Cedar policies (`roles.cedar`) whether a role may do something in a scope; and [`Attempts`],
//! which bounds guessing. What it is not: no HTTP, and no knowledge of what an operation of the API touches; that is the API's.
//!
//! Invariants:
//! - A password is kept as an Argon2id hash, a token as a SHA-256 hash of its 256 random bits: nothing that is stored opens
//!   anything. The file is readable by its owner alone.
//! - A change is durable before it counts, and counts at once: a token that was revoked opens nothing after the answer.
//! - What is not permitted is refused. Nobody gives away more than he has.
//! - A file that is no database is moved aside, and a new one begins, without users. quarryd looks at it before, and does not start without
//!   somebody having said so by moving it.
//! - Every table is bounded.
//! - Calls that write block on the disk, and those that check a password on the processor. On an async runtime they belong on a
//!   thread for blocking work.

mod attempts;
mod error;
mod file;
mod password;
mod permission;
mod policy;
mod principal;
mod record;
mod secret_token;
mod store;
mod tenants;
mod tokens;
mod users;

pub use attempts::{ATTEMPTS_KEPT_MAX, Attempts, Blocked};
pub use error::{AccessError, Result};
pub use permission::Permission;
pub use policy::Policies;
pub use principal::{Principal, Scope};
pub use record::TenantRecord;
pub use store::{AccessStore, Opened};
pub use tokens::Unproven;
