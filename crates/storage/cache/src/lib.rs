//! Caches: what is kept in memory, and what makes room.
//!
//! What it is: [`RecordCache`], stored records that hosts read again and again; [`Queue`], the order of eviction, which the
//! cache of map nodes uses, too; and [`Seen`], what was asked for lately, which the cache on a disk uses, too. What it is not: it reads nothing, and it knows nothing of volumes.

mod queue;
mod records;
mod seen;

pub use queue::Queue;
pub use records::{RecordCache, RecordCacheStatus};
pub use seen::Seen;
