//! Crash enumeration: a short history, ended at each of its events in turn.

use crate::Scenario;
use crate::life::{Machine, Plan, Stop};
use crate::model::Crash;
use crate::run::{Failure, failure};

/// What an enumeration has covered.
#[derive(Clone, Copy, Debug)]
pub struct Enumeration {
    /// Events of the history from the opening of the pool on.
    pub events: u64,
    /// Histories that were played.
    pub played: u64,
}

/// Plays the short history of `seed` again and again and ends it by `crash` at every `stride`-th event.
pub fn enumerate(seed: u64, crash: Crash, stride: u64) -> Result<Enumeration, Box<Failure>> {
    let (first, last) = play(seed, crash, u64::MAX)?;
    let mut played = 1;
    for crash_at in (first..last).step_by(stride.max(1) as usize) {
        play(seed, crash, crash_at)?;
        played += 1;
    }
    Ok(Enumeration { events: last - first, played })
}

/// Plays it once; gives the events at which its life began and ended.
fn play(seed: u64, crash: Crash, crash_at: u64) -> Result<(u64, u64), Box<Failure>> {
    let mut machine = match Machine::new(Scenario::draw_short(seed), 0) {
        Ok(machine) => machine,
        Err((world, finding)) => return Err(Box::new(failure(seed, &world, &finding))),
    };
    let first = machine.world.trace_events();
    let plan = Plan { crash_at, crash, failures: Vec::new() };
    let mut result = machine.live(plan);
    let last = machine.world.trace_events();
    if let Ok(()) | Err(Stop::Crashed) = result {
        result = machine.judge();
    }
    match result {
        Err(Stop::Found(finding)) => {
            let mut failure = failure(seed, &machine.world, &finding);
            failure.finding = format!("{crash:?} at event {crash_at}: {}", failure.finding);
            Err(Box::new(failure))
        }
        _ => Ok((first, last)),
    }
}
