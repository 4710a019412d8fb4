//! One connection over iSCSI or NVMe/TCP: one thread that sends and receives by turns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use super::load::LoadReport;
use super::model::Oracle;
use super::pending::{Outcome, Pending};
use super::plan::{Operation, Plan};
use crate::load::{Arrival, Initiator, Request, Verb};

/// Presses until `stop` is set and everything under way has ended, or the connection is dead.
pub fn run(
    mut initiator: Box<dyn Initiator>,
    oracle: &Oracle,
    plan: Plan,
    depth: usize,
    stop: &AtomicBool,
) -> LoadReport {
    let mut report = LoadReport::default();
    let mut pending = BTreeMap::new();
    let pressed = press(&mut *initiator, oracle, plan, depth, stop, &mut pending, &mut report);
    if let Err(error) = pressed
        && !pending.is_empty()
    {
        report.broken = 1;
        report.error(format!("the connection broke: {error:#}"));
    }
    report.in_flight = pending.values().filter(|pending| pending.is_write()).count() as u64;
    report
}

fn press(
    initiator: &mut dyn Initiator,
    oracle: &Oracle,
    mut plan: Plan,
    depth: usize,
    stop: &AtomicBool,
    pending: &mut BTreeMap<u16, Pending>,
    report: &mut LoadReport,
) -> Result<()> {
    let mut idle: Vec<u16> = (0..u16::try_from(depth)?).collect();
    let mut data = Vec::new();
    let mut kept_alive = Instant::now();
    loop {
        while !stop.load(Ordering::Relaxed) && !idle.is_empty() && initiator.may_send() {
            let Some(new) = Pending::announce(oracle, plan.next()) else { continue };
            let tag = idle.pop().expect("one is idle");
            new.content(oracle, &mut data);
            initiator.request(tag, &request_of(&new.operation, &data));
            pending.insert(tag, new);
        }
        if pending.is_empty() {
            return Ok(());
        }
        if kept_alive.elapsed() > initiator.keep_alive_period() {
            kept_alive = Instant::now();
            initiator.keep_alive()?;
        }
        initiator.wire().turn()?;
        while let Some(arrival) = initiator.reply()? {
            let Arrival::Ended { tag, failure, data } = arrival else { continue };
            let ended = pending.remove(&tag).context("an answer to a request that is not under way")?;
            idle.push(tag);
            ended.end(oracle, failure.map_or(Outcome::Done(data), Outcome::Failed), report);
        }
    }
}

fn request_of<'a>(operation: &Operation, data: &'a [u8]) -> Request<'a> {
    let verb = match operation {
        Operation::Read(_) => Verb::Read,
        Operation::Write { fua, .. } => Verb::Write { force: *fua },
        Operation::WriteZeroes { no_hole, .. } => Verb::WriteZeroes { keep: *no_hole },
        Operation::Trim(_) => Verb::Trim,
        Operation::Flush => Verb::Flush,
    };
    let range = operation.range();
    Request { verb, offset: range.start, length: (range.end - range.start) as u32, data }
}
