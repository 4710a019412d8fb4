//! What can be typed about devices.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::{Name, Tier};

use super::word;

#[derive(Subcommand, Debug)]
pub enum DeviceCommand {
    /// List the pools' devices and what the last scan has seen
    #[command(after_help = "Example:\n  quarry -o wide device list")]
    List,
    /// Show how a device of a pool does: its health with causes and what to do, its latencies, its drive
    #[command(after_help = "Example:\n  quarry device show fast /dev/sdb")]
    Show {
        #[command(flatten)]
        of: DeviceOf,
    },
    /// Look at the machine's devices anew; changes nothing on them
    #[command(after_help = "Example:\n  quarry device scan")]
    Scan,
    /// Make a device a member of a pool, while it is in use; what is on it is lost
    #[command(after_help = "Example:\n  quarry device add fast /dev/sdd --wait")]
    Add {
        pool: Name,
        /// A file, directory or block device of the node
        path: PathBuf,
        /// Its tier, where what is measured does not tell
        #[arg(long, value_parser = word(Tier::ALL, Tier::as_str))]
        tier: Option<Tier>,
        /// Take a device that has something on it, which is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: WaitForRebuild,
    },
    /// Say which tier a device belongs to, whatever was measured: pmem, nvme, ssd or hdd
    #[command(after_help = "Example:\n  quarry device tier fast /dev/sdb hdd")]
    Tier {
        #[command(flatten)]
        of: DeviceOf,
        /// The tier
        #[arg(value_parser = word(Tier::ALL, Tier::as_str))]
        tier: Tier,
    },
    /// Move everything on a device to the others, and place nothing new on it
    #[command(after_help = "Example:\n  quarry device drain fast /dev/sdb --wait")]
    Drain {
        #[command(flatten)]
        of: DeviceOf,
        /// Use it for everything again, also one that is to be removed
        #[arg(long, conflicts_with = "wait")]
        cancel: bool,
        #[command(flatten)]
        wait: WaitForRebuild,
    },
    /// Drain a device and end its membership; it is blank afterwards
    #[command(after_help = "Example:\n  quarry device remove fast /dev/sdb --wait")]
    Remove {
        #[command(flatten)]
        of: DeviceOf,
        #[command(flatten)]
        wait: WaitForRebuild,
    },
    /// Put another device into the place of one, whether that still works or not
    #[command(after_help = "Example:\n  quarry device replace fast /dev/sdb /dev/sde --wait")]
    Replace {
        #[command(flatten)]
        of: DeviceOf,
        /// The new one: a file, directory or block device of the node
        new: PathBuf,
        /// Take a new device that has something on it, which is lost
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: WaitForRebuild,
    },
    /// Use all of a device that has become larger
    #[command(after_help = "Example:\n  quarry device grow fast /dev/sdb")]
    Grow {
        #[command(flatten)]
        of: DeviceOf,
    },
    /// Use a device again that was missing or has failed; it gets what it has missed
    #[command(after_help = "Example:\n  quarry device return fast /dev/sdb --wait")]
    Return {
        #[command(flatten)]
        of: DeviceOf,
        #[command(flatten)]
        wait: WaitForRebuild,
    },
}

/// A member of a pool.
#[derive(Args, Debug)]
pub struct DeviceOf {
    /// Its pool
    pub pool: Name,
    /// Its path or its id
    pub device: String,
}

/// Whether to wait until data lies where it should.
#[derive(Args, Debug)]
pub struct WaitForRebuild {
    /// Wait until everything lies where it should
    #[arg(long)]
    pub wait: bool,
    /// Do not show how far it is
    #[arg(long, requires = "wait")]
    pub no_progress: bool,
}
