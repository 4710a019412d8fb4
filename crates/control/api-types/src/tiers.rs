//! Tiers of a pool: its devices by how fast they are, what lies on each, and why it does.

use std::fmt;

use quarry_types::ByteSize;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{DeviceClass, InvalidRequest, Name, Tier, Timestamp};

words! {
    /// Why something was moved to another tier.
    pub enum TierReason {
        /// It was read enough for a faster tier, and there was room.
        Hot = "hot",
        /// What was read more waited for its place.
        Cold = "cold",
        /// It was read least where room for writes was short.
        Room = "room",
        /// A part of it lay in another tier.
        Split = "split",
        /// The pool is pinned to a tier.
        Pinned = "pinned",
    }
}

/// A request to say what a device counts as, or in which tier everything of a pool is to lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTier {
    /// The tier. `automatic` is for pools, and `object` is what buckets are by themselves.
    pub tier: Tier,
}

impl SetTier {
    /// Checks that a device can count as that.
    pub fn check_for_device(&self) -> Result<(), InvalidRequest> {
        match self.tier {
            Tier::Automatic => Err(InvalidRequest::contradiction(
                "tier",
                "a device is in one tier: give pmem, nvme, ssd or hdd; 'automatic' is for pools",
            )),
            Tier::Object => Err(InvalidRequest::contradiction(
                "tier",
                "only buckets are an object tier, and they are by themselves: give pmem, nvme, ssd or hdd",
            )),
            _ => Ok(()),
        }
    }
}

/// The tiers of a pool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolTiers {
    /// The pool.
    pub pool: Name,
    /// Where data is to lie: `automatic` for what is read most in the fastest tier, else the tier to which everything is pinned.
    pub placement: Tier,
    /// The tiers, the fastest first. One means that nothing moves.
    pub tiers: Vec<PoolTier>,
    /// Reads of the last minutes that make a segment worth a move to a faster tier, for each copy or part.
    pub heat_min: f64,
    /// Segments that went to a faster tier since the pool was opened.
    pub promoted_segments: u64,
    /// Segments that went to a slower one.
    pub demoted_segments: u64,
    /// Bytes that were copied for that.
    pub moved_bytes: u64,
    /// The last decisions, the newest first.
    pub decisions: Vec<TierDecision>,
}

/// One tier. Devices of several classes are one tier where one class alone has too few for the pool's protection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolTier {
    /// The class of its slowest device.
    pub tier: DeviceClass,
    /// Paths of its devices.
    pub devices: Vec<String>,
    /// What its devices offer that take new data, in bytes.
    pub total_bytes: u64,
    /// What of it is used.
    pub used_bytes: u64,
    /// What of it is free.
    pub free_bytes: u64,
    /// What of it is kept free for what hosts write: below that the coldest segments leave.
    pub kept_bytes: u64,
    /// What lies there and is read enough for a faster tier.
    pub hot_bytes: u64,
}

/// A segment, or a group of segments of an erasure code, that was moved to another tier, and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TierDecision {
    /// Number among the decisions of its log.
    pub number: u64,
    /// The log.
    pub log: u16,
    /// When.
    pub time: Timestamp,
    /// Segments that it was about.
    pub segments: u64,
    /// The tier in which they lay.
    pub from: DeviceClass,
    /// The tier to which they went.
    pub to: DeviceClass,
    /// Why.
    pub reason: TierReason,
    /// How often they were read in the last minutes, for each copy or part; a read counts half after ten minutes.
    pub heat: f64,
    /// What that was compared with: for `cold` the heat of what waited for the place, for `hot` the least that is worth a move.
    pub other_heat: f64,
    /// Free bytes of the faster of the two tiers then.
    pub free_bytes: u64,
    /// Bytes of segments that were hot enough for it and lay in slower ones.
    pub waiting_bytes: u64,
    /// What was to be copied at most.
    pub bytes: u64,
    /// Whether all of it went there; the rest follows.
    pub completed: bool,
}

impl fmt::Display for TierDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, from, to, heat, other_heat, .. } = self;
        let segments = if *segments == 1 { "a segment".to_owned() } else { format!("{segments} segments") };
        let (free, waiting) = (ByteSize(self.free_bytes), ByteSize(self.waiting_bytes));
        write!(f, "{segments} from {from} to {to}: ")?;
        match self.reason {
            TierReason::Hot => write!(
                f,
                "read {heat:.1} times lately, at least {other_heat:.1} is worth a move, and {free} were free"
            ),
            TierReason::Cold => write!(
                f,
                "read {heat:.1} times lately, and {waiting} that are read up to {other_heat:.1} times waited for {from}"
            ),
            TierReason::Room => write!(
                f,
                "read {heat:.1} times lately, less than all else there, and only {free} were free for writes"
            ),
            TierReason::Split => write!(f, "the rest of it lies there"),
            TierReason::Pinned => write!(f, "the pool is pinned to {to}"),
        }
    }
}

/// Where a volume lies.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumePlacement {
    /// The volume.
    pub volume: Name,
    /// Its pool.
    pub pool: Name,
    /// Where data of the pool is to lie. It is the pool's: segments hold data of many volumes.
    pub placement: Tier,
    /// Blocks of 4 KiB that were looked up, evenly spread.
    pub sampled_blocks: u64,
    /// Of these, blocks with data.
    pub found_blocks: u64,
    /// Whether all blocks were looked up; if not, the shares are an estimate.
    pub exact: bool,
    /// What lies in which tier, the fastest first.
    pub tiers: Vec<VolumeTier>,
    /// Decisions about segments in which these blocks lie, the newest first.
    pub decisions: Vec<TierDecision>,
}

/// What of a volume lies in a tier.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VolumeTier {
    /// The tier.
    pub tier: DeviceClass,
    /// Share of the volume's data, in percent.
    pub percent: f64,
    /// The same in bytes of the volume.
    pub mapped_bytes: u64,
    /// How often the segments in which it lies there were read in the last minutes, on average.
    pub heat: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_in_one_tier() {
        for tier in [Tier::Automatic, Tier::Object] {
            assert_eq!(SetTier { tier }.check_for_device().unwrap_err().field, "tier");
        }
        assert!(SetTier { tier: Tier::Hdd }.check_for_device().is_ok());
    }

    #[test]
    fn a_decision_says_why() {
        let decision = TierDecision {
            number: 1,
            log: 0,
            time: Timestamp::from_unix_ms(0),
            segments: 1,
            from: DeviceClass::Nvme,
            to: DeviceClass::Hdd,
            reason: TierReason::Cold,
            heat: 0.25,
            other_heat: 32.0,
            free_bytes: 2 << 20,
            waiting_bytes: 3 << 20,
            bytes: 1 << 20,
            completed: true,
        };
        assert_eq!(
            decision.to_string(),
            "a segment from nvme to hdd: read 0.2 times lately, and 3 MiB that are read up to 32.0 times waited for nvme"
        );
        let hot = TierDecision { reason: TierReason::Hot, segments: 6, ..decision };
        assert!(hot.to_string().ends_with("is worth a move, and 2 MiB were free"), "{hot}");
    }
}
