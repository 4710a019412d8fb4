//! What all cores together know of how a pool's devices answer. Each core says it several times a second (`watch`); nothing here is
//! on an I/O path.
//!
//! Invariants:
//! - A device that does not answer is given up only when every log has said, of the present layout, that it can do without it, and the
//!   copies that it relies on instead are on devices that do answer. Of several silent devices one is given up at a time, because
//!   that changes the layout.
//! - A device that was given up is not used again while a write that it was sent before is on its way, on any core
//!   ([`Board::late_changes`]).
//! - What is kept is bounded: for each device the latencies of [`PERIODS`] periods, for each core and device one pulse.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quarry_device::{DeviceClass, Latencies, Unanswered};
use quarry_types::limits::DEVICE_PATIENCE_DEFAULT;
use quarry_types::{DeviceId, LogId};

use crate::slow::{self, Record, Sample, Slowness};

/// How long latencies are gathered before they count.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// Periods that are kept, for percentiles of the last minute,
const PERIODS: u64 = 12;
/// and those of them by which a device is compared with others.
const JUDGED_PERIODS: u64 = 6;
/// A device that answers nothing for this part of its time is not relied on instead of another one, and reads avoid it.
const STALLED_PART: u32 = 4;
/// An idle device is asked for something when nothing was heard of it for so long.
const PROBE_PAUSE: Duration = Duration::from_secs(5);
/// Probes, one after the other, that have to fail before the device counts as failed.
const PROBE_ERRORS_MAX: u32 = 3;
/// A device that was silent and was given up is back when it has answered for so long.
const ANSWERS_AGAIN_FOR: Duration = Duration::from_secs(30);

/// What one core sees of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pulse {
    pub(crate) oldest: Option<Unanswered>,
    pub(crate) waiting: usize,
    pub(crate) answered: u64,
}

/// How a device answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceHealth {
    /// It is so much slower than its peers that reads avoid it where they can.
    pub slow: Option<Slowness>,
    /// What it has not answered for longest, if that is long, and for how long.
    pub silent: Option<(Unanswered, Duration)>,
    /// It does not answer, and it is waited for because something is on it alone.
    pub is_needed: bool,
    /// It was given up because it did not answer, not because of an error.
    pub was_silent: bool,
    /// It was given up so, and answers again.
    pub answers_again: bool,
    /// Writes and discards that it was sent before it was given up and that have not ended.
    pub late_changes: u32,
    /// Operations that somebody waits for.
    pub waiting: u64,
    /// How long operations of the last minute took.
    pub last_minute: Latencies,
}

#[derive(Default)]
struct Entry {
    id: Option<DeviceId>,
    class: Option<DeviceClass>,
    /// By way: what each core sees.
    pulses: BTreeMap<u32, Pulse>,
    /// What each log has said, of which layout: that it can do without the device.
    answers: BTreeMap<LogId, (u64, bool)>,
    /// By number of the period.
    periods: VecDeque<(u64, Latencies)>,
    record: Record,
    /// When it has answered anything last.
    heard: Duration,
    is_probed: bool,
    probe_errors: u32,
    silent_since: Option<Duration>,
    is_needed: bool,
    answers_since: Option<Duration>,
}

impl Entry {
    fn oldest(&self) -> Option<Unanswered> {
        self.pulses.values().filter_map(|pulse| pulse.oldest).min_by_key(|oldest| oldest.began)
    }

    fn silence(&self, now: Duration) -> Option<(Unanswered, Duration)> {
        self.oldest().map(|oldest| (oldest, now.saturating_sub(oldest.began)))
    }
}

#[derive(Default)]
struct State {
    ways: u32,
    entries: BTreeMap<u16, Entry>,
    logs: BTreeSet<LogId>,
    /// The last period that was judged.
    judged: u64,
}

/// What is known of all devices of a pool.
pub(crate) struct Board {
    patience_ms: AtomicU64,
    /// Logs that the pool has; not all of them take part while it is being opened.
    logs_expected: AtomicU32,
    state: Mutex<State>,
    late: Mutex<Vec<(DeviceId, Arc<AtomicU32>)>>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            patience_ms: AtomicU64::new(DEVICE_PATIENCE_DEFAULT.as_millis() as u64),
            logs_expected: AtomicU32::new(0),
            state: Mutex::default(),
            late: Mutex::default(),
        }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under it")
    }

    /// How long a device may take for anything.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.patience_ms.store(patience.as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn expect_logs(&self, logs: usize) {
        self.logs_expected.fetch_add(logs as u32, Ordering::Relaxed);
    }

    /// A number for one core's way to the pool.
    pub(crate) fn new_way(&self) -> u32 {
        let mut state = self.state();
        state.ways += 1;
        state.ways
    }

    /// A core has closed the pool.
    pub(crate) fn forget_way(&self, way: u32) {
        self.state().entries.values_mut().for_each(|entry| _ = entry.pulses.remove(&way));
    }

    /// A log takes part in deciding from now on.
    pub(crate) fn add_log(&self, log: LogId) {
        self.state().logs.insert(log);
    }

    /// A log is closed: what it holds is durable, and nobody asks it any more.
    pub(crate) fn remove_log(&self, log: LogId) {
        let mut state = self.state();
        state.logs.remove(&log);
        state.entries.values_mut().for_each(|entry| _ = entry.answers.remove(&log));
    }

    /// Counts the operations of a device that nobody waits for any more, as long as there are any.
    pub(crate) fn count_late(&self, id: DeviceId, changes: Arc<AtomicU32>) {
        let mut late = self.late.lock().expect("no panic under it");
        late.retain(|(_, known)| Arc::strong_count(known) > 1 || known.load(Ordering::Acquire) > 0);
        late.push((id, changes));
    }

    /// Writes and discards of a device that were given up and have not ended, on all cores.
    pub(crate) fn late_changes(&self, id: DeviceId) -> u32 {
        let late = self.late.lock().expect("no panic under it");
        late.iter().filter(|(known, _)| *known == id).map(|(_, count)| count.load(Ordering::Acquire)).sum()
    }

    /// The devices, members or not, of which there are any.
    pub(crate) fn late_devices(&self) -> BTreeSet<DeviceId> {
        let late = self.late.lock().expect("no panic under it");
        late.iter().filter(|(_, count)| count.load(Ordering::Acquire) > 0).map(|(id, _)| *id).collect()
    }

    /// Takes note of what a core sees of a device.
    pub(crate) fn note(
        &self,
        way: u32,
        (index, id, class): (u16, DeviceId, DeviceClass),
        pulse: Pulse,
        now: Duration,
    ) {
        let mut state = self.state();
        let entry = state.entries.entry(index).or_default();
        if entry.id != Some(id) {
            *entry = Entry { id: Some(id), heard: now, ..Entry::default() };
        }
        entry.class = Some(class);
        let before = entry.pulses.insert(way, pulse);
        if before.is_some_and(|before| before.answered != pulse.answered) {
            entry.heard = now;
        }
    }

    /// A core has no way to a device any more.
    pub(crate) fn forget(&self, way: u32, index: u16) {
        if let Some(entry) = self.state().entries.get_mut(&index) {
            entry.pulses.remove(&way);
        }
    }

    /// Adds what a core has measured in a period.
    pub(crate) fn add_latencies(&self, index: u16, period: u64, latencies: &Latencies) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&index) else { return };
        let place = entry.periods.iter().position(|(number, _)| *number == period);
        match place {
            Some(place) => entry.periods[place].1 += latencies,
            None => entry.periods.push_back((period, latencies.clone())),
        }
        let newest = entry.periods.iter().map(|(number, _)| *number).max().unwrap_or(0);
        entry.periods.retain(|(number, _)| number + PERIODS > newest);
    }

    /// Whether a device lets somebody wait for so long that others should not rely on it.
    fn is_stalled(&self, entry: &Entry, now: Duration) -> bool {
        entry.silence(now).is_some_and(|(_, silence)| silence >= self.patience() / STALLED_PART)
    }

    /// Whether a device owes an answer for longer than it may take for one.
    pub(crate) fn is_silent(&self, index: u16, patience: Duration, now: Duration) -> bool {
        let state = self.state();
        let silence = state.entries.get(&index).and_then(|entry| entry.silence(now));
        silence.is_some_and(|(_, silence)| silence >= patience)
    }

    /// Devices that do not answer.
    pub(crate) fn stalled(&self, now: Duration) -> BTreeSet<u16> {
        let state = self.state();
        let stalled = state.entries.iter().filter(|(_, entry)| self.is_stalled(entry, now));
        stalled.map(|(index, _)| *index).collect()
    }

    /// Why a device is to be given up, if that can be, and whether that is because it is silent.
    fn complaint(&self, entry: &Entry, patience: Duration, now: Duration) -> Option<(String, bool)> {
        if entry.probe_errors >= PROBE_ERRORS_MAX {
            return Some((format!("{PROBE_ERRORS_MAX} reads in a row failed while it was idle"), false));
        }
        let (what, silence) = entry.silence(now)?;
        let reason = || {
            let (operation, seconds) = (what.operation, silence.as_secs_f64());
            format!("it has not answered for {seconds:.1} s, since it was asked for a {operation}")
        };
        (silence >= patience).then(|| (reason(), true))
    }

    /// Whether a device should be given up, so that the logs have to say what they think.
    pub(crate) fn is_in_question(&self, index: u16, patience: Duration, now: Duration) -> bool {
        let state = self.state();
        state.entries.get(&index).is_some_and(|entry| self.complaint(entry, patience, now).is_some())
    }

    /// A log says whether it can do without a device, as of a layout.
    pub(crate) fn answer(&self, index: u16, log: LogId, layout: u64, can_do_without: bool) {
        if let Some(entry) = self.state().entries.get_mut(&index) {
            entry.answers.insert(log, (layout, can_do_without));
        }
    }

    /// Has `give_up` take a device out of use, if that is due and every log can do without it. `view` tells, at that moment, the
    /// layout of the pool, and whether the pool's protection allows for the loss, which counts while logs are being opened. Both are called
    /// under the lock: of two devices the second is judged by the layout without the first.
    pub(crate) fn decide(
        &self,
        index: u16,
        patience: Duration,
        now: Duration,
        view: impl FnOnce() -> (u64, bool),
        give_up: impl FnOnce(String),
    ) {
        let mut state = self.state();
        let all_take_part = state.logs.len() >= self.logs_expected.load(Ordering::Relaxed).max(1) as usize;
        let logs = state.logs.clone();
        let Some(entry) = state.entries.get_mut(&index) else { return };
        let Some((reason, was_silent)) = self.complaint(entry, patience, now) else {
            entry.is_needed = false;
            return entry.answers.clear();
        };
        let (layout, is_spare) = view();
        let fresh = |log: &LogId| entry.answers.get(log).filter(|(of, _)| *of == layout).map(|(_, can)| *can);
        let answers: Vec<Option<bool>> = logs.iter().map(fresh).collect();
        if answers.contains(&Some(false)) || !all_take_part && !is_spare {
            entry.is_needed = true;
        } else if !answers.contains(&None) {
            (entry.is_needed, entry.silent_since, entry.answers_since) =
                (false, was_silent.then_some(now), None);
            entry.answers.clear();
            give_up(reason);
        }
    }

    /// Since when a device is out of use because it was silent.
    pub(crate) fn silent_since(&self, index: u16) -> Option<Duration> {
        self.state().entries.get(&index)?.silent_since
    }

    /// Which devices reads should avoid where they can, by index.
    pub(crate) fn avoided(&self, now: Duration) -> Vec<(u16, bool)> {
        let state = self.state();
        let avoided = |entry: &Entry| entry.record.slow.is_some() || self.is_stalled(entry, now);
        state.entries.iter().map(|(index, entry)| (*index, avoided(entry))).collect()
    }

    /// Claims the next probe of a device for the caller, if it is time for one. Says whether it is a suspect, which shows by more than
    /// its first bytes how quick it is.
    pub(crate) fn claim_probe(&self, index: u16, now: Duration) -> Option<bool> {
        let mut state = self.state();
        let entry = state.entries.get_mut(&index)?;
        let is_suspect = entry.record.slow.is_some();
        let is_soon = is_suspect || (1..PROBE_ERRORS_MAX).contains(&entry.probe_errors);
        let is_idle = is_soon || now.saturating_sub(entry.heard) >= PROBE_PAUSE;
        if entry.is_probed || entry.oldest().is_some() || !is_idle {
            return None;
        }
        entry.is_probed = true;
        Some(is_suspect)
    }

    /// How a probe went.
    pub(crate) fn end_probe(&self, index: u16, is_answered: bool, now: Duration) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&index) else { return };
        (entry.is_probed, entry.heard) = (false, now);
        match is_answered {
            true => {
                entry.probe_errors = 0;
                entry.answers_since.get_or_insert(now);
            }
            false => {
                entry.probe_errors = entry.probe_errors.saturating_add(1).min(PROBE_ERRORS_MAX);
                entry.answers_since = None;
            }
        }
    }

    /// A device is used again: what it was before says nothing.
    pub(crate) fn renew(&self, index: u16, now: Duration) {
        if let Some(entry) = self.state().entries.get_mut(&index) {
            let id = entry.id;
            *entry = Entry { id, heard: now, ..Entry::default() };
        }
    }

    /// Compares devices with each other when a period is over, once for all cores. `in_use` says which ones count. Says what has
    /// changed.
    pub(crate) fn judge(&self, period: u64, in_use: impl Fn(u16) -> bool) -> Vec<(u16, Option<Slowness>)> {
        let mut state = self.state();
        if state.judged >= period {
            return Vec::new();
        }
        state.judged = period;
        // Every core has told of the period before the last one.
        let window = period.saturating_sub(JUDGED_PERIODS + 1)..period.saturating_sub(1);
        let (mut indexes, mut samples) = (Vec::new(), Vec::new());
        for (&index, entry) in state.entries.iter().filter(|(index, _)| in_use(**index)) {
            let mut latencies = Latencies::default();
            let judged = entry.periods.iter().filter(|(number, _)| window.contains(number));
            judged.for_each(|(_, of_period)| latencies += of_period);
            let class = entry.class.unwrap_or(DeviceClass::Unknown);
            indexes.push(index);
            samples.push(Sample { class, latencies, record: entry.record });
        }
        let mut changed = Vec::new();
        for (index, record) in indexes.into_iter().zip(slow::judge(&samples)) {
            let entry = state.entries.get_mut(&index).expect("it was just there");
            if entry.record.slow.is_some() != record.slow.is_some() {
                changed.push((index, record.slow));
            }
            entry.record = record;
        }
        changed
    }

    /// How a device answers.
    pub(crate) fn health(&self, index: u16, now: Duration) -> DeviceHealth {
        let state = self.state();
        let Some(entry) = state.entries.get(&index) else { return DeviceHealth::default() };
        let late_changes = entry.id.map_or(0, |id| self.late_changes(id));
        let mut last_minute = Latencies::default();
        let newest = (now.as_nanos() / PERIOD.as_nanos()) as u64;
        let recent = entry.periods.iter().filter(|(number, _)| number + PERIODS >= newest);
        recent.for_each(|(_, of_period)| last_minute += of_period);
        let answers_for = entry.answers_since.map(|since| now.saturating_sub(since));
        let is_quiet = entry.oldest().is_none() && late_changes == 0;
        DeviceHealth {
            slow: entry.record.slow,
            silent: entry.silence(now).filter(|(_, silence)| *silence >= self.patience() / STALLED_PART),
            is_needed: entry.is_needed,
            was_silent: entry.silent_since.is_some(),
            answers_again: entry.silent_since.is_some()
                && is_quiet
                && answers_for.is_some_and(|answers_for| answers_for >= ANSWERS_AGAIN_FOR),
            late_changes,
            waiting: entry.pulses.values().map(|pulse| pulse.waiting as u64).sum(),
            last_minute,
        }
    }
}

#[cfg(test)]
mod tests;
