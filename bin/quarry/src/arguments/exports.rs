//! What can be typed about exports.

use clap::{Args, Subcommand};
use quarry_api_types::{ExportSelector, Name, Protocol, VolumePath};

use super::word;

#[derive(Subcommand, Debug)]
pub enum ExportCommand {
    /// Serve a volume, or a snapshot read-only, and print the URI that a client uses, or the path of the socket
    ///
    /// Over iSCSI and NVMe/TCP a volume is one of the units of the node's target. Without --host and --host-group every initiator
    /// that reaches the node may use it. NBD clients do not say who they are: whoever reaches the node may use it. Over vhost-user a
    /// volume is a disk of one virtual machine on this host: of whoever may open the socket.
    #[command(after_help = "Examples:\n  \
        nbdinfo \"$(quarry export create vm-17 --protocol nbd)\"\n  \
        quarry export create vm-17 --protocol iscsi --host web\n  \
        quarry export create vm-17 --protocol vhost-user\n  \
        quarry export create db --protocol nvme-tcp --host-group farm --nsid 7 --read-only")]
    Create(CreateExport),
    /// List exports
    #[command(after_help = "Example:\n  quarry -o wide export list")]
    List,
    /// Show an export, given its id, or all exports of a volume or a snapshot
    #[command(after_help = "Example:\n  quarry export show vm-17")]
    Show {
        /// Id of the export, or what it serves
        #[arg(value_name = "EXPORT|VOLUME[@SNAPSHOT]")]
        selector: ExportSelector,
    },
    /// End an export, given its id, or all exports of a volume or a snapshot, which stays
    #[command(
        after_help = "Examples:\n  quarry export delete vm-17\n  quarry export delete vm-17@monday --force --yes"
    )]
    Delete {
        /// Id of the export, or what it serves
        #[arg(value_name = "EXPORT|VOLUME[@SNAPSHOT]")]
        selector: ExportSelector,
        /// Also while clients use it: those of NBD and vhost-user are disconnected, hosts of iSCSI and NVMe/TCP are told that it is gone
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
pub struct CreateExport {
    /// What to serve
    #[arg(value_name = "VOLUME[@SNAPSHOT]")]
    pub volume: VolumePath,
    /// Over what
    #[arg(long, value_parser = word(Protocol::ALL, Protocol::as_str))]
    pub protocol: Protocol,
    /// The host that is to see it [default: any initiator]
    #[arg(long, value_name = "HOST", conflicts_with = "host_group")]
    pub host: Option<Name>,
    /// The host group that is to see it [default: any initiator]
    #[arg(long, value_name = "GROUP")]
    pub host_group: Option<Name>,
    /// Its number over iSCSI, from 0 to 16383 [default: the lowest that is free]
    #[arg(long, value_name = "N", conflicts_with = "nsid")]
    pub lun: Option<u32>,
    /// Its number over NVMe/TCP, from 1 to 16383 [default: the next one that was not given lately]
    #[arg(long, value_name = "N")]
    pub nsid: Option<u32>,
    /// Its clients may only read
    #[arg(long)]
    pub read_only: bool,
}
