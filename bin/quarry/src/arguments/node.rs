//! What can be typed about the node itself: its keyring and its events.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::{EventSeverity, WatchSort};

use super::word;

#[derive(Subcommand, Debug)]
pub enum KeyringCommand {
    /// Show whether the node can open encrypted volumes
    #[command(after_help = "Example:\n  quarry keyring show")]
    Show,
    /// Open the keyring of a node that was started without its passphrase, and with it the encrypted volumes
    ///
    /// Without --passphrase-file the passphrase is one line of standard input; a terminal is asked for it. It goes to another machine
    /// over https only.
    #[command(after_help = "Example:\n  quarry keyring unlock --passphrase-file passphrase")]
    Unlock {
        /// File with the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  quarry watch volumes jobs events")]
pub struct WatchCommand {
    /// What to watch
    #[arg(required = true, value_name = "SORT", value_parser = word(WatchSort::ALL, WatchSort::as_str))]
    pub sorts: Vec<WatchSort>,
    /// Events after the one with this id as well [default: those from now on]
    #[arg(long, value_name = "ID")]
    pub since: Option<u64>,
}

#[derive(Subcommand, Debug)]
pub enum EventCommand {
    /// List events, the oldest first
    #[command(after_help = "Example:\n  quarry event list --severity warning --follow")]
    List {
        /// Only those of this severity and above
        #[arg(long, value_parser = word(EventSeverity::ALL, EventSeverity::as_str))]
        severity: Option<EventSeverity>,
        /// Only those about the pool or volume of this name, or the device of this path
        #[arg(long, value_name = "NAME")]
        object: Option<String>,
        /// Only those after the one with this id
        #[arg(long, value_name = "ID", default_value_t = 0)]
        since: u64,
        /// Go on and print what happens; as JSON, one event a line
        #[arg(long)]
        follow: bool,
    },
}
