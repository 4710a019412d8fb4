//! Samples, their medians, and the ratios to each peer.

use std::time::Duration;

use serde::Serialize;

use super::fio::{CASES, Case, Measured};
use super::targets::{QUARRYD, TARGETS};
use crate::machine::Machine;
use crate::report::table;
use crate::workspace;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Name of the case.
    pub case: &'static str,
    /// Name of the target.
    pub target: &'static str,
    /// Which repetition, from 0.
    pub repetition: u32,
    /// Requests a second.
    pub iops: f64,
    /// MiB a second.
    pub mib_per_second: f64,
    /// Median latency.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Requests in all.
    pub requests: u64,
    /// CPU time of the server for a million requests, in seconds.
    pub cpu_s_per_million: f64,
}

impl Sample {
    pub fn new(
        case: &Case,
        target: &'static str,
        repetition: u32,
        measured: Measured,
        cpu: Duration,
    ) -> Self {
        let Measured { iops, mib_per_second, p50_us, p99_us, requests } = measured;
        let cpu_s_per_million = cpu.as_secs_f64() * 1e6 / requests.max(1) as f64;
        Self {
            case: case.name,
            target,
            repetition,
            iops,
            mib_per_second,
            p50_us,
            p99_us,
            requests,
            cpu_s_per_million,
        }
    }

    /// What a step prints.
    pub fn line(&self) -> String {
        let Self { iops, mib_per_second, p50_us, p99_us, cpu_s_per_million, .. } = self;
        format!(
            "{iops:.0} IOPS, {mib_per_second:.0} MiB/s, p50 {p50_us:.0} us, p99 {p99_us:.0} us, \
             {cpu_s_per_million:.1} CPU s per million"
        )
    }
}

/// All samples of a run and where it ran.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// When, in UTC.
    pub date: String,
    /// What was measured.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// `--cores` of quarryd, if given.
    pub cores: Option<u32>,
    /// Copies of quarryd's pool.
    pub copies: u8,
    /// Every measurement.
    pub samples: Vec<Sample>,
}

/// A figure of a sample.
type Figure = fn(&Sample) -> f64;

impl Results {
    /// An empty run, now and here.
    pub fn new(cores: Option<u32>, copies: u8) -> Self {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (commit, machine) = (workspace::commit(), Machine::here());
        Self { date, commit, machine, cores, copies, samples: Vec::new() }
    }

    fn of<'a>(&'a self, case: &'a Case, target: &'a str) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| sample.case == case.name && sample.target == target)
    }

    fn median_of(&self, case: &Case, target: &str, figure: Figure) -> Option<f64> {
        median(self.of(case, target).map(figure).collect())
    }

    /// Median over the repetitions of quarryd's figure divided by the peer's in the same repetition.
    fn ratio(&self, case: &Case, peer: &str, figure: Figure) -> Option<f64> {
        let ratio = |ours: &Sample| {
            let theirs = self.of(case, peer).find(|theirs| theirs.repetition == ours.repetition)?;
            Some(figure(ours) / figure(theirs))
        };
        median(self.of(case, QUARRYD).filter_map(ratio).collect())
    }

    /// Cases that have samples.
    fn cases(&self) -> impl Iterator<Item = &'static Case> {
        CASES.iter().filter(|case| self.samples.iter().any(|sample| sample.case == case.name))
    }

    /// Targets that have samples.
    fn targets(&self) -> impl Iterator<Item = &'static str> {
        TARGETS.into_iter().filter(|&name| self.samples.iter().any(|sample| sample.target == name))
    }

    /// Medians: one row for each case and target.
    pub fn figures(&self) -> Vec<Vec<String>> {
        let head = ["case", "target", "IOPS or MiB/s", "p50 us", "p99 us", "CPU s per million"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for case in self.cases() {
            for target in self.targets() {
                let speed: (Figure, &str) =
                    if case.is_sequential { (|s| s.mib_per_second, " MiB/s") } else { (|s| s.iops, "") };
                let cell = |figure: Figure, digits: usize| {
                    let median = self.median_of(case, target, figure);
                    median.map_or("-".to_owned(), |median| format!("{median:.digits$}"))
                };
                rows.push(vec![
                    case.title.to_owned(),
                    target.to_owned(),
                    cell(speed.0, 0) + speed.1,
                    cell(|s| s.p50_us, 0),
                    cell(|s| s.p99_us, 0),
                    cell(|s| s.cpu_s_per_million, 1),
                ]);
            }
        }
        rows
    }

    /// quarryd divided by each peer: one row for each case and peer.
    pub fn ratios(&self) -> Vec<Vec<String>> {
        let head = ["case", "quarryd /", "speed", "p50", "p99", "CPU per I/O"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for case in self.cases() {
            for peer in self.targets().filter(|&name| name != QUARRYD) {
                let cell = |figure: Figure| {
                    self.ratio(case, peer, figure).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                };
                let cells =
                    [cell(|s| s.iops), cell(|s| s.p50_us), cell(|s| s.p99_us), cell(|s| s.cpu_s_per_million)];
                rows.push([vec![case.title.to_owned(), peer.to_owned()], cells.to_vec()].concat());
            }
        }
        rows
    }

    /// Both tables for a terminal.
    pub fn for_terminal(&self) -> String {
        let mut text = format!("\nMedians of the repetitions\n{}", table(&self.figures()));
        if self.targets().any(|name| name == QUARRYD) {
            text += &format!(
                "\nquarryd divided by each peer, inside one repetition, median\n{}",
                table(&self.ratios())
            );
        }
        text
    }
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => None,
        length if length.is_multiple_of(2) => Some(f64::midpoint(numbers[middle - 1], numbers[middle])),
        _ => Some(numbers[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: &'static str, repetition: u32, iops: f64) -> Sample {
        let measured =
            Measured { iops, mib_per_second: 1.0, p50_us: 10.0, p99_us: 20.0, requests: 1_000_000 };
        Sample::new(&CASES[0], target, repetition, measured, Duration::from_secs(5))
    }

    #[test]
    fn ratios_are_taken_inside_a_repetition() {
        let mut results = Results::new(None, 1);
        // The machine was three times slower in the second repetition, for both.
        for (repetition, ours, theirs) in [(0, 300.0, 100.0), (1, 100.0, 33.4), (2, 310.0, 100.0)] {
            results.samples.push(sample(QUARRYD, repetition, ours));
            results.samples.push(sample(TARGETS[1], repetition, theirs));
        }
        assert_eq!(results.ratios()[1][2..], ["3.00", "1.00", "1.00", "1.00"]);
        assert_eq!(results.figures()[1][2..], ["300", "10", "20", "5.0"]);
        assert_eq!(results.ratios().len(), 2);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
