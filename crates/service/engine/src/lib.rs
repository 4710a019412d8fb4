//! The engine: volumes over one log.
//!
//! What it is: [`Engine`] owns one log of a pool on one core and serves the volumes that live in it, one file per verb:
//! `read`, `write`, `zero`, `flush`, `extents`, `manage` (create, resize, delete), `snapshots`, `history`, `clone` (and rollback
//! and promotion), `changes`, `checkpoint`, `recover`. It ties the
//! log's records to the maps of the volumes and to the liveness of the segment table, and keeps space and memory within
//! bounds (`space`, `maintenance`). What it is not: no protocol, no knowledge of other cores.
//!
//! Invariants:
//! - **Append, publish, acknowledge.** A write is in the map before its writer hears of it, and in the map only when it is
//!   on all copies; both in log order. A read sees exactly what was published.
//! - **One consistent state.** Map roots, replay position, volume list and liveness change together, in one synchronous
//!   step at the end of a checkpoint; every image is of one such state. Liveness of what the tail added is not in the
//!   table but in a list beside it, which the next checkpoint adds; so a lost tail leaves no trace in the table.
//! - **Dead space is reusable only after an image that does not refer to it is durable**, and after every read begun
//!   earlier has ended (readers hold their chunk).
//! - A write of less than a block reads, merges and appends under a lock of its block, after everything appended before
//!   counts; whole-block writes wait for that lock.
//! - What a snapshot holds never dies before the snapshot is dissolved (`lineage`). Whoever changes volumes or snapshots holds
//!   `managing` from the check to the record that counts.
//! - Writes of hosts stop while so much space is left that a checkpoint and the cleaner can do their work.

mod admit;
mod apply;
mod begun;
mod block_lock;
mod cached;
mod changes;
mod checkpoint;
mod cleaning;
mod clone;
mod commit;
mod compare;
mod course;
mod create;
mod damage;
mod deduplicate;
mod duplicates;
mod engine;
mod error;
mod extents;
mod fair_lock;
mod figures;
mod flush;
mod freeing;
mod frozen;
mod grouping;
mod history;
mod hold;
mod keys;
mod lineage;
mod losses;
mod maintenance;
mod manage;
mod node_store;
mod placement;
mod read;
mod recover;
mod reduce;
mod references;
mod rehome;
mod scrub;
mod snapshot;
mod snapshots;
mod space;
mod tier_plan;
mod tiering;
mod unlock;
mod unpack;
mod usage;
mod verify;
mod volume;
mod volumes;
mod write;
mod zero;

pub use changes::{ChangedRange, Changes};
pub use clone::CloneOf;
pub use engine::{Engine, EngineStatus, Limits, VolumeStatus};
pub use error::EngineError;
pub use figures::EngineFigures;
pub use freeing::{Dissolving, Freeing};
pub use history::{History, Missed};
pub use hold::Hold;
pub use keys::NewKey;
pub use losses::Losses;
pub use placement::{Placement, TierShare};
pub use quarry_cache::RecordCacheStatus;
pub use quarry_crypt::DataKey;
pub use quarry_format::record::KeyRecord;
pub use rehome::Rehoming;
pub use scrub::{LostBlock, LostPlace, ScrubReport, ScrubTerms};
pub use snapshots::{NewSnapshot, SnapshotLabel, SnapshotStatus};
pub use space::with_overhead;
pub use tier_plan::{TierReason, kept_slots};
pub use tiering::{TierDecision, TierMoves};
pub use verify::{Finding, Verified, verify_slots};
pub use volume::EngineVolume;
