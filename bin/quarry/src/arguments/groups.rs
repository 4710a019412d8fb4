//! What can be typed about consistency groups.

use clap::Subcommand;
use quarry_api_types::{Name, Timestamp};

use super::{QosOptions, WaitForSpace};

#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// Make a group, of volumes or empty; a volume is in one group at most
    #[command(after_help = "Example:\n  quarry group create shop db-data db-log")]
    Create {
        /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
        name: Name,
        /// Its volumes, of any pools
        #[arg(value_name = "VOLUME")]
        volumes: Vec<Name>,
        #[command(flatten)]
        qos: Box<QosOptions>,
    },
    /// List groups
    #[command(after_help = "Example:\n  quarry group list")]
    List,
    /// Show a group with its volumes
    #[command(after_help = "Example:\n  quarry group show shop")]
    Show { name: Name },
    /// Add volumes to a group
    #[command(after_help = "Example:\n  quarry group add shop mail")]
    Add {
        name: Name,
        #[arg(value_name = "VOLUME", required = true)]
        volumes: Vec<Name>,
    },
    /// Take volumes out of a group; they keep their snapshots
    #[command(after_help = "Example:\n  quarry group remove shop mail")]
    Remove {
        name: Name,
        #[arg(value_name = "VOLUME", required = true)]
        volumes: Vec<Name>,
    },
    /// Say what the volumes of a group together get of the node's performance
    #[command(
        arg_required_else_help = true,
        after_help = "Example:\n  quarry group set shop --iops-max 5000 --burst 10s"
    )]
    Set {
        name: Name,
        #[command(flatten)]
        qos: Box<QosOptions>,
    },
    /// Give a group another name
    #[command(after_help = "Example:\n  quarry group rename shop store")]
    Rename {
        name: Name,
        /// The name that it gets
        new_name: Name,
    },
    /// End a group; its volumes and their snapshots stay
    #[command(after_help = "Example:\n  quarry group delete shop")]
    Delete { name: Name },
    /// Take a snapshot of each volume of a group at one point in time, all or none
    #[command(after_help = "Example:\n  quarry group snapshot shop monday --lock-until 2027-01-01T00:00:00Z")]
    Snapshot {
        group: Name,
        /// The name that each of the snapshots gets in its volume
        name: Name,
        /// Nobody deletes them before this time, for example 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        lock_until: Option<Timestamp>,
    },
    /// List the snapshots that the volumes of a group have together, the oldest first
    #[command(after_help = "Example:\n  quarry group snapshot-list shop")]
    SnapshotList { group: Name },
    /// Delete a snapshot of a group that is neither exported nor locked, in all of its volumes
    #[command(after_help = "Example:\n  quarry group snapshot-delete shop monday --wait")]
    SnapshotDelete {
        group: Name,
        /// Its name
        name: Name,
        #[command(flatten)]
        wait: WaitForSpace,
    },
    /// Give each volume of a group the content and the size that it has in a snapshot of the group
    ///
    /// What was written since is lost. No client may be connected to any of the volumes. They are rolled back one after another:
    /// when that is cut off, the same command again does the rest, and nothing should use the volumes before it has.
    #[command(after_help = "Example:\n  quarry group rollback shop monday")]
    Rollback {
        group: Name,
        /// The snapshot to go back to
        snapshot: Name,
    },
}
