//! Commands about volumes that lie on devices of somebody else, and about volumes that move.

use std::path::PathBuf;

use clap::Args;
use quarry_api_types::{Compression, Deduplication, Durability, Name};
use quarry_types::ByteSize;

use super::word;

#[derive(Args, Debug)]
pub struct AdoptVolume {
    /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
    pub name: Name,
    /// A file or block device of the node, or a server's disk (nbd://, iscsi://, nvme-tcp://)
    #[arg(long, value_name = "PATH|URI")]
    pub device: PathBuf,
    /// Only read it; somebody else may go on writing to it
    #[arg(long)]
    pub read_only: bool,
    /// When an acknowledged write survives power loss: after a flush, or always
    #[arg(long, default_value = "flush", value_parser = word(Durability::ALL, Durability::as_str))]
    pub durability: Durability,
}

#[derive(Args, Debug)]
pub struct MigrateVolume {
    pub name: Name,
    /// The pool to move it to
    #[arg(long, value_name = "POOL", conflicts_with_all = ["to_device", "cancel"])]
    pub to_pool: Option<Name>,
    /// The device to move it to, byte for byte: a file, which is made if there is none, a block device or a server's disk
    #[arg(long, value_name = "PATH|URI", conflicts_with = "cancel", required_unless_present_any = ["to_pool", "cancel"])]
    pub to_device: Option<PathBuf>,
    /// Leave it where it is
    #[arg(long)]
    pub cancel: bool,
    /// Overwrite what the device holds
    #[arg(long, requires = "to_device")]
    pub force: bool,
    /// Give up its snapshots and its history, which stay behind
    #[arg(long)]
    pub drop_history: bool,
    /// What is read from the old place each second at most, for example 50MiB
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<ByteSize>,
    /// How its blocks are made smaller in the pool; without it, as they are
    #[arg(long, requires = "to_pool", value_parser = word(Compression::ALL, Compression::as_str))]
    pub compression: Option<Compression>,
    /// Whether blocks that are there already are stored again in the pool; without it, as it is
    #[arg(long, requires = "to_pool", value_parser = word(Deduplication::ALL, Deduplication::as_str))]
    pub deduplication: Option<Deduplication>,
    /// Encrypt its blocks in the pool, under a new key
    #[arg(long, requires = "to_pool")]
    pub encrypt: bool,
    /// Wait until it is there
    #[arg(long, conflicts_with = "cancel")]
    pub wait: bool,
    /// Do not show how far it is
    #[arg(long, requires = "wait")]
    pub no_progress: bool,
}
