//! The course of one request of a host: when it began, what it has waited for, and what is told of it at its end.
//!
//! Costs a few dozen instructions and no memory. Times are those of the turns of the core's loop, so that no request asks for the time.

use std::cell::Cell;
use std::time::Duration;

use quarry_histogram::{Distribution, Histogram};
use quarry_volume::{InFlight, SlowLog, SlowRequest, Stage, Verb};

use crate::EngineVolume;

const STAGES: usize = Stage::ALL.len();

/// What an engine knows of the requests of all its volumes.
#[derive(Default)]
pub(crate) struct Courses {
    stages: [Histogram; STAGES],
    /// Reads and partial writes that have looked into a map, and those that did not find everything in memory.
    pub(crate) lookups: Cell<u64>,
    pub(crate) lookups_missed: Cell<u64>,
    pub(crate) slow: SlowLog,
}

impl Courses {
    /// How long requests were in each stage.
    pub(crate) fn stages(&self) -> [Distribution; STAGES] {
        self.stages.each_ref().map(Histogram::distribution)
    }

    /// Counts a look into a map.
    #[inline]
    pub(crate) fn note_lookup(&self, is_missed: bool) {
        self.lookups.set(self.lookups.get() + 1);
        if is_missed {
            self.lookups_missed.set(self.lookups_missed.get() + 1);
        }
    }
}

/// A request that is under way.
pub(crate) struct Course<'a> {
    volume: &'a EngineVolume,
    in_flight: InFlight<'a>,
    verb: Verb,
    /// By the clock of the core, in microseconds: futures of requests are kept small.
    begun_us: u64,
    /// When the last stage ended.
    reached_us: Cell<u64>,
    /// Microseconds in each stage.
    stages: [Cell<u32>; STAGES],
}

impl<'a> Course<'a> {
    #[inline]
    pub(crate) fn begin(volume: &'a EngineVolume, verb: Verb) -> Self {
        let begun_us = now_us(volume);
        Self {
            volume,
            in_flight: volume.figures.begin(),
            verb,
            begun_us,
            reached_us: Cell::new(begun_us),
            stages: [const { Cell::new(0) }; STAGES],
        }
    }

    /// What it has done since the last stage ended, or since it began, was this stage. A request can pass one several times.
    #[inline]
    pub(crate) fn reach(&self, stage: Stage) {
        let now_us = now_us(self.volume);
        let passed_us = now_us.saturating_sub(self.reached_us.replace(now_us));
        let us = &self.stages[stage as usize];
        us.set(us.get().saturating_add(passed_us as u32));
    }

    /// It ends.
    #[inline]
    pub(crate) fn end(self, offset: u64, length: u64, is_done: bool) {
        let Self { volume, in_flight, verb, begun_us, reached_us, stages } = self;
        let courses = &volume.engine.courses;
        // What is done has just reached the end of its last stage.
        let ended_us = if is_done { reached_us.get() } else { now_us(volume) };
        let took = Duration::from_micros(ended_us.saturating_sub(begun_us));
        for (place, us) in stages.iter().enumerate() {
            let us = u64::from(us.get());
            if us > 0 || (is_done && is_on_the_way(verb, Stage::ALL[place])) {
                courses.stages[place].record_us(us);
            }
        }
        in_flight.end(verb, took, length, is_done);
        if courses.slow.is_slow(took) {
            note_slow(
                &courses.slow,
                volume,
                (verb, offset, length),
                (Duration::from_micros(ended_us), took),
                &stages,
                is_done,
            );
        }
    }
}

/// The turn of the core's loop that runs now.
#[inline]
fn now_us(volume: &EngineVolume) -> u64 {
    let now = volume.engine.env.clock.turn();
    now.as_secs() * 1_000_000 + u64::from(now.subsec_micros())
}

/// Whether every request passes this stage that is done, however quickly.
const fn is_on_the_way(verb: Verb, stage: Stage) -> bool {
    match stage {
        Stage::Queue | Stage::Log => matches!(verb, Verb::Write),
        Stage::Device => matches!(verb, Verb::Read),
        Stage::Flush => matches!(verb, Verb::Flush),
        Stage::Lookup => false,
    }
}

#[cold]
fn note_slow(
    log: &SlowLog,
    volume: &EngineVolume,
    (verb, offset, length): (Verb, u64, u64),
    (ended, took): (Duration, Duration),
    stages: &[Cell<u32>; STAGES],
    is_done: bool,
) {
    let in_stage = |(stage, us): (Stage, &Cell<u32>)| {
        (us.get() > 0).then(|| (stage, Duration::from_micros(u64::from(us.get()))))
    };
    let stages = Stage::ALL.into_iter().zip(stages).filter_map(in_stage).collect();
    log.note(SlowRequest { volume: volume.state.id, verb, offset, length, ended, took, stages, is_done });
}
