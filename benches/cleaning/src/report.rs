//! Figures, a line for each run.

use quarry_cleaner::Order;

use crate::play::{Measured, Play};

pub const HEADER: &str = "\
data: blocks written and moved per block written; all: everything written to the device; log: appended, without what is moved;
free, kept, alive: mean shares of the pool, in %: free chunks; what checkpoint, cleaner and images keep; what lives as far as the
segment table knows; full: the live share of the chunks that are taken, in %; then, in %, cleaned chunks by their live tenths

pattern    policy           data   all   log  free  kept alive  full cleaned ckpt   segs   0-   1-   2-   3-   4-   5-   6-   7-   8-   9-";

/// A line of the table.
pub fn line(play: &Play, measured: &Measured) -> String {
    let per_written = |bytes: u64| bytes as f64 / measured.written_bytes.max(1) as f64;
    let order = match play.policy.order {
        Order::Greedy => "greedy",
        Order::CostBenefit => "cost-benefit",
    };
    let tenths: String = measured
        .cleaned_by_tenth
        .iter()
        .map(|&chunks| format!(" {:>4.0}", 100.0 * chunks as f64 / measured.cleaned_chunks.max(1) as f64))
        .collect();
    format!(
        "{:<10} {:<14} {} {:>5.2} {:>5.2} {:>5.2} {:>5.1} {:>5.1} {:>5.1} {:>5.1} {:>7} {:>4} {:>6}{tenths}",
        format!("{:?}", play.pattern).to_lowercase(),
        order,
        play.policy.classes_max,
        1.0 + per_written(measured.moved_bytes),
        per_written(measured.device_bytes),
        per_written(measured.appended_bytes),
        100.0 * measured.free,
        100.0 * measured.reserved,
        100.0 * measured.live,
        100.0 * measured.live / (1.0 - measured.free),
        measured.cleaned_chunks,
        measured.checkpoints,
        measured.segments,
    )
}
