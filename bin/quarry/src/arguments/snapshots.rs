//! What can be typed about snapshots, and waiting for the space of what is deleted.

use clap::{Args, Subcommand};
use quarry_api_types::{Name, SnapshotPath, Timestamp};

#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Take a snapshot of a volume, or of several volumes at one point in time
    #[command(after_help = "Examples:\n  quarry snapshot create vm-17 --name monday\n  \
        quarry snapshot create db-data db-log --name before-upgrade --lock-until 2027-01-01T00:00:00Z")]
    Create {
        /// The volumes; several get snapshots of one name at one point in time, all or none
        #[arg(value_name = "VOLUME", required = true)]
        volumes: Vec<Name>,
        /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
        #[arg(long)]
        name: Name,
        /// Nobody deletes it before this time, for example 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        lock_until: Option<Timestamp>,
    },
    /// List the snapshots of a volume, or of all volumes, the oldest first
    #[command(after_help = "Example:\n  quarry snapshot list vm-17")]
    List { volume: Option<Name> },
    /// Show a snapshot
    #[command(after_help = "Example:\n  quarry snapshot show vm-17@monday")]
    Show {
        #[arg(value_name = "VOLUME@SNAPSHOT")]
        snapshot: SnapshotPath,
    },
    /// Give a snapshot that is not exported another name
    #[command(after_help = "Example:\n  quarry snapshot rename vm-17@monday before-upgrade")]
    Rename {
        #[arg(value_name = "VOLUME@SNAPSHOT")]
        snapshot: SnapshotPath,
        /// The name that it gets in its volume
        new_name: Name,
    },
    /// Lock a snapshot, or prolong its lock; nobody deletes it before the lock ends
    #[command(after_help = "Example:\n  quarry snapshot lock vm-17@monday --until 2027-01-01T00:00:00Z")]
    Lock {
        #[arg(value_name = "VOLUME@SNAPSHOT")]
        snapshot: SnapshotPath,
        /// When the lock ends, for example 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        until: Timestamp,
    },
    /// Delete a snapshot that is neither exported nor locked; clones of it live on
    #[command(after_help = "Example:\n  quarry snapshot delete vm-17@monday --wait")]
    Delete {
        #[arg(value_name = "VOLUME@SNAPSHOT")]
        snapshot: SnapshotPath,
        #[command(flatten)]
        wait: WaitForSpace,
    },
}

/// Whether to wait for the space of what is deleted.
#[derive(Args, Debug)]
pub struct WaitForSpace {
    /// Wait until the pool has freed what deletions have left, those of others included
    #[arg(long)]
    pub wait: bool,
    /// Do not tell how far that is
    #[arg(long, requires = "wait")]
    pub no_progress: bool,
}
