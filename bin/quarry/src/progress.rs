//! How far it is: a bar on a terminal, now and then a line elsewhere, nothing where that is asked for.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quarry_types::ByteSize;
use tokio::time::Instant;

use crate::output::note;

const BAR: &str =
    "{prefix} {wide_bar} {percent} %  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {eta} left";
const COUNTED_BAR: &str = "{prefix} {wide_bar} {percent} %  {pos} of {len} {msg}  {eta} left";
/// A bar moves on its own this often, so that one sees the time run.
const TICK: Duration = Duration::from_millis(500);
/// Where there is no terminal: percent between two lines, the time after which there is one all the same, and the time that
/// lies between them at least.
const LINE_STEP: f64 = 10.0;
const LINE_PAUSE_MAX: Duration = Duration::from_secs(30);
const LINE_PAUSE_MIN: Duration = Duration::from_secs(1);

/// One thing under way.
pub struct Progress {
    what: String,
    bytes: u64,
    /// In what is counted, when it is not bytes.
    unit: Option<String>,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { start: Instant, last: Instant, last_percent: f64 },
}

impl Progress {
    /// `what` over `bytes` bytes of data, holes not counted.
    pub fn begin(what: &str, bytes: u64, is_wanted: bool) -> Self {
        Self::begin_in(what, bytes, "bytes", is_wanted)
    }

    /// `what` over `total` of a unit.
    pub fn begin_in(what: &str, bytes: u64, unit: &str, is_wanted: bool) -> Self {
        let unit = Some(unit.to_owned()).filter(|unit| unit != "bytes");
        let shown = match (is_wanted, std::io::stderr().is_terminal()) {
            (false, _) => Shown::Nothing,
            (true, true) => Shown::Bar(bar(what, bytes, unit.as_deref())),
            (true, false) => {
                let now = Instant::now();
                Shown::Lines { start: now, last: now, last_percent: 0.0 }
            }
        };
        Self { what: what.to_owned(), bytes, unit, shown }
    }

    /// It is at `percent` of the data.
    pub fn show(&mut self, percent: f64) {
        let done = (self.bytes as f64 * percent / 100.0) as u64;
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Lines { start, last, last_percent } => {
                let is_step = percent >= *last_percent + LINE_STEP || last.elapsed() >= LINE_PAUSE_MAX;
                if is_step && last.elapsed() >= LINE_PAUSE_MIN {
                    (*last, *last_percent) = (Instant::now(), percent);
                    let line = match &self.unit {
                        None => line(&self.what, percent, self.bytes, start.elapsed()),
                        Some(unit) => {
                            format!("{}: {percent:.0} %, {done} of {} {unit}", self.what, self.bytes)
                        }
                    };
                    note(&line);
                }
            }
        }
    }

    /// It has ended, well or not: the bar goes.
    pub fn end(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, bytes: u64, unit: Option<&str>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let template = if unit.is_some() { COUNTED_BAR } else { BAR };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    bar.set_style(style);
    bar.set_prefix(what.to_owned());
    bar.set_message(unit.unwrap_or_default().to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

fn line(what: &str, percent: f64, bytes: u64, elapsed: Duration) -> String {
    let done = bytes as f64 * percent / 100.0;
    let rate = done / elapsed.as_secs_f64().max(0.001);
    let left = (bytes as f64 - done) / rate.max(1.0);
    format!(
        "{what}: {percent:.0} %, {} of {}, {}/s, {left:.0} s left",
        ByteSize(done as u64),
        ByteSize(bytes),
        ByteSize(rate as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        assert_eq!(
            line("importing", 25.0, 4 << 30, Duration::from_secs(2)),
            "importing: 25 %, 1 GiB of 4 GiB, 512 MiB/s, 6 s left"
        );
        assert_eq!(line("importing", 0.0, 0, Duration::ZERO), "importing: 0 %, 0 B of 0 B, 0 B/s, 0 s left");
    }

    #[test]
    fn the_bars_template_is_valid() {
        bar("importing", 1 << 20, None).finish_and_clear();
        bar("apply", 20, Some("steps")).finish_and_clear();
    }
}
