//! Warnings that a pool, or the quota of a volume, is expected to be full soon: looked for once an hour, told when it begins, becomes
//! worse and is over.

use std::collections::BTreeMap;

use quarry_api_types::{
    CapacityForecast, EventKind, EventSeverity, ForecastLevel, ForecastReach, ForecastState, ObjectKind,
    Pool, PoolState, Resolution, Timestamp,
};
use quarry_events::{ConditionChange, NewEvent};
use quarry_history::width_s;
use quarry_node_api::Result;
use quarry_types::ByteSize;

use super::DataNode;
use super::conditions::MAKE_SPACE;
use super::events::apply_changes;
use super::forecasts::Asked;

/// Before the key of such a condition.
const KEY_PREFIX: &str = "forecast ";
/// A warning stands until the time is this much further away: a forecast trembles.
const LATER: f64 = 1.25;
/// A day before it is critical.
const CRITICAL_S: u64 = 24 * 60 * 60;

/// Whether a condition is one of these, which `conditions` leaves alone.
pub(super) fn is_of_forecast(key: &str) -> bool {
    key.starts_with(KEY_PREFIX)
}

/// What was warned of.
#[derive(Default)]
pub(super) struct FillWarnings {
    /// `None` until the conditions that stood before the start have been read.
    standing: Option<BTreeMap<String, String>>,
    /// The last hour that was looked at.
    hour: u64,
}

impl DataNode {
    /// Warns of what is full soon. Works once an hour.
    pub(super) async fn look_ahead(&self, time_s: u64, pools: &[Pool]) -> Result<()> {
        let hour = time_s / width_s(Resolution::Hour);
        let mut warnings = self.fill_warnings.lock().await;
        if std::mem::replace(&mut warnings.hour, hour) == hour {
            return Ok(());
        }
        let standing = warnings.standing.get_or_insert_with(|| self.conditions_before(is_of_forecast));
        let mut asked: Vec<Asked> =
            pools.iter().filter(|pool| pool.state != PoolState::Offline).map(Asked::of_pool).collect();
        for found in self.volumes_of(None).await?.iter().filter(|found| found.status.settings.quota_bytes > 0)
        {
            asked.extend(found.status.name.parse().map(|name| Asked::of_volume(name, found)));
        }
        let (mut events, mut changes, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for asked in asked {
            let key = format!("{KEY_PREFIX}{} {}", asked.kind, asked.id);
            let before = standing.get(&key).and_then(|state| state.parse().ok());
            let forecast = self.forecast(asked.clone()).await?;
            let severity = severity(&forecast.capacity, before, time_s, self.settings.forecast_days);
            named.push(key.clone());
            if severity == before {
                continue;
            }
            events.push(event(&asked, &forecast.capacity, severity));
            changes.push(ConditionChange { key, state: severity.map(|severity| severity.to_string()) });
        }
        // What is gone, or has no quota any more, has no end to be told. Nobody can tell what an offline pool would show.
        if pools.iter().all(|pool| pool.state != PoolState::Offline) {
            let gone = standing.keys().filter(|key| !named.contains(key));
            changes.extend(gone.map(|key| ConditionChange { key: key.clone(), state: None }));
        }
        apply_changes(standing, &changes);
        if !changes.is_empty() {
            self.record(events, changes).await;
        }
        Ok(())
    }
}

fn full(capacity: &CapacityForecast) -> Option<&ForecastReach> {
    capacity.reaches.iter().find(|reach| reach.level == ForecastLevel::Full)
}

/// How bad it is that something is full so soon; `None` when it is not. It stays as it stood where nothing can be said, and of what is full
/// already, which others tell.
fn severity(
    capacity: &CapacityForecast,
    before: Option<EventSeverity>,
    time_s: u64,
    days: u32,
) -> Option<EventSeverity> {
    let full = full(capacity).filter(|full| !full.reached);
    let Some(full) = full.filter(|_| capacity.state != ForecastState::TooEarly) else { return before };
    let left_s = (full.expected?.unix_ms() / 1000).saturating_sub(time_s);
    let within = |bound_s: u64, severity: EventSeverity| {
        let stood = before.is_some_and(|before| before >= severity);
        left_s as f64 <= bound_s as f64 * if stood { LATER } else { 1.0 }
    };
    let bound_s = u64::from(days) * width_s(Resolution::Day);
    if days == 0 || !within(bound_s, EventSeverity::Warning) {
        return None;
    }
    let is_critical = within(CRITICAL_S.min(bound_s), EventSeverity::Critical);
    Some(if is_critical { EventSeverity::Critical } else { EventSeverity::Warning })
}

fn event(asked: &Asked, capacity: &CapacityForecast, severity: Option<EventSeverity>) -> NewEvent {
    let name = &asked.name;
    let is_pool = asked.kind == ObjectKind::Pool;
    let (kind, what) = match (severity.is_some(), is_pool) {
        (true, true) => (EventKind::PoolFillsSoon, "is expected to be full soon"),
        (false, true) => (EventKind::PoolFillsLater, "is not expected to be full soon any more"),
        (true, false) => (EventKind::QuotaFillsSoon, "is expected to reach its quota soon"),
        (false, false) => (EventKind::QuotaFillsLater, "is not expected to reach its quota soon any more"),
    };
    let next_step = match is_pool {
        true => format!(
            "{MAKE_SPACE} Or add a device: `quarry device add {name} PATH`. `quarry pool forecast {name}` shows more."
        ),
        false => format!(
            "Discard what its host no longer needs (fstrim), or raise it: `quarry volume set {name} --quota SIZE`. `quarry volume forecast {name}` shows more."
        ),
    };
    NewEvent {
        severity: severity.unwrap_or(EventSeverity::Info),
        kind,
        object_kind: asked.kind,
        object: name.to_string(),
        message: format!("{} '{name}' {what}", asked.kind),
        cause: full(capacity).filter(|_| severity.is_some()).map(|full| cause(capacity, full)),
        next_step: severity.is_some().then_some(next_step),
    }
}

fn cause(capacity: &CapacityForecast, full: &ForecastReach) -> String {
    let growth = capacity.growth_bytes_per_day.map_or(0, |bytes| bytes.max(0).unsigned_abs());
    let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| time.to_string());
    format!(
        "{} of {} are used, and it grows by {} a day: full on {}, on {} at the earliest and {} at the latest",
        ByteSize(capacity.used_bytes),
        ByteSize(full.bytes),
        ByteSize(growth),
        time(full.expected),
        time(full.earliest),
        time(full.latest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86400;
    const NOW_S: u64 = 20_000 * DAY_S;

    fn full_in(hours: Option<u64>, reached: bool) -> CapacityForecast {
        let time = hours.map(|hours| Timestamp::from_unix_ms((NOW_S + hours * 3600) * 1000));
        let reach = ForecastReach {
            level: ForecastLevel::Full,
            bytes: 100 << 30,
            reached,
            earliest: time,
            expected: time,
            latest: None,
        };
        CapacityForecast {
            state: ForecastState::Growing,
            history_hours: 100,
            needed_hours: 24,
            used_bytes: 50 << 30,
            growth_bytes_per_day: Some(10 << 30),
            until: None,
            reaches: vec![reach],
            points: vec![],
        }
    }

    #[test]
    fn a_warning_stands_until_the_time_is_well_beyond_its_bound() {
        use EventSeverity::{Critical, Warning};
        let mut before = None;
        let mut seen = Vec::new();
        for hours in [300, 160, 180, 200, 220, 300, 100, 20, 28, 40].map(Some).into_iter().chain([None]) {
            before = severity(&full_in(hours, false), before, NOW_S, 7);
            seen.push(before);
        }
        let expected = [
            None,
            Some(Warning),
            Some(Warning),
            Some(Warning),
            None,
            None,
            Some(Warning),
            Some(Critical),
            Some(Critical),
            Some(Warning),
            None,
        ];
        assert_eq!(seen, expected);
        assert_eq!(severity(&full_in(Some(1), false), None, NOW_S, 0), None, "nobody wants to know");
        assert_eq!(severity(&full_in(None, true), Some(Critical), NOW_S, 7), Some(Critical));
        assert_eq!(severity(&full_in(None, true), None, NOW_S, 7), None);
    }

    #[test]
    fn a_warning_says_when_and_what_to_do() {
        let levels = vec![(ForecastLevel::Full, 100 << 30)];
        let (kind, id, name) = (ObjectKind::Pool, uuid::Uuid::from_u128(1), "tank".parse().unwrap());
        let asked = Asked { kind, id, name, used_bytes: 50 << 30, levels };
        let told = event(&asked, &full_in(Some(48), false), Some(EventSeverity::Warning));
        assert_eq!(told.message, "pool 'tank' is expected to be full soon");
        let cause = told.cause.unwrap();
        assert!(cause.contains("50 GiB of 100 GiB") && cause.contains("10 GiB a day"), "{cause}");
        assert!(cause.ends_with("and never at the latest"), "{cause}");
        assert!(told.next_step.unwrap().contains("quarry device add tank"));
        let over = event(&asked, &full_in(None, false), None);
        assert_eq!((over.kind, over.cause, over.next_step), (EventKind::PoolFillsLater, None, None));
    }
}
