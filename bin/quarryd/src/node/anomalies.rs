//! What is not as it was: latencies and errors far above a thing's own past, told when they begin and when they are over.
//!
//! Devices are compared with their peers elsewhere (`device_health`), and one that has failed anything is suspect at once; here each is
//! compared with its own past, and by latency alone.

use std::collections::BTreeMap;
use std::time::Duration;

use quarry_api_types::{EventKind, EventSeverity, ObjectKind, Resolution, Series};
use quarry_events::{ConditionChange, NewEvent};
use quarry_forecast::{Floor, Usual, Watcher, Word, usual};
use quarry_history::{History, Sample, SeriesKey, width_s};
use uuid::Uuid;

use super::DataNode;
use super::history::{Known, KnownThings};

/// Before the key of such a condition.
const KEY_PREFIX: &str = "anomaly ";
/// Fewer requests in a minute say nothing of how long they take.
const REQUESTS_MIN: u64 = 30;
/// In microseconds.
const LATENCY: Floor = Floor { times: 2.0, above: 1000.0 };
/// In a minute.
const ERRORS: Floor = Floor { times: 3.0, above: 5.0 };

/// Whether a condition is one of these, which `conditions` leaves alone.
pub(super) fn is_of_anomaly(key: &str) -> bool {
    key.starts_with(KEY_PREFIX)
}

/// What has begun or ended.
pub(super) struct Finding {
    key: SeriesKey,
    word: Word,
    value: Option<f64>,
    usual: Option<Usual>,
}

/// Everything that is judged.
#[derive(Default)]
pub(super) struct Anomalies {
    watchers: BTreeMap<SeriesKey, Watcher>,
    /// What is usual at this quarter of an hour, of what needed to be known.
    usual: BTreeMap<SeriesKey, (u64, Option<Usual>)>,
}

/// What of a series is judged, and by which floor.
fn floor(key: &SeriesKey) -> Option<Floor> {
    match (key.kind, key.series) {
        (ObjectKind::Volume | ObjectKind::Device, Series::ReadLatency | Series::WriteLatency) => {
            Some(LATENCY)
        }
        (ObjectKind::Volume, Series::Errors) => Some(ERRORS),
        _ => None,
    }
}

impl Anomalies {
    /// Those that stood before the start, among all conditions.
    pub(super) fn standing(conditions: &BTreeMap<String, String>) -> Self {
        let keys = conditions.keys().filter_map(|key| parse_key(key));
        Self { watchers: keys.map(|key| (key, Watcher::standing())).collect(), usual: BTreeMap::new() }
    }

    /// Judges what was seen at a look, which is in the history already.
    pub(super) fn judge(
        &mut self,
        history: &History,
        time_s: u64,
        samples: &[(SeriesKey, Sample)],
    ) -> Vec<Finding> {
        let seen: BTreeMap<SeriesKey, Sample> =
            samples.iter().filter(|(key, _)| floor(key).is_some()).copied().collect();
        for key in seen.keys() {
            self.watchers.entry(*key).or_default();
        }
        let Self { watchers, usual: known } = self;
        let mut findings = Vec::new();
        for (key, watcher) in watchers {
            let Some(floor) = floor(key) else { continue };
            let needed = if key.series == Series::Errors { 1 } else { REQUESTS_MIN };
            let sample = seen.get(key).filter(|sample| sample.count >= needed);
            let value = sample.map(|sample| sample.value).filter(|value| value.is_finite());
            // Nothing below the floor is too much, so of most series nothing needs to be known.
            let is_needed = watcher.stands() || value.is_some_and(|value| value > floor.above);
            let usual = if is_needed { usual_of(known, history, key, time_s, floor) } else { None };
            if let Some(word) = watcher.look(value, usual.as_ref()) {
                findings.push(Finding { key: *key, word, value, usual });
            }
        }
        findings
    }

    /// Forgets things that are gone; the conditions of those that stood.
    pub(super) fn forget(&mut self, known: &KnownThings) -> Vec<ConditionChange> {
        let is_gone = |key: &SeriesKey| !known.contains_key(&(key.kind, key.object));
        let gone: Vec<SeriesKey> = self.watchers.keys().filter(|key| is_gone(key)).copied().collect();
        self.usual.retain(|key, _| !is_gone(key));
        let stood =
            gone.iter().filter(|key| self.watchers.remove(key).is_some_and(|watcher| watcher.stands()));
        stood.map(|key| ConditionChange { key: condition_key(key), state: None }).collect()
    }
}

/// What is usual of a series now. Worked out once in each quarter of an hour.
fn usual_of(
    known: &mut BTreeMap<SeriesKey, (u64, Option<Usual>)>,
    history: &History,
    key: &SeriesKey,
    time_s: u64,
    floor: Floor,
) -> Option<Usual> {
    let quarter = time_s / width_s(Resolution::QuarterHour);
    if let Some((_, usual)) = known.get(key).filter(|(of, _)| *of == quarter) {
        return *usual;
    }
    let past: Vec<(u64, f64)> = history
        .points(key, Resolution::QuarterHour, 0)
        .filter(|(begin_s, _)| *begin_s < time_s)
        .map(|(begin_s, point)| (begin_s, point.mean()))
        .collect();
    let found = usual(&past, time_s, floor);
    known.insert(*key, (quarter, found));
    found
}

fn condition_key(key: &SeriesKey) -> String {
    format!("{KEY_PREFIX}{} {} {}", key.kind, key.object, key.series)
}

fn parse_key(text: &str) -> Option<SeriesKey> {
    let mut words = text.strip_prefix(KEY_PREFIX)?.split(' ');
    let kind = words.next()?.parse::<ObjectKind>().ok()?;
    let object = words.next()?.parse::<Uuid>().ok()?;
    let series = words.next()?.parse::<Series>().ok()?;
    Some(SeriesKey { kind, object, series })
}

impl DataNode {
    pub(super) async fn tell_findings(&self, findings: Vec<Finding>, known: &KnownThings) {
        if findings.is_empty() {
            return;
        }
        let change = |finding: &Finding| ConditionChange {
            key: condition_key(&finding.key),
            state: (finding.word == Word::Begins).then(|| "unusual".to_owned()),
        };
        let changes = findings.iter().map(change).collect();
        let event =
            |finding: &Finding| Some(event(finding, known.get(&(finding.key.kind, finding.key.object))?));
        self.record(findings.iter().filter_map(event).collect(), changes).await;
    }
}

fn event(finding: &Finding, known: &Known) -> NewEvent {
    let Finding { key, word, value, usual } = finding;
    let name = &known.name;
    let is_latency = key.series != Series::Errors;
    let thing = match (key.kind, &known.pool) {
        (ObjectKind::Device, Some(pool)) => format!("device '{name}' of pool '{pool}'"),
        (kind, _) => format!("{kind} '{name}'"),
    };
    let what = if key.series == Series::ReadLatency { "reads" } else { "writes" };
    let (kind, severity, message) = match (word, is_latency) {
        (Word::Begins, true) => {
            let message = format!("{what} of {thing} take far longer than they used to");
            (EventKind::LatencyUnusual, EventSeverity::Warning, message)
        }
        (Word::Ends, true) => {
            let message = format!("{what} of {thing} take as long as they used to");
            (EventKind::LatencyUsual, EventSeverity::Info, message)
        }
        (Word::Begins, false) => {
            let message = format!("far more requests to {thing} fail than used to");
            (EventKind::ErrorsUnusual, EventSeverity::Warning, message)
        }
        (Word::Ends, false) => (
            EventKind::ErrorsUsual,
            EventSeverity::Info,
            format!("no more requests to {thing} fail than used to"),
        ),
    };
    let begins = *word == Word::Begins;
    let figures = value.zip(*usual).filter(|_| begins);
    NewEvent {
        severity,
        kind,
        object_kind: key.kind,
        object: name.clone(),
        message,
        cause: figures.map(|(value, usual)| cause(is_latency, value, &usual)),
        next_step: begins.then(|| next_step(key, known)),
    }
}

fn cause(is_latency: bool, value: f64, usual: &Usual) -> String {
    let Usual { median, bound } = *usual;
    match is_latency {
        true => format!(
            "for {} minutes each mean was above {}; the last one was {}, and {} is usual",
            quarry_forecast::BEGIN_LOOKS,
            millis(bound),
            millis(value),
            millis(median)
        ),
        false => format!(
            "for {} minutes more than {bound:.0} failed in each; the last one had {value:.0}, and {median:.0} are usual",
            quarry_forecast::BEGIN_LOOKS
        ),
    }
}

fn millis(us: f64) -> String {
    format!("{:.1} ms", Duration::from_micros(us as u64).as_secs_f64() * 1000.0)
}

fn next_step(key: &SeriesKey, known: &Known) -> String {
    let name = &known.name;
    match (key.kind, &known.pool) {
        (ObjectKind::Device, Some(pool)) => format!(
            "Look at its S.M.A.R.T. figures and its cabling (`quarry device list`, `quarry pool show {pool}`), and at what else uses it."
        ),
        (_, _) if key.series == Series::Errors => {
            format!(
                "Look whether the pool is full or a quota reached: `quarry status`, `quarry volume show {name}`."
            )
        }
        _ => format!(
            "See where requests wait (`quarry slow-requests`) and what else runs (`quarry top`); `quarry history volume {name}` shows since when."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_found_again() {
        let key =
            SeriesKey { kind: ObjectKind::Device, object: Uuid::from_u128(7), series: Series::WriteLatency };
        let text = condition_key(&key);
        assert!(is_of_anomaly(&text));
        let conditions = [(text, "unusual".to_owned()), ("space p p".to_owned(), "warning".to_owned())];
        let mut anomalies = Anomalies::standing(&conditions.into());
        assert_eq!(anomalies.watchers.keys().collect::<Vec<_>>(), [&key]);
        // What is gone has no end to be told.
        let gone = anomalies.forget(&KnownThings::new());
        assert_eq!(gone, [ConditionChange { key: condition_key(&key), state: None }]);
        assert!(anomalies.forget(&KnownThings::new()).is_empty());
    }
}
