//! What can go wrong in a log.

use quarry_format::FormatError;
use quarry_pool::PoolError;
use quarry_types::{BatchNumber, LogAddress, SegmentId};

/// Why a record was not appended, or a flush not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogError {
    /// The log takes no more records; reads go on.
    #[error("the log takes no more writes: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why a log cannot be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Records that survived a flush are gone: more was lost than the pool's copies allow for.
    #[error(
        "the log is damaged: it ends at batch {found} ({address:?}), but batches up to {flushed} had been made \
         durable; bring back the devices that hold the other copies; if there are none, quarry-extract reads what is left"
    )]
    Lost {
        /// The last batch found.
        found: BatchNumber,
        /// Where it ends.
        address: LogAddress,
        /// The last batch known to have survived a flush.
        flushed: BatchNumber,
    },
    /// A segment of the tail is not in the table.
    #[error("segment {segment}, where the tail begins, is not in the segment table")]
    NoSegment {
        /// The segment.
        segment: SegmentId,
    },
    /// A structure says what it cannot.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}
