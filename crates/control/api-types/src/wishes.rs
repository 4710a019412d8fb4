//! Where a policy may have volumes lie; and what it may ask for that this version stores and does not carry out: replication.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

words! {
    /// Where data is to lie.
    pub enum Tier {
        /// Wherever it is used enough for.
        Automatic = "automatic",
        /// Persistent memory.
        Pmem = "pmem",
        /// NVMe.
        Nvme = "nvme",
        /// Other solid-state disks.
        Ssd = "ssd",
        /// Spinning disks.
        Hdd = "hdd",
        /// An object store.
        Object = "object",
    }
}

/// Where a volume is to be replicated to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// The other cluster, by its name or address.
    #[schema(min_length = 1, max_length = 255)]
    pub target: String,
    /// How far it may be behind, in seconds.
    #[schema(minimum = 1)]
    pub rpo_s: u32,
}

impl Replication {
    /// Checks that both are given.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.target.chars().count() {
            1..=255 if self.rpo_s > 0 => Ok(()),
            _ => Err(InvalidRequest::new(
                "replication",
                "it needs a target of 1 to 255 characters and an rpo_s of at least 1",
            )),
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {} within {} s", self.target, self.rpo_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replication_has_a_target() {
        assert!(Replication { target: String::new(), rpo_s: 5 }.check().is_err());
    }
}
