//! What can be typed.

mod access;
mod devices;
mod documents;
mod exports;
mod forecasts;
mod groups;
mod hosts;
mod images;
mod migrations;
mod node;
mod policies;
mod pools;
mod qos;
mod snapshots;
mod volumes;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use quarry_api_types::UnknownWord;
use quarry_client::Endpoint;

pub use self::access::{
    AuditCommand, AuditSelection, Login, TenantBounds, TenantCommand, TokenCommand, UserCommand,
};
pub use self::devices::{DeviceCommand, DeviceOf, WaitForRebuild};
pub use self::documents::{ApplyCommand, DiffCommand, JobCommand, StateCommand};
pub use self::exports::{CreateExport, ExportCommand};
pub use self::forecasts::{HistoryCommand, HistoryOf};
pub use self::groups::GroupCommand;
pub use self::hosts::{ChapOptions, HostCommand, HostGroupCommand};
pub use self::images::{ExportImage, ImageFormat, ImportVolume, TargetFormat};
pub use self::migrations::{AdoptVolume, MigrateVolume};
pub use self::node::{EventCommand, KeyringCommand, WatchCommand};
pub use self::policies::{PolicyCommand, PolicyOptions, WhyCommand};
pub use self::pools::{CreatePool, PoolCommand};
pub use self::qos::QosOptions;
pub use self::snapshots::{SnapshotCommand, WaitForSpace};
pub use self::volumes::{NewVolumeSettings, VolumeCommand};

const EXAMPLES_AND_EXIT_CODES: &str = "\
Examples:
  quarry device scan
  quarry pool create fast --device /dev/nvme0n1 /dev/nvme1n1 --copies 2
  quarry volume create vm-17 --pool fast --size 20GiB
  quarry export create vm-17 --protocol nbd
  qemu-img info \"$(quarry export create vm-18 --protocol nbd)\"
  quarry host create web --initiator iqn.1993-08.org.debian:01:3f5b2a
  quarry export create vm-17 --protocol iscsi --host web
  quarry snapshot create db-data db-log --name before-upgrade
  quarry group create shop db-data db-log && quarry group snapshot shop monday
  quarry volume clone vm-17@monday vm-17-test
  quarry volume import debian.qcow2 --pool fast --name vm-19
  quarry volume export-image vm-17 vm-17.qcow2
  quarry -o json volume list | jq -r '.[].name'
  quarry -o wide --exact volume list

Sizes are numbers with a unit, all powers of 1024: 20GiB, 20G, 512M, 1.5T, 4096.

Exit codes:
  0  done
  1  another failure
  2  wrong usage: an argument that can never be right
  3  not found
  4  conflict: the name is taken, or the thing is in use
  5  unavailable: quarryd cannot be reached, or cannot do it now
  6  no space
  7  not allowed: no token, one that has ended, or one that may not do it
  8  damaged: `pool scrub --wait` has found blocks without a good copy
130  interrupted; what was begun has been undone

Before a volume, a snapshot, a pool or something else is destroyed, whoever sits at a terminal is asked; --yes answers.
Words that say how well something is have colours on a terminal, unless NO_COLOR is set or CLICOLOR is 0.";

/// Manage a Quarry node: its devices, pools, volumes, snapshots, groups, exports and hosts.
#[derive(Parser, Debug)]
#[command(name = "quarry", version, after_long_help = EXAMPLES_AND_EXIT_CODES, after_help = "See --help for examples and exit codes.")]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    /// Where the node's API is
    #[arg(long, global = true, value_name = "URL", env = "QUARRY_ENDPOINT", default_value = Endpoint::DEFAULT)]
    pub endpoint: Endpoint,

    /// How to print the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    /// Print sizes in tables as numbers of bytes
    #[arg(long, global = true)]
    pub exact: bool,

    /// Do not ask before something is destroyed; without a terminal nobody is asked
    #[arg(short, long, global = true)]
    pub yes: bool,

    /// File with the text of a token [default: QUARRY_TOKEN, the last `quarry login`, or the node's own on this machine]
    #[arg(long, global = true, value_name = "FILE", env = "QUARRY_TOKEN_FILE", value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// Certificates, in PEM form, from which the node's must come: its api-ca.pem [default: those of the system]
    #[arg(long, global = true, value_name = "FILE", env = "QUARRY_CA", value_parser = OsStringValueParser::new().map(PathBuf::from), value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// `--token-file`; a variable that is empty is as good as none.
    pub fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// `--ca-file`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Table,
    /// For people with wide screens: tables with more columns
    Wide,
    /// The API's object, for programs
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Devices of this machine
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Pools: devices that hold one body of data
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Volumes: thin block devices carved from a pool
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Snapshots: what a volume held at one point in time
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Groups: volumes that are snapshotted and rolled back together
    #[command(subcommand)]
    Group(GroupCommand),
    /// Policies: how volumes are meant to be, and snapshots by the calendar
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Why something is as it is
    #[command(subcommand)]
    Why(WhyCommand),
    /// Make the node what a document says: pools, policies, volumes, groups, hosts, exports
    ///
    /// What the document does not name is left alone, and nothing is ever deleted. It goes on over a restart of the node.
    Apply(ApplyCommand),
    /// Tell what applying a document would change
    Diff(DiffCommand),
    /// State: all that is intended, as a document
    #[command(subcommand)]
    State(StateCommand),
    /// Jobs: what the node does for longer than a command waits
    #[command(subcommand)]
    Job(JobCommand),
    /// Exports: volumes and snapshots served over a protocol
    #[command(subcommand)]
    Export(ExportCommand),
    /// Hosts: who may use exports over iSCSI and NVMe/TCP
    #[command(subcommand)]
    Host(HostCommand),
    /// Keyring: the keys of encrypted volumes
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Events: what has happened on the node that somebody may have to act on
    #[command(subcommand)]
    Event(EventCommand),
    /// Watch what is there and every change of it; as JSON, one message a line
    Watch(WatchCommand),
    /// Log in with a password; the commands that follow need none
    #[command(after_help = "Example:\n  quarry --endpoint https://node7:7480 --ca-file api-ca.pem login ann")]
    Login(Login),
    /// End the present login
    #[command(after_help = "Example:\n  quarry logout")]
    Logout,
    /// Show who you are for the node
    #[command(after_help = "Example:\n  quarry whoami")]
    Whoami,
    /// Users: who may log in, and as what
    #[command(subcommand)]
    User(UserCommand),
    /// Tokens: what programs prove themselves with
    #[command(subcommand)]
    Token(TokenCommand),
    /// Tenants: who share the node and do not see each other
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Audit log: who has changed what, and who was not let
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The node on one screen: health, capacity, rates and work under way
    ///
    /// Takes a second, in which the rates are counted; as JSON it answers at once, without them.
    #[command(after_help = "Example:\n  quarry status")]
    Status,
    /// Watch volumes, devices and work on a screen
    ///
    /// Keys: v volumes, d devices, w work; o, b, l, n sort by operations, bytes, latency, name; arrows move; q ends.
    #[command(after_help = "Example:\n  quarry top --every 5")]
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 2)]
        every: u64,
    },
    /// History: figures of pools, volumes and devices over time
    #[command(subcommand)]
    History(HistoryCommand),
    /// List requests of hosts that took too long, with what they waited for
    #[command(after_help = "Example:\n  quarry -o json slow-requests")]
    SlowRequests,
    /// Write what somebody needs who is to help into one file: status, configuration, events, log, figures; no secrets
    #[command(after_help = "Example:\n  quarry support-bundle node7.tar.zst && tar --zstd -tf node7.tar.zst")]
    SupportBundle {
        /// File to write [default: quarry-support-NODE.tar.zst]
        file: Option<PathBuf>,
    },
    /// Print what makes a shell complete this command's words: bash, zsh, fish, elvish or powershell
    #[command(after_help = "Examples:\n  quarry completions bash > /etc/bash_completion.d/quarry\n  \
        quarry completions zsh > ~/.zfunc/_quarry\n  quarry completions fish > ~/.config/fish/completions/quarry.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of every command into a folder
    #[command(after_help = "Example:\n  quarry man /usr/local/share/man/man1 && man quarry-volume-create")]
    Man {
        /// The folder; made if it is not there
        folder: PathBuf,
    },
}

/// One of the API's words, with the choice shown in the help.
fn word<T>(all: &'static [T], text: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = UnknownWord> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|&word| text(word))).try_map(|word| word.parse())
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use quarry_api_types::Durability;

    use super::*;
    use crate::values::{Bound, Percent};

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Arguments::try_parse_from(line.split(' ')).map(|arguments| arguments.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn devices_come_together_or_one_by_one() {
        for line in [
            "quarry pool create p --device a b c --copies 2",
            "quarry pool create p --device a --device b --device c --copies 2",
            "quarry pool create --copies 2 --device a b --device c --force -- p",
        ] {
            let Ok(Command::Pool(PoolCommand::Create(create))) = parse(line) else { panic!("{line}") };
            assert_eq!(create.devices, ["a", "b", "c"].map(PathBuf::from), "{line}");
            assert_eq!((create.name.as_str(), create.copies), ("p", Some(2)));
        }
    }

    #[test]
    fn sizes_and_words_are_typed() {
        let line = "quarry volume create v --pool p --size 20GiB --durability always";
        let Ok(Command::Volume(VolumeCommand::Create(create))) = parse(line) else { panic!() };
        assert_eq!((create.size.0, create.settings.durability), (20 << 30, Durability::Always));
        let Ok(Command::Volume(VolumeCommand::Create(create))) =
            parse("quarry volume create v --pool p --size 1G")
        else {
            panic!()
        };
        assert_eq!(create.settings.durability, Durability::Flush);
    }

    #[test]
    fn a_snapshot_is_named_with_its_volume() {
        let line = "quarry volume clone golden@v3 vm-18";
        let Ok(Command::Volume(VolumeCommand::Clone { origin, name, .. })) = parse(line) else { panic!() };
        assert_eq!((origin.to_string().as_str(), name.as_str()), ("golden@v3", "vm-18"));
        assert!(parse("quarry volume clone golden vm-18").is_ok());
        let refused = parse("quarry snapshot show vm-18").unwrap_err().to_string();
        assert!(refused.contains("'vm-18' names no snapshot: write VOLUME@SNAPSHOT"), "{refused}");
        assert!(parse("quarry volume rollback vm-18 --at 2026-11-21T10:00:00Z").is_ok());
        let line = "quarry snapshot create a b --name s --lock-until 2027-01-01T01:00:00+01:00";
        let Ok(Command::Snapshot(SnapshotCommand::Create { volumes, name, lock_until })) = parse(line) else {
            panic!()
        };
        assert_eq!((volumes.len(), name.as_str()), (2, "s"));
        assert_eq!(lock_until.map(|until| until.to_string()).as_deref(), Some("2027-01-01T00:00:00Z"));
        for line in ["quarry snapshot list", "quarry snapshot list v", "quarry export delete v@s"] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_can_never_be_right_is_refused() {
        for line in [
            "quarry",
            "quarry pool create p",
            "quarry pool create p --device",
            "quarry pool create a/b --device x",
            "quarry pool create p --device x --copies 5",
            "quarry pool create p --device x --copies 2 --protection ec:4+2",
            "quarry pool create p --device x --protection ec:9+2",
            "quarry pool set p --protection raid5",
            "quarry volume create v --pool p --size big",
            "quarry volume create v --pool p --size 1G --durability never",
            "quarry snapshot create --name s",
            "quarry snapshot create v",
            "quarry snapshot create v --name a@b",
            "quarry snapshot show v",
            "quarry snapshot show v@",
            "quarry snapshot lock v@s --until tomorrow",
            "quarry volume clone v@s",
            "quarry group create",
            "quarry group add g",
            "quarry group snapshot g",
            "quarry group snapshot g a@b",
            "quarry group rollback g",
            "quarry volume delete v@s",
            "quarry volume delete v --no-progress",
            "quarry volume import disk.raw --name v",
            "quarry volume import disk.raw --pool p",
            "quarry volume import disk.raw --pool p --name v --source-format docx",
            "quarry volume export-image v",
            "quarry volume export-image v out.vdi --format vdi",
            "quarry export create v",
            "quarry export create v --protocol smoke",
            "quarry export create v --protocol iscsi --host a --host-group g",
            "quarry export create v --protocol iscsi --lun 1 --nsid 1",
            "quarry export show",
            "quarry host create h",
            "quarry host create h --initiator iqn.debian",
            "quarry host create h --network 10.1.2.3/16",
            "quarry host create h --network 10.0.0.1 --chap-user u",
            "quarry host create h --network 10.0.0.1 --chap-secret-file f",
            "quarry host create h --network 10.0.0.1 --mutual-user u --mutual-secret-file f",
            "quarry host update h --no-chap --chap-user u --chap-secret-file f",
            "quarry host group add g",
            "quarry --endpoint ftp://node volume list",
            "quarry user create u",
            "quarry user create u --role king",
            "quarry token create --life soon",
            "quarry tenant set t --no-pools --pool p",
            "quarry audit verify --number 3",
            "quarry -o toml status",
            "quarry completions csh",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn levels_are_percentages_and_a_change_changes_something() {
        let Ok(Command::Pool(PoolCommand::Set(set))) = parse("quarry pool set p --critical 90%") else {
            panic!()
        };
        assert_eq!((set.warning, set.critical), (None, Some(Percent(90))));
        let line = "quarry volume set v --quota 1G --reserve none";
        let Ok(Command::Volume(VolumeCommand::Set(set))) = parse(line) else { panic!() };
        assert_eq!((set.quota, set.reserve, set.durability), (Some(Bound(1 << 30)), Some(Bound(0)), None));
        assert!(parse("quarry pool set p --overcommit 2.5").is_ok());
        assert!(parse("quarry volume set v").is_err());
        for line in
            ["quarry pool set p", "quarry pool set p --warning 0%", "quarry event list --severity bad"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_for_all_commands_may_stand_anywhere() {
        let arguments =
            Arguments::try_parse_from(["quarry", "status", "-o", "json", "--endpoint", "http://n:1"])
                .unwrap();
        assert_eq!((arguments.output, arguments.endpoint.to_string().as_str()), (Format::Json, "http://n:1"));
    }
}
