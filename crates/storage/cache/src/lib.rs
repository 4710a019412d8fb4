//! Caches: what is kept in memory, and what makes room.
//!
//! What it is: [`RecordCache`], stored records that hosts read again and again; and [`Queue`], the order of eviction, which the
//! cache of map nodes uses, too. What it is not: it reads nothing, and it knows nothing of volumes.

mod queue;
mod records;
mod seen;

pub use queue::Queue;
pub use records::{RecordCache, RecordCacheStatus};
