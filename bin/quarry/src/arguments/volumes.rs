//! What can be typed about volumes.

use clap::{Args, Subcommand};
use quarry_api_types::{
    Compression, Deduplication, Durability, Name, OwnProtection, OwnTier, Protection, ReadCache, Tier,
    Timestamp, VolumePath,
};
use quarry_types::ByteSize;

use super::{AdoptVolume, ExportImage, ImportVolume, MigrateVolume, QosOptions, WaitForSpace, word};
use crate::values::{Bound, Window};

#[derive(Subcommand, Debug)]
pub enum VolumeCommand {
    /// Carve a thin volume from a pool
    #[command(after_help = "Example:\n  quarry volume create vm-17 --pool fast --size 20GiB")]
    Create(CreateVolume),
    /// List volumes
    #[command(after_help = "Example:\n  quarry -o wide volume list")]
    List,
    /// Show a volume
    #[command(after_help = "Example:\n  quarry -o yaml volume show vm-17")]
    Show { name: Name },
    /// Show what hosts do with a volume, or with all that they use: rates and latencies, counted for a second
    #[command(after_help = "Example:\n  quarry volume stats vm-17 --watch")]
    Stats {
        name: Option<Name>,
        /// Go on, a line each so many seconds; as JSON the counters, one object a line
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
        watch: Option<u64>,
    },
    /// Show when a volume will have filled its quota or its size, with an interval, and what will be asked of it
    #[command(after_help = "Example:\n  quarry volume forecast vm-17")]
    Forecast { name: Name },
    /// Give a volume another size, while it is in use
    #[command(after_help = "Example:\n  quarry volume resize vm-17 --size 40GiB")]
    Resize {
        name: Name,
        /// The new size, for example 40GiB
        #[arg(long)]
        size: ByteSize,
    },
    /// Change when a volume's writes are safe, its quota, reservation, compression, deduplication, read cache or history, while it is in use
    #[command(after_help = "Example:\n  quarry volume set vm-17 --quota 15GiB --reserve none")]
    Set(SetVolume),
    /// Give a volume that is not exported another name
    #[command(after_help = "Example:\n  quarry volume rename vm-17 vm-18")]
    Rename {
        name: Name,
        /// The name that it gets
        new_name: Name,
    },
    /// Make a volume with the content of a snapshot, or of a volume as it is now; both share their data
    #[command(after_help = "Example:\n  quarry volume clone golden@v3 vm-18")]
    Clone {
        /// What to clone
        #[arg(value_name = "VOLUME[@SNAPSHOT]")]
        origin: VolumePath,
        /// Name of the new volume
        name: Name,
        /// As it was at this second of its history, for example 2026-11-21T10:31:59Z
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// Give a volume the content and the size that it had at a snapshot, or at a second of its history; what was written since
    /// is lost
    #[command(after_help = "Examples:\n  quarry volume rollback vm-17@monday\n  \
        quarry volume rollback vm-17 --at 2026-11-21T10:31:59Z")]
    Rollback {
        /// The snapshot to go back to, or the volume
        #[arg(value_name = "VOLUME[@SNAPSHOT]")]
        to: VolumePath,
        /// The second of its history to go back to
        #[arg(long, value_name = "TIME")]
        at: Option<Timestamp>,
    },
    /// Give an encrypted volume another key-encryption key and destroy the old one; no data is written anew
    #[command(after_help = "Example:\n  quarry volume rotate-key vm-17")]
    RotateKey { name: Name },
    /// Give a clone the snapshots that it stands on, so that the volume that had them can be deleted
    #[command(after_help = "Example:\n  quarry volume promote vm-17-test")]
    Promote { name: Name },
    /// List the bytes that differ between two snapshots, or between a snapshot and the volume as it is
    #[command(after_help = "Example:\n  quarry -o json volume changes vm-17 --from monday --to tuesday")]
    Changes {
        name: Name,
        /// The older snapshot; without it, all that the newer state holds
        #[arg(long, value_name = "SNAPSHOT")]
        from: Option<Name>,
        /// The newer snapshot; without it, the volume as it is now
        #[arg(long, value_name = "SNAPSHOT")]
        to: Option<Name>,
    },
    /// Make a volume with the content of an image
    #[command(after_help = "Examples:\n  quarry volume import debian.qcow2 --pool fast --name vm-17\n  \
        quarry volume import nbd://old-san/vm-18 --pool fast --name vm-18 --verify\n  \
        quarry volume import https://images.example.org/debian.qcow2 --pool fast --name golden")]
    Import(ImportVolume),
    /// Write an image of a snapshot, or of a volume as it is now
    #[command(after_help = "Examples:\n  quarry volume export-image vm-17 vm-17.qcow2\n  \
        quarry volume export-image vm-17@monday /mnt/usb/vm-17.vhdx --format vhdx --verify")]
    ExportImage(ExportImage),
    /// Serve a device that holds data as a volume, as it is (image mode); nothing is copied, and nothing of Quarry's is written to it
    #[command(after_help = "Examples:\n  quarry volume adopt erp --device nbd://10.0.0.7/lun0\n  \
        quarry volume adopt erp --device /dev/disk/by-id/wwn-0x5000c500a1b2c3d4 --read-only")]
    Adopt(AdoptVolume),
    /// Let go of the device of a volume in image mode; what is on it stays
    #[command(after_help = "Example:\n  quarry volume release erp")]
    Release { name: Name },
    /// Move a volume to a pool or to a device, while it is in use; everything is compared before the old place is left
    #[command(after_help = "Examples:\n  quarry volume migrate erp --to-pool fast --wait\n  \
        quarry volume migrate erp --to-device /dev/sdx --force\n  quarry volume migrate erp --cancel")]
    Migrate(MigrateVolume),
    /// Destroy a volume that is not exported, and everything on it
    #[command(after_help = "Example:\n  quarry volume delete vm-17 --with-snapshots --wait")]
    Delete {
        name: Name,
        /// Its snapshots go with it; clones of them live on
        #[arg(long)]
        with_snapshots: bool,
        #[command(flatten)]
        wait: WaitForSpace,
    },
}

#[derive(Args, Debug)]
pub struct CreateVolume {
    /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
    pub name: Name,
    /// The pool to carve it from
    #[arg(long)]
    pub pool: Name,
    /// What hosts will see, for example 20GiB
    #[arg(long)]
    pub size: ByteSize,
    #[command(flatten)]
    pub settings: NewVolumeSettings,
}

/// How a new volume is to be.
#[derive(Args, Debug)]
pub struct NewVolumeSettings {
    /// When an acknowledged write survives power loss: after a flush, or always
    #[arg(long, default_value = "flush", value_parser = word(Durability::ALL, Durability::as_str))]
    pub durability: Durability,
    /// The most that it may map, for example 15GiB, or none but its size
    #[arg(long, value_name = "SIZE", default_value = "none")]
    pub quota: Bound,
    /// What the pool keeps for it, whatever others write, or none
    #[arg(long, value_name = "SIZE", default_value = "none")]
    pub reserve: Bound,
    /// How its blocks are made smaller; blocks of zeroes become holes unless it is off
    #[arg(long, default_value = "off", value_parser = word(Compression::ALL, Compression::as_str))]
    pub compression: Compression,
    /// Refer to blocks that its core has stored since the start instead of storing them again: verified compares them byte by
    /// byte, hashed trusts a 128-bit hash
    #[arg(long, default_value = "off", value_parser = word(Deduplication::ALL, Deduplication::as_str))]
    pub deduplication: Deduplication,
    /// Whether what is read again is answered from the node's memory
    #[arg(long, default_value = "on", value_parser = word(ReadCache::ALL, ReadCache::as_str))]
    pub read_cache: ReadCache,
    /// Keep the volume as it was at each second of a while back, for example 10m (at most 1h), or none
    #[arg(long, value_name = "TIME", default_value = "none")]
    pub history: Window,
    /// Encrypt its blocks under a key of its own; quarryd needs a key store for that
    #[arg(long)]
    pub encrypt: bool,
    /// Keep it in its own way and not as its pool, for example copies:3 or ec:4+2
    #[arg(long)]
    pub protection: Option<Protection>,
    /// Where it lies among the tiers of its pool, if not as the pool's data
    #[arg(long, value_parser = word(Tier::ALL, Tier::as_str))]
    pub tier: Option<Tier>,
    /// Have it made and kept as this policy means it to be; the options above override the policy
    #[arg(long)]
    pub policy: Option<Name>,
    #[command(flatten)]
    pub qos: QosOptions,
}

#[derive(Args, Debug)]
pub struct SetVolume {
    pub name: Name,
    /// The most that it may map, for example 15GiB, or none but its size
    #[arg(long, value_name = "SIZE", required_unless_present_any = ["reserve", "durability", "compression", "deduplication", "read_cache", "history", "protection", "tier", "iops_min", "iops_max",
        "bandwidth_min", "bandwidth_max", "burst", "weight", "latency_target_us", "no_qos"])]
    pub quota: Option<Bound>,
    /// What the pool keeps for it, whatever others write, or none
    #[arg(long, value_name = "SIZE")]
    pub reserve: Option<Bound>,
    /// When an acknowledged write survives power loss: after a flush, or always
    #[arg(long, value_parser = word(Durability::ALL, Durability::as_str))]
    pub durability: Option<Durability>,
    /// How blocks that are written from now on are made smaller
    #[arg(long, value_parser = word(Compression::ALL, Compression::as_str))]
    pub compression: Option<Compression>,
    /// Whether blocks that are written from now on and that its core has stored since the start are stored again
    #[arg(long, value_parser = word(Deduplication::ALL, Deduplication::as_str))]
    pub deduplication: Option<Deduplication>,
    /// Whether what is read again is answered from the node's memory
    #[arg(long, value_parser = word(ReadCache::ALL, ReadCache::as_str))]
    pub read_cache: Option<ReadCache>,
    /// Keep the volume as it was at each second of a while back, for example 10m (at most 1h), or none
    #[arg(long, value_name = "TIME")]
    pub history: Option<Window>,
    /// Keep it in its own way, for example copies:3 or ec:4+2; or, with `pool`, as its pool. Where others are kept with it, it is copied, while it is in use
    #[arg(long)]
    pub protection: Option<OwnProtection>,
    /// Where it lies among the tiers of its pool: automatic, pmem, nvme, ssd, hdd or object; or, with `pool`, as the pool's data
    #[arg(long)]
    pub tier: Option<OwnTier>,
    #[command(flatten)]
    pub qos: QosOptions,
}
