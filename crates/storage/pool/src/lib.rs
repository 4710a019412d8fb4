//! The pool: chunks on devices, who may use which slot, where every segment lies, and the images that make it durable.
//!
//! What it is: [`PoolShared`] is what all cores know of a pool (its devices' health, its free slots); [`Pool`] is one
//! core's way to its devices; [`LogStore`] is what one log owns in it: its [`SegmentTable`], its chunks and its checkpoint
//! images. Reads go to one copy, are verified, and are repaired from another. What it is not: it does not know what a
//! batch or a map is; `quarry-log` fills segments, `quarry-cleaner` chooses what to move.
//!
//! Invariants:
//! - A slot belongs to at most one [`Chunk`]; it returns to the allocator when the last reference to the chunk is gone.
//!   A read holds a reference, so nothing is reused under it.
//! - A chunk that the durable image names is retired only after a later image, which does not name it, is durable.
//! - Copies of a chunk are on distinct devices, and so are the chunks of a [`Group`].
//! - A device that fails a write or a flush is out of use at once, until the pool is opened again or it is taken back.
//! - A device that does not answer is out of use when everything can be had without it; nothing is sent to it again before what it was
//!   sent has ended (`watch`, `board`).
//! - A device is removed when no slot of it is taken; until then every label names it.

mod allocator;
mod anchor;
mod bitmap;
mod board;
mod chunk;
mod coalesce;
mod coded;
mod decode;
mod error;
mod group;
mod grouping;
mod heat;
mod image;
mod matching;
mod member;
mod membership;
mod open;
mod policies;
mod pool;
mod read;
mod records;
mod rehome;
mod retier;
mod scrub;
mod shared;
mod slow;
mod stakes;
mod store;
mod table;
mod tiers;
mod watch;

pub use allocator::Allocator;
pub use bitmap::Bitmap;
pub use board::DeviceHealth;
pub use chunk::{Chunk, Slots};
pub use coalesce::BRIDGED_FACTOR_MAX;
pub use error::{CopyError, OpenError, PoolError};
pub use group::Group;
pub use grouping::{Candidate, Coded, Grouping};
pub use heat::Heat;
pub use image::ImageParts;
pub use member::{DeviceStatus, MemberUse};
pub use membership::{HeldBytes, LOG_CHUNKS_MIN, MembershipError};
pub use open::{LogState, OpenedLog, OpenedPool, attach, from_devices, open, open_if};
pub use pool::Pool;
pub use read::Expected;
pub use records::Wanted;
pub use rehome::{Contents, Duty, Moving, Rehomed};
pub use scrub::Scrubbed;
pub use shared::{Capacity, Geometry, PoolShared};
pub use slow::Slowness;
pub use stakes::{Need, Purpose};
pub use store::LogStore;
pub use table::{Relocation, Run, Segment, SegmentTable};
pub use tiers::{HEAT_LEVELS, HeatMap, TIERS_MAX, Tier, TierSlots, heat_level, heat_of_level};
