//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  quarry-extract list /dev/sdb /dev/sdc
  quarry-extract -o json list disk-0.img disk-1.img
  quarry-extract write vm-17 vm-17.qcow2 --device /dev/sdb /dev/sdc
  quarry-extract write vm-17@monday vm-17.raw --device /dev/sdb --skip-damaged

Exit codes:
  0  done, and everything was had
  1  not done
  2  wrong usage
  3  done, but something is missing or damaged, or a device is of no use; what, is said on stderr";

/// Get volumes and snapshots out of the devices of a Quarry pool, without a daemon. Changes nothing on them.
#[derive(Parser, Debug)]
#[command(name = "quarry-extract", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Arguments {
    /// How to print what is listed
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List pools, logs, volumes and snapshots, and what is missing or damaged
    List(List),
    /// Write a volume or a snapshot to an image file
    // Written out, because clap would put the names last, where `--device` swallows them.
    #[command(
        override_usage = "quarry-extract write [OPTIONS] <VOLUME[@SNAPSHOT]> <OUT> --device <DEVICE>..."
    )]
    Write(Write),
    /// Write the manual pages of quarry-extract into a folder
    Man {
        /// The folder; made if it is not there
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
pub struct List {
    /// Devices of pools: files or block devices, or copies of them; all that there are
    #[arg(value_name = "DEVICE", required = true)]
    pub devices: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Write {
    /// What to write: VOLUME or VOLUME@SNAPSHOT, by name or by id
    #[arg(value_name = "VOLUME[@SNAPSHOT]")]
    pub volume: String,
    /// The file to make
    pub out: PathBuf,
    /// Devices of the pool: all that there are
    #[arg(long = "device", value_name = "DEVICE", required = true, num_args = 1..)]
    pub devices: Vec<PathBuf>,
    /// The pool, by name or id, where the devices are of several
    #[arg(long)]
    pub pool: Option<String>,
    /// Format of the file; without it, what the name ends with says, else raw
    #[arg(long, value_enum)]
    pub format: Option<ImageFormat>,
    /// Go on behind what is damaged: it becomes zeroes and is reported
    #[arg(long)]
    pub skip_damaged: bool,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageFormat {
    /// The bytes themselves, with holes
    Raw,
    /// QEMU's format, version 3, with holes
    Qcow2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_help_can_be_typed() {
        for line in EXAMPLES.lines().map(str::trim).filter(|line| line.starts_with("quarry-extract ")) {
            Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in ["quarry-extract list -o json a", "quarry-extract list a --output json"] {
            assert_eq!(Arguments::try_parse_from(line.split(' ')).unwrap().output, Format::Json);
        }
    }
}
