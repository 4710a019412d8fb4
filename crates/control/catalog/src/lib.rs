//! What a node is meant to have: its own id, the pools that it opens, the exports that it serves, the hosts that may use them and
//! what they have reserved, its consistency groups, its volumes in image mode, and which volumes are on their way to another place.
//! what they have reserved, its consistency groups, and its policies.
//!
//! What it is: the trait [`Catalog`] and its implementation for a node on its own, [`RedbCatalog`], one redb file
//! in the data directory. A cluster will bring another implementation over etcd. What it is not: the truth about
//! data. Volumes, snapshots and what is where are on the pool's devices; the catalog only remembers which devices
//! to open, so a lost catalog loses no data.
//!
//! Invariants:
//! - A commit that returned `Ok` survives power loss; one that failed, or was cut off, has changed all or nothing.
//! - Every record carries the version of its form. A catalog written by a newer Quarry is refused, not guessed at.
//! - One process at a time has the catalog open.
//! - Its file is readable by its owner alone, because it holds secrets; a secret is in no text that this crate makes.
//! - Calls block on the disk. On an async runtime they belong on a thread for blocking work.

mod catalog;
mod codec;
mod error;
mod file;
mod host_record;
mod job_record;
mod place_record;
mod policy_record;
mod record;
mod redb_catalog;
mod reservation_record;

pub use catalog::{Catalog, Change};
pub use error::{CatalogError, Result};
pub use host_record::{ChapRecord, HostGroupRecord, HostRecord, ProofRecord};
pub use job_record::{ApplyRecord, JobRecord};
pub use place_record::{ImageRecord, MigrationPhaseRecord, MigrationRecord, PlaceRecord};
pub use policy_record::{AttachedTo, AttachmentKey, AttachmentRecord, PolicyRecord};
pub use record::{
    AudienceRecord, DeviceRecord, ExportRecord, FoundingRecord, GroupRecord, LogScrubRecord, MemberRecord,
    NodeRecord, PoolRecord, QosRecord, ScrubRecord,
};
pub use redb_catalog::RedbCatalog;
pub use reservation_record::{HeldRecord, RegistrationRecord, ReservationKindRecord, ReservationRecord};

#[cfg(test)]
mod crash_tests;
