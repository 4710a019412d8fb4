//! One seed from its first life to the judgement.

use std::fmt;

use quarry_env_sim::World;

use crate::Scenario;
use crate::life::{Counts, Machine, Plan, Stop};
use crate::model::{Crash, Finding};

/// Crashes in a row that one recovery may suffer.
const RECOVERY_CRASHES_MAX: u64 = 4;

/// What a seed that was right has done.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Proves that a replay is the same history.
    pub trace_hash: u64,
    /// Events of the world.
    pub events: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Errors that were allowed.
    pub errors: u64,
    /// Processes that served.
    pub lives: u64,
    /// Chunks that were cleaned.
    pub cleaned_chunks: u64,
    /// Chunks that have joined groups.
    pub grouped_chunks: u64,
    /// Reads that cache disks have answered.
    pub cache_disk_hits: u64,
    /// Changes of devices and of the number of copies that were acknowledged.
    pub changes: u64,
}

/// What a seed has found.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub finding: String,
    /// Scenario, faults and trace.
    pub report: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} FAILED: {}\n{}", self.seed, self.finding, self.report)
    }
}

/// Plays a seed; `trace_lines_max` lines of its trace are part of a failure's report.
pub fn run(seed: u64, trace_lines_max: usize) -> Result<Outcome, Failure> {
    let mut machine = match Machine::new(Scenario::draw(seed), trace_lines_max) {
        Ok(machine) => machine,
        Err((world, finding)) => return Err(failure(seed, &world, &finding)),
    };
    match play(&mut machine) {
        Err(Stop::Found(finding)) => Err(failure(seed, &machine.world, &finding)),
        _ => Ok(outcome(&machine)),
    }
}

fn outcome(machine: &Machine) -> Outcome {
    let Counts { acknowledged, errors, lives, cleaned_chunks, grouped_chunks, cache_disk_hits, .. } =
        machine.counts;
    let (trace_hash, events) = (machine.world.trace_hash(), machine.world.trace_events());
    let changes = machine.fleet.changes.get();
    Outcome {
        trace_hash,
        events,
        acknowledged,
        errors,
        lives,
        cleaned_chunks,
        grouped_chunks,
        cache_disk_hits,
        changes,
    }
}

pub(crate) fn failure(seed: u64, world: &World, Finding(finding): &Finding) -> Failure {
    let report = format!("{:#?}\n{}", Scenario::draw(seed), world.report());
    Failure { seed, finding: finding.clone(), report }
}

fn play(machine: &mut Machine) -> Result<(), Stop> {
    for _ in 0..machine.scenario.lives {
        let plan = draw_plan(machine, machine.scenario.crash_events_max);
        lived(machine.live(plan))?;
        machine.shuffle_disks();
        // Recovery itself crashes now and then, several times in a row.
        if machine.chance.percent(25) {
            for _ in 0..1 + machine.chance.below(RECOVERY_CRASHES_MAX) {
                let plan = draw_plan(machine, 200);
                lived(machine.live(plan))?;
            }
        }
    }
    machine.judge()
}

fn lived(result: Result<(), Stop>) -> Result<(), Stop> {
    match result {
        Err(Stop::Crashed) => Ok(()),
        other => other,
    }
}

fn draw_plan(machine: &Machine, events_max: u64) -> Plan {
    let chance = &machine.chance;
    let now = machine.world.trace_events();
    let crash = if chance.percent(50) { Crash::PowerLoss } else { Crash::Death };
    let crash_at = if chance.percent(85) { now + chance.spread(events_max) } else { u64::MAX };
    let failures = match machine.fleet.bad().is_empty() {
        false if chance.percent(15) => vec![now + chance.spread(events_max)],
        _ => Vec::new(),
    };
    Plan { crash_at, crash, failures }
}
