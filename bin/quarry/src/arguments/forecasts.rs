//! What can be typed about what was.

use clap::{Args, Subcommand};
use quarry_api_types::{Name, Resolution, Series};

use super::{DeviceOf, word};
use crate::values::Since;

#[derive(Subcommand, Debug)]
pub enum HistoryCommand {
    /// Show a figure of a pool over time: used, stored, total, operations, throughput or errors
    #[command(after_help = "Example:\n  quarry history pool fast --series used --resolution day")]
    Pool {
        name: Name,
        #[command(flatten)]
        what: HistoryOf,
    },
    /// Show a figure of a volume over time: used, operations, throughput, read-latency, write-latency, latency-p99 or errors
    #[command(after_help = "Example:\n  quarry history volume vm-17 --series read-latency --from 6h")]
    Volume {
        name: Name,
        #[command(flatten)]
        what: HistoryOf,
    },
    /// Show a figure of a device of a pool over time: read-latency, write-latency, operations, throughput or errors
    #[command(after_help = "Example:\n  quarry history device fast /dev/sdb --series write-latency")]
    Device {
        #[command(flatten)]
        of: DeviceOf,
        #[command(flatten)]
        what: HistoryOf,
    },
}

#[derive(Args, Debug)]
pub struct HistoryOf {
    /// The figure [default: used; of a device read-latency]
    #[arg(long, value_parser = word(Series::ALL, Series::as_str))]
    pub series: Option<Series>,
    /// From when on: a point in time, or how long ago, for example 30m, 6h or 7d [default: all that there is]
    #[arg(long, value_name = "TIME")]
    pub from: Option<Since>,
    /// How fine [default: as fine as it is there from then on; hour without --from]
    #[arg(long, value_parser = word(Resolution::ALL, Resolution::as_str))]
    pub resolution: Option<Resolution>,
}
