//! What can be typed about quality of service.

use clap::Args;

use crate::values::{Bound, Number, Window};

/// Of its options alone: one for all that follows would take in those of the commands that have more.
const HEADING: &str = "Quality of service";

/// What something gets of the node's performance.
#[derive(Args, Clone, PartialEq, Eq, Debug, Default)]
pub struct QosOptions {
    /// I/Os a second that it gets whatever others do, or none; one of more than 64 KiB counts several times
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub iops_min: Option<Number>,
    /// I/Os a second at most, or none
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub iops_max: Option<Number>,
    /// Bytes a second that it gets whatever others do, for example 50MiB, or none
    #[arg(long, help_heading = HEADING, value_name = "SIZE")]
    pub bandwidth_min: Option<Bound>,
    /// Bytes a second at most, for example 200MiB, or none
    #[arg(long, help_heading = HEADING, value_name = "SIZE")]
    pub bandwidth_max: Option<Bound>,
    /// For how long what the maxima give is saved up while it is not used, for example 10s (at most 1h), or none
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub burst: Option<Window>,
    /// Its share of what is left, against the weights of others: 1 to 1000, 100 when nobody says, or none
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub weight: Option<Number>,
    /// Latency to aim at, in microseconds, or none: while it is missed, less of all others is begun at once
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub latency_target_us: Option<Number>,
    /// Nothing is bounded or promised any more but what is said beside this
    #[arg(long, help_heading = HEADING)]
    pub no_qos: bool,
}

impl QosOptions {
    /// Whether nothing was typed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
