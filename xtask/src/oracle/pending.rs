//! A request under way, from the moment the model is told of it until its outcome is.

use std::time::Instant;

use super::content::{SECTOR_BYTES, Version, fill};
use super::load::LoadReport;
use super::model::{Effect, Oracle};
use super::plan::Operation;

/// A request that was sent.
pub struct Pending {
    pub operation: Operation,
    mark: Mark,
    started: Instant,
}

/// What the model calls it.
#[derive(Clone, Copy)]
enum Mark {
    Write(Version),
    /// With the tick of its sending.
    Read(u64),
    None,
}

/// How a request ended.
pub enum Outcome {
    /// It was done; with the data of a read.
    Done(Vec<u8>),
    /// It was refused for want of space.
    NoSpace,
    /// It failed, in words.
    Failed(String),
}

impl Pending {
    /// Tells the model of a request that is about to be sent; `None` when its place has too much under way.
    pub fn announce(oracle: &Oracle, operation: Operation) -> Option<Self> {
        let range = operation.range();
        let mut model = oracle.model();
        let mut write = |effect| model.sent(&range, effect).map(Mark::Write);
        let mark = match operation {
            Operation::Write { .. } => write(Effect::Data)?,
            Operation::WriteZeroes { .. } => write(Effect::Zero)?,
            Operation::Trim(_) => write(Effect::Trim)?,
            Operation::Read(_) => Mark::Read(model.read_sent(&range)),
            Operation::Flush => Mark::None,
        };
        drop(model);
        Some(Self { operation, mark, started: Instant::now() })
    }

    /// Makes `data` what a write of data writes, and empty for all else.
    pub fn content(&self, oracle: &Oracle, data: &mut Vec<u8>) {
        data.clear();
        if let (Operation::Write { range, .. }, Mark::Write(version)) = (&self.operation, self.mark) {
            data.resize((range.end - range.start) as usize, 0);
            let seed = oracle.model().seed;
            fill(data, seed, range.start / SECTOR_BYTES as u64, version);
        }
    }

    /// Whether it changes the volume.
    pub fn is_write(&self) -> bool {
        matches!(self.mark, Mark::Write(_))
    }

    /// Tells the model how it ended.
    pub fn end(self, oracle: &Oracle, outcome: Outcome, report: &mut LoadReport) {
        let elapsed = self.started.elapsed();
        report.slowest = report.slowest.max(elapsed);
        let range = self.operation.range();
        let mut model = oracle.model();
        let failure = match (outcome, self.mark) {
            (Outcome::Done(_), Mark::Write(version)) => {
                model.acknowledged(&range, version);
                report.acknowledged += 1;
                if matches!(self.operation, Operation::Write { .. }) {
                    report.written_bytes += range.end - range.start;
                }
                return;
            }
            (Outcome::Done(data), Mark::Read(sent)) => {
                model.read_done(&range, sent, &data, "read under load");
                report.reads += 1;
                return;
            }
            (Outcome::Done(_), Mark::None) => return,
            (Outcome::NoSpace, Mark::Write(_)) => {
                report.refused += 1;
                report.slowest_refusal = report.slowest_refusal.max(elapsed);
                None
            }
            (Outcome::NoSpace, _) => Some("no space, which it does not need".to_owned()),
            (Outcome::Failed(failure), _) => Some(failure),
        };
        report.failed += 1;
        if let Some(failure) = failure {
            report.error(format!("{:?} failed with {failure}", self.operation));
        }
        if let Mark::Read(_) = self.mark {
            model.read_failed(&range);
        }
    }
}
