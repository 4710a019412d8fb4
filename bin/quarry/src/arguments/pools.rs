//! What can be typed about pools.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::{Name, Protection, Tier};
use quarry_types::ByteSize;

use super::word;
use crate::values::{Bound, Percent, Ratio};

#[derive(Subcommand, Debug)]
pub enum PoolCommand {
    /// Make a pool over devices; what is on them is lost
    // Written out, because clap would put the name last, where `--device` swallows it.
    #[command(override_usage = "quarry pool create [OPTIONS] <NAME> --device <PATH>...")]
    #[command(
        after_help = "Example:\n  quarry pool create fast --device /dev/sdb /dev/sdc /srv/disk --copies 2"
    )]
    Create(CreatePool),
    /// List pools
    #[command(after_help = "Example:\n  quarry -o wide pool list")]
    List,
    /// Show a pool with its devices
    #[command(after_help = "Example:\n  quarry --exact pool show fast")]
    Show { name: Name },
    /// Change how a pool keeps what it holds, how full it may be before somebody is told, how often it may be promised, or how fast
    /// data is moved between its devices
    #[command(
        after_help = "Examples:\n  quarry pool set fast --warning 70% --critical 90% --overcommit 3.0\n  \
        quarry pool set fast --copies 3\n  quarry pool set fast --protection ec:4+2"
    )]
    Set(SetPool),
    /// Show the tiers of a pool, what lies in each, and what was moved between them and why
    #[command(after_help = "Examples:\n  quarry pool tiers fast\n  quarry pool tiers fast --place nvme")]
    Tiers {
        name: Name,
        /// Where its data is to lie from now on: automatic for what is read most in the fastest tier, or all of it in one tier
        #[arg(long, value_name = "TIER", value_parser = word(Tier::ALL, Tier::as_str))]
        place: Option<Tier>,
    },
    /// Show when a pool will be full, with an interval, and what will be asked of it
    #[command(after_help = "Example:\n  quarry pool forecast fast")]
    Forecast { name: Name },
    /// End a pool that has no volumes and give its devices back
    #[command(after_help = "Example:\n  quarry pool delete fast")]
    Delete { name: Name },
    /// Read every copy of everything in a pool, in the background, and mend what is bad
    #[command(
        after_help = "Examples:\n  quarry pool scrub fast --rate 200MiB --wait\n  quarry pool scrub fast --stop"
    )]
    Scrub {
        name: Name,
        /// What to read each second at most, every copy counted, for example 200MiB
        #[arg(long, value_name = "SIZE", conflicts_with = "stop")]
        rate: Option<ByteSize>,
        /// Wait until it is done
        #[arg(long, conflicts_with = "stop")]
        wait: bool,
        /// End the one that runs
        #[arg(long)]
        stop: bool,
    },
}

#[derive(Args, Debug)]
pub struct CreatePool {
    /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
    pub name: Name,
    /// Files, directories or block devices of the node, or disks of servers (nbd://, iscsi://, nvme-tcp://), or
    /// places in buckets (s3://); can be repeated
    #[arg(long = "device", value_name = "PATH", required = true, num_args = 1..)]
    pub devices: Vec<PathBuf>,
    /// On how many distinct devices everything is kept: 1 to 4; 1 if not given
    #[arg(long, value_name = "N", conflicts_with = "protection", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub copies: Option<u8>,
    /// How everything is kept: copies:N, or ec:K+M for an erasure code that survives the loss of any M devices, 2+1 to 8+3
    #[arg(long, value_name = "PROTECTION")]
    pub protection: Option<Protection>,
    /// The tier of one of the devices, where what is measured does not tell: PATH=pmem, nvme, ssd or hdd; can be repeated
    #[arg(long = "tier", value_name = "PATH=TIER", value_parser = crate::values::device_tier)]
    pub tiers: Vec<(PathBuf, Tier)>,
    /// Take devices that have something on them, which is lost
    #[arg(long)]
    pub force: bool,
    /// Fill level from which on somebody should act
    #[arg(long, value_name = "PERCENT", default_value = "80%")]
    pub warning: Percent,
    /// Fill level from which on somebody must act now
    #[arg(long, value_name = "PERCENT", default_value = "95%")]
    pub critical: Percent,
    /// How often the pool may be promised: the sizes of its volumes over what it holds, for example 3.0
    #[arg(long, value_name = "RATIO", default_value = "none")]
    pub overcommit: Ratio,
}

#[derive(Args, Debug)]
pub struct SetPool {
    pub name: Name,
    /// Fill level from which on somebody should act
    #[arg(long, value_name = "PERCENT", required_unless_present_any = ["critical", "overcommit", "copies", "protection", "rebuild_rate"])]
    pub warning: Option<Percent>,
    /// Fill level from which on somebody must act now
    #[arg(long, value_name = "PERCENT")]
    pub critical: Option<Percent>,
    /// How often the pool may be promised, for example 3.0, or none
    #[arg(long, value_name = "RATIO")]
    pub overcommit: Option<Ratio>,
    /// On how many distinct devices everything is kept: 1 to 4; copies are made or given up in the background
    #[arg(long, value_name = "N", conflicts_with = "protection", value_parser = clap::value_parser!(u8).range(1..=4))]
    pub copies: Option<u8>,
    /// How everything is kept: copies:N, or ec:K+M for an erasure code; what is there is converted in the background
    #[arg(long, value_name = "PROTECTION")]
    pub protection: Option<Protection>,
    /// What is copied each second at most when devices fail, join or are drained, for example 200MiB, or none
    #[arg(long, value_name = "SIZE")]
    pub rebuild_rate: Option<Bound>,
}
