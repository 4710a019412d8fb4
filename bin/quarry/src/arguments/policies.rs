//! What can be typed about policies.

use clap::{Args, Subcommand};
use quarry_api_types::{
    Compression, Deduplication, Durability, Name, PolicySetting, Protection, ReadCache, SnapshotRule, Tier,
    ZoneName,
};

use super::{QosOptions, word};
use crate::rules::{parse_rule, parse_seconds};
use crate::values::{Bound, Ratio, Switch, Window};

#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Make a policy; it holds for nothing until it is attached
    #[command(
        after_help = "Example:\n  quarry policy create gold --compression lz4 --time-zone Europe/Berlin \\\n    \
        --snapshot 15m,for=1d --snapshot 1h,for=1w --snapshot 1d,at=02:30,keep=30"
    )]
    Create {
        /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
        name: Name,
        #[command(flatten)]
        settings: Box<PolicyOptions>,
    },
    /// List policies
    #[command(after_help = "Example:\n  quarry policy list")]
    List,
    /// Show a policy, and to what it is attached
    #[command(after_help = "Example:\n  quarry policy show gold")]
    Show { name: Name },
    /// Change what a policy says; its volumes are made so in the background
    #[command(after_help = "Example:\n  quarry policy set gold --compression zstd --unset quota")]
    Set {
        name: Name,
        #[command(flatten)]
        settings: Box<PolicyOptions>,
        /// Say nothing of this any more; can be repeated
        #[arg(long, value_name = "SETTING", value_parser = word(PolicySetting::ALL, PolicySetting::as_str))]
        unset: Vec<PolicySetting>,
        /// Only if the policy is at this version
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// End a policy that is attached to nothing
    #[command(after_help = "Example:\n  quarry policy delete gold")]
    Delete { name: Name },
    /// Attach a policy to volumes or to a group, in the place of the one that they have; overrides stay
    #[command(
        after_help = "Examples:\n  quarry policy attach gold vm-17 vm-18\n  quarry policy attach gold --group shop"
    )]
    Attach {
        /// The policy
        policy: Name,
        /// The volumes
        #[arg(value_name = "VOLUME", required_unless_present = "group")]
        volumes: Vec<Name>,
        /// The consistency group; its volumes without a policy of their own are snapshotted together
        #[arg(long, conflicts_with = "volumes")]
        group: Option<Name>,
    },
    /// Take policy and overrides of volumes, or the policy of a group, away; volumes and snapshots stay as they are
    #[command(after_help = "Examples:\n  quarry policy detach vm-17\n  quarry policy detach --group shop")]
    Detach {
        /// The volumes
        #[arg(value_name = "VOLUME", required_unless_present = "group")]
        volumes: Vec<Name>,
        /// The consistency group
        #[arg(long, conflicts_with = "volumes")]
        group: Option<Name>,
    },
    /// Say how one volume is meant to be whatever its policy says
    #[command(
        after_help = "Examples:\n  quarry policy override vm-17 --compression off\n  quarry policy override vm-17 --unset compression"
    )]
    Override {
        /// The volume
        volume: Name,
        #[command(flatten)]
        settings: Box<PolicyOptions>,
        /// Override this no longer; can be repeated
        #[arg(long, value_name = "SETTING", value_parser = word(PolicySetting::ALL, PolicySetting::as_str))]
        unset: Vec<PolicySetting>,
    },
}

#[derive(Subcommand, Debug)]
pub enum WhyCommand {
    /// How a volume is meant to be, who says so, whether it is, why not, and what the node is about to do
    #[command(after_help = "Example:\n  quarry why volume vm-17")]
    Volume { name: Name },
}

/// How volumes are meant to be.
#[derive(Args, Debug, Default)]
pub struct PolicyOptions {
    /// When an acknowledged write survives power loss: after a flush, or always
    #[arg(long, value_parser = word(Durability::ALL, Durability::as_str))]
    pub durability: Option<Durability>,
    /// How blocks are made smaller
    #[arg(long, value_parser = word(Compression::ALL, Compression::as_str))]
    pub compression: Option<Compression>,
    /// Whether blocks that their core has stored since the start are stored again
    #[arg(long, value_parser = word(Deduplication::ALL, Deduplication::as_str))]
    pub deduplication: Option<Deduplication>,
    /// Whether what is read again is answered from the node's memory
    #[arg(long, value_parser = word(ReadCache::ALL, ReadCache::as_str))]
    pub read_cache: Option<ReadCache>,
    /// Whether blocks are encrypted; holds for volumes that are made with the policy
    #[arg(long, value_name = "on|off")]
    pub encryption: Option<Switch>,
    /// Keep volumes as they were at each second of a while back, for example 10m (at most 1h), or none
    #[arg(long, value_name = "TIME")]
    pub history: Option<Window>,
    /// The most that each volume may map, for example 15GiB, or none but its size
    #[arg(long, value_name = "SIZE")]
    pub quota: Option<Bound>,
    /// What the pool keeps for each volume, or none
    #[arg(long, value_name = "SIZE")]
    pub reserve: Option<Bound>,
    /// How large the volumes of its pool may be together, as a multiple of what that holds, for example 2.5; 0 for no bound
    #[arg(long, value_name = "RATIO")]
    pub overcommit: Option<Ratio>,
    /// Take snapshots this often and keep so many: EVERY[,on=DAY][,at=HH:MM],keep=NUMBER or ,for=TIME; can be repeated
    #[arg(long = "snapshot", value_name = "RULE", value_parser = parse_rule, conflicts_with = "no_snapshots")]
    pub snapshots: Vec<SnapshotRule>,
    /// Take no snapshots by the calendar, and delete none
    #[arg(long)]
    pub no_snapshots: bool,
    /// Time zone of the times of day, for example Europe/Berlin; UTC when nothing is said
    #[arg(long, value_name = "ZONE", requires = "snapshots")]
    pub time_zone: Option<ZoneName>,
    /// How data survives failures, for example copies:2 or ec:4+2; more copies than that are as good
    #[arg(long)]
    pub protection: Option<Protection>,
    /// Where data lies among the tiers of its pool
    #[arg(long, value_parser = word(Tier::ALL, Tier::as_str))]
    pub tier: Option<Tier>,
    #[command(flatten)]
    pub qos: QosOptions,
    /// Where volumes are replicated to; stored, not carried out by this version
    #[arg(long, value_name = "CLUSTER", requires = "rpo")]
    pub replicate_to: Option<String>,
    /// How far the copy may be behind, for example 30s
    #[arg(long, value_name = "TIME", requires = "replicate_to", value_parser = parse_seconds)]
    pub rpo: Option<u64>,
}
