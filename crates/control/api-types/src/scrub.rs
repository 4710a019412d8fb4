//! Scrubs: reading every copy of everything that a pool holds.

use quarry_types::ByteSize;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{InvalidRequest, Timestamp};

/// Slowest rate that can be asked for.
const RATE_BYTES_MIN: u64 = 1 << 20;

words! {
    /// How far a scrub is.
    pub enum ScrubState {
        /// It is under way.
        Running = "running",
        /// Everything was read.
        Done = "done",
        /// It was ended before everything was read.
        Stopped = "stopped",
    }
}

/// The scrub of a pool that runs, or the last one since the node was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Scrub {
    /// How far it is.
    pub state: ScrubState,
    /// When it began.
    pub began: Timestamp,
    /// When everything had been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Chunks that were looked at.
    pub chunks_done: u64,
    /// Chunks to look at in all.
    pub chunks: u64,
    /// Bytes read and checked, every copy counted.
    pub read_bytes: u64,
    /// Bad copies that were written again from a good one.
    pub repaired: u64,
    /// Bad copies that could not be written again, though another copy is good.
    pub unrepaired: u64,
    /// Blocks of which no copy is good.
    pub lost: u64,
    /// The first of them.
    pub lost_blocks: Vec<LostBlock>,
}

/// A block of which no copy is good: reading it fails until it is written again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LostBlock {
    /// The volume, or `VOLUME@SNAPSHOT`. Absent for a part of a map, which several may need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The first byte of the block in it.
    pub offset: u64,
}

/// A request to scrub a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartScrub {
    /// Bytes to read each second at most, every copy counted; the node's own rate when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1048576, example = 104857600u64)]
    pub rate_bytes_per_s: Option<u64>,
}

impl StartScrub {
    /// Checks all that can be judged without asking the pool.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.rate_bytes_per_s {
            Some(rate) if rate < RATE_BYTES_MIN => {
                let message =
                    format!("{} a second is less than {}", ByteSize(rate), ByteSize(RATE_BYTES_MIN));
                Err(InvalidRequest::new("rate_bytes_per_s", message))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_never_ends_is_refused() {
        assert_eq!(StartScrub::default().check(), Ok(()));
        assert_eq!(StartScrub { rate_bytes_per_s: Some(1 << 20) }.check(), Ok(()));
        let error = StartScrub { rate_bytes_per_s: Some(1000) }.check().unwrap_err();
        assert!(error.to_string().contains("less than 1 MiB"), "{error}");
    }
}
