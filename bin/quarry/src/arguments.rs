//! What can be typed.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use quarry_api_types::{Durability, ExportSelector, Name, Protocol, UnknownWord};
use quarry_client::Endpoint;
use quarry_types::ByteSize;

const EXAMPLES_AND_EXIT_CODES: &str = "\
Examples:
  quarry device scan
  quarry pool create fast --device /dev/nvme0n1 /dev/nvme1n1 --copies 2
  quarry volume create vm-17 --pool fast --size 20GiB
  quarry export create vm-17 --protocol nbd
  qemu-img info \"$(quarry export create vm-18 --protocol nbd)\"
  quarry -o json volume list | jq -r '.[].name'

Sizes are numbers with a unit, all powers of 1024: 20GiB, 20G, 512M, 1.5T, 4096.

Exit codes:
  0  done
  1  another failure
  2  wrong usage: an argument that can never be right
  3  not found
  4  conflict: the name is taken, or the thing is in use
  5  unavailable: quarryd cannot be reached, or cannot do it now
  6  no space";

/// Manage a Quarry node: its devices, pools, volumes and exports.
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

    #[command(subcommand)]
    pub command: Command,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Table,
    /// The API's object, for programs
    Json,
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
    /// Exports: volumes served over a protocol
    #[command(subcommand)]
    Export(ExportCommand),
    /// The node in one page
    Status,
}

#[derive(Subcommand, Debug)]
pub enum DeviceCommand {
    /// List the pools' devices and what the last scan has seen
    List,
    /// Look at the machine's devices anew; changes nothing on them
    Scan,
}

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
    List,
    /// Show a pool with its devices
    Show { name: Name },
    /// End a pool that has no volumes and give its devices back
    Delete { name: Name },
}

#[derive(Args, Debug)]
pub struct CreatePool {
    /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
    pub name: Name,
    /// Files, directories or block devices of the node; can be repeated
    #[arg(long = "device", value_name = "PATH", required = true, num_args = 1..)]
    pub devices: Vec<PathBuf>,
    /// On how many distinct devices everything is kept: 1 to 3
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub copies: u8,
    /// Take devices that have something on them, which is lost
    #[arg(long)]
    pub force: bool,
}

#[derive(Subcommand, Debug)]
pub enum VolumeCommand {
    /// Carve a thin volume from a pool
    #[command(after_help = "Example:\n  quarry volume create vm-17 --pool fast --size 20GiB")]
    Create(CreateVolume),
    /// List volumes
    List,
    /// Show a volume
    Show { name: Name },
    /// Give a volume another size, while it is in use
    Resize {
        name: Name,
        /// The new size, for example 40GiB
        #[arg(long)]
        size: ByteSize,
    },
    /// Destroy a volume that is not exported, and everything on it
    Delete { name: Name },
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
    /// When an acknowledged write survives power loss: after a flush, or always
    #[arg(long, default_value = "flush", value_parser = word(Durability::ALL, Durability::as_str))]
    pub durability: Durability,
}

#[derive(Subcommand, Debug)]
pub enum ExportCommand {
    /// Serve a volume and print the URI that a client uses
    #[command(after_help = "Example:\n  nbdinfo \"$(quarry export create vm-17 --protocol nbd)\"")]
    Create {
        /// The volume to serve
        #[arg(value_name = "VOLUME")]
        volume: Name,
        /// Over what
        #[arg(long, value_parser = word(Protocol::ALL, Protocol::as_str))]
        protocol: Protocol,
    },
    /// List exports
    List,
    /// End an export, given its id, or all exports of a volume, given its name; the volume stays
    Delete {
        /// Id of the export, or name of the volume
        #[arg(value_name = "EXPORT|VOLUME")]
        selector: ExportSelector,
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
mod tests {
    use clap::CommandFactory;

    use super::*;

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
            assert_eq!((create.name.as_str(), create.copies), ("p", 2));
        }
    }

    #[test]
    fn sizes_and_words_are_typed() {
        let line = "quarry volume create v --pool p --size 20GiB --durability always";
        let Ok(Command::Volume(VolumeCommand::Create(create))) = parse(line) else { panic!() };
        assert_eq!((create.size.0, create.durability), (20 << 30, Durability::Always));
        let Ok(Command::Volume(VolumeCommand::Create(create))) =
            parse("quarry volume create v --pool p --size 1G")
        else {
            panic!()
        };
        assert_eq!(create.durability, Durability::Flush);
    }

    #[test]
    fn what_can_never_be_right_is_refused() {
        for line in [
            "quarry",
            "quarry pool create p",
            "quarry pool create p --device",
            "quarry pool create a/b --device x",
            "quarry pool create p --device x --copies 4",
            "quarry volume create v --pool p --size big",
            "quarry volume create v --pool p --size 1G --durability never",
            "quarry export create v",
            "quarry export create v --protocol smoke",
            "quarry --endpoint https://node volume list",
            "quarry -o yaml status",
        ] {
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
