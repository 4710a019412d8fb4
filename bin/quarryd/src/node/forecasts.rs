//! When pools and volumes will be full and what will be asked of them: worked out of the history when somebody asks, and each hour of
//! what a warning may have to be given of. One at a time, on a thread for blocking work, and kept for the hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use quarry_api_types::{
    CapacityForecast, DeviceId, Forecast, ForecastLevel, ForecastPoint, ForecastReach, ForecastState,
    LoadForecast, LoadSpan, Name, ObjectKind, Pool, Resolution, Series, SeriesHistory, SeriesQuery,
    Timestamp,
};
use quarry_forecast::{Even, Expected, HISTORY_MIN, LEVEL, STEPS_MAX, Seasons, crossing, expect};
use quarry_history::{History, SeriesKey, width_s};
use quarry_node_api::{ErrorKind, ForecastNode, NodeError, Result};
use uuid::Uuid;

use super::history::{Keeper, stopping};
use super::history_samples::{usable_bytes, used_bytes};
use super::places::Located;
use super::volumes::FoundVolume;
use super::{DataNode, now};

/// So many days of history, and days are gone on with instead of hours: for longer, and of less.
const DAYS_MIN: usize = 60;
/// A forecast looks so many times as far ahead as the history goes back.
const AHEAD: usize = 4;
const AHEAD_DAYS_MAX: usize = 365;
/// Points that are shown.
const POINTS_MAX: usize = 60;
/// Forecasts that are kept.
const CACHED_MAX: usize = 256;
const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 7 * DAY_HOURS;

/// What has been worked out.
#[derive(Default)]
pub(super) struct Forecasts(BTreeMap<(ObjectKind, Uuid), Cached>);

/// A forecast, and for which hour and levels it is.
struct Cached {
    hour: u64,
    levels: Vec<u64>,
    forecast: Arc<Forecast>,
}

/// What a forecast is asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) kind: ObjectKind,
    pub(super) id: Uuid,
    pub(super) name: Name,
    pub(super) used_bytes: u64,
    /// The lowest first.
    pub(super) levels: Vec<(ForecastLevel, u64)>,
}

impl Asked {
    pub(super) fn of_pool(pool: &Pool) -> Self {
        let usable = usable_bytes(pool);
        let share = |percent: u8| (u128::from(usable) * u128::from(percent) / 100) as u64;
        let levels = vec![
            (ForecastLevel::Warning, share(pool.levels.warning_percent)),
            (ForecastLevel::Critical, share(pool.levels.critical_percent)),
            (ForecastLevel::Full, usable),
        ];
        let used_bytes = used_bytes(pool);
        Self { kind: ObjectKind::Pool, id: pool.id.0, name: pool.name.clone(), used_bytes, levels }
    }

    pub(super) fn of_volume(name: Name, found: &FoundVolume) -> Self {
        let status = &found.status;
        let quota = status.settings.quota_bytes;
        let full = if quota > 0 { quota.min(status.size_bytes) } else { status.size_bytes };
        let levels = vec![(ForecastLevel::Full, full)];
        Self { kind: ObjectKind::Volume, id: status.id.0, name, used_bytes: status.mapped_bytes, levels }
    }

    fn key(&self, series: Series) -> SeriesKey {
        SeriesKey { kind: self.kind, object: self.id, series }
    }
}

impl DataNode {
    /// The forecast for the present hour.
    pub(super) async fn forecast(&self, asked: Asked) -> Result<Arc<Forecast>> {
        let hour = self.history.read(|history| history.newest_s()).unwrap_or(0) / width_s(Resolution::Hour);
        let levels: Vec<u64> = asked.levels.iter().map(|(_, bytes)| *bytes).collect();
        // Who asks at the same time waits, and finds it done.
        let mut forecasts = self.forecasts.lock().await;
        let place = (asked.kind, asked.id);
        let is_right = |known: &&Cached| {
            known.hour == hour && known.levels == levels && known.forecast.object == asked.name
        };
        if let Some(known) = forecasts.0.get(&place).filter(is_right) {
            return Ok(known.forecast.clone());
        }
        let keeper = self.history.clone();
        let at = now();
        let working = tokio::task::spawn_blocking(move || work_out(&keeper, &asked, at));
        let found = Arc::new(working.await.map_err(|_| stopping())?);
        if forecasts.0.len() >= CACHED_MAX {
            forecasts.0.clear();
        }
        forecasts.0.insert(place, Cached { hour, levels, forecast: found.clone() });
        Ok(found)
    }

    /// The forecast for the present hour with what is used at present.
    async fn shown_forecast(&self, asked: Asked) -> Result<Forecast> {
        let used_bytes = asked.used_bytes;
        let mut shown = (*self.forecast(asked).await?).clone();
        shown.capacity.used_bytes = used_bytes;
        Ok(shown)
    }
}

/// Works a forecast out.
fn work_out(keeper: &Keeper, asked: &Asked, at: Timestamp) -> Forecast {
    // The lock is held for as long as it takes to copy a few thousand numbers.
    let even = |series, resolution| keeper.read(|history| even(history, &asked.key(series), resolution));
    let days = even(Series::Used, Resolution::Day).filter(|days| days.values.len() >= DAYS_MIN);
    let capacity = match days {
        Some(days) => capacity(asked, Some(&days), Seasons::OfDays),
        None => capacity(asked, even(Series::Used, Resolution::Hour).as_ref(), Seasons::OfHours),
    };
    let load = [Series::Operations, Series::Throughput]
        .map(|series| load(series, even(series, Resolution::Hour).as_ref()));
    Forecast {
        object_kind: asked.kind,
        object: asked.name.clone(),
        at,
        level_percent: (LEVEL * 100.0).round() as u8,
        capacity,
        load: load.into(),
    }
}

fn even(history: &History, key: &SeriesKey, resolution: Resolution) -> Option<Even> {
    let points: Vec<(u64, f64)> =
        history.points(key, resolution, 0).map(|(begin_s, point)| (begin_s, point.mean())).collect();
    Even::of(&points, width_s(resolution))
}

fn hours(history: Option<&Even>) -> u64 {
    history.map_or(0, |history| history.length_s() / width_s(Resolution::Hour))
}

/// When a step ends: what is foretold of it is reached in it.
fn end_of(history: &Even, step: usize) -> Timestamp {
    let end_s = history.next_s() + (step as u64 + 1) * history.step_s;
    Timestamp::from_unix_ms(end_s.saturating_mul(1000))
}

fn capacity(asked: &Asked, history: Option<&Even>, seasons: Seasons) -> CapacityForecast {
    let mut found = CapacityForecast {
        state: ForecastState::TooEarly,
        history_hours: hours(history),
        needed_hours: HISTORY_MIN as u64,
        used_bytes: asked.used_bytes,
        growth_bytes_per_day: None,
        until: None,
        reaches: Vec::new(),
        points: Vec::new(),
    };
    let Some(history) = history else { return found };
    let ahead_max = if seasons == Seasons::OfDays { AHEAD_DAYS_MAX } else { STEPS_MAX };
    let steps = (history.values.len() * AHEAD).min(ahead_max);
    let Some(expected) = expect(history, seasons, steps) else { return found };
    let per_day = expected.slope * (width_s(Resolution::Day) as f64 / history.step_s as f64);
    found.growth_bytes_per_day = Some(per_day.round() as i64);
    found.until = Some(end_of(history, steps - 1));
    found.reaches = asked.levels.iter().map(|level| reach(asked, history, &expected, *level)).collect();
    found.points = points(history, &expected);
    let is_near = found.reaches.iter().any(|reach| !reach.reached && reach.earliest.is_some());
    found.state = if is_near { ForecastState::Growing } else { ForecastState::Steady };
    found
}

fn reach(
    asked: &Asked,
    history: &Even,
    expected: &Expected,
    (level, bytes): (ForecastLevel, u64),
) -> ForecastReach {
    let reached = asked.used_bytes >= bytes;
    let found = if reached { Default::default() } else { crossing(expected, bytes as f64) };
    let time = |step: Option<usize>| step.map(|step| end_of(history, step));
    let (earliest, expected, latest) = (time(found.earliest), time(found.expected), time(found.latest));
    ForecastReach { level, bytes, reached, earliest, expected, latest }
}

fn points(history: &Even, expected: &Expected) -> Vec<ForecastPoint> {
    let steps = expected.mean.len();
    let apart = steps.div_ceil(POINTS_MAX);
    let last_of_each = (1..=steps).filter(|step| step % apart == 0 || *step == steps).map(|step| step - 1);
    let point = |step: usize| ForecastPoint {
        time: end_of(history, step),
        low: expected.low[step],
        expected: expected.mean[step],
        high: expected.high[step],
    };
    let mut all: Vec<ForecastPoint> = last_of_each.map(point).collect();
    // The end is there even where it does not fall on a step.
    if all.len() > POINTS_MAX {
        all.remove(all.len() - 2);
    }
    all
}

fn load(series: Series, history: Option<&Even>) -> LoadForecast {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let last_day = history.map_or(0.0, |history| {
        let values = &history.values;
        mean(&values[values.len().saturating_sub(DAY_HOURS)..])
    });
    let mut found = LoadForecast {
        series,
        history_hours: hours(history),
        needed_hours: HISTORY_MIN as u64,
        last_day,
        spans: Vec::new(),
    };
    let Some(history) = history else { return found };
    let lengths = [DAY_HOURS, WEEK_HOURS].into_iter().filter(|length| history.values.len() >= *length);
    let Some(expected) = expect(history, Seasons::OfHours, WEEK_HOURS) else { return found };
    found.spans = lengths
        .map(|length| {
            let peak =
                (0..length).max_by(|a, b| expected.mean[*a].total_cmp(&expected.mean[*b])).unwrap_or(0);
            LoadSpan {
                hours: length as u64,
                mean: mean(&expected.mean[..length]),
                peak: expected.mean[peak],
                peak_at: end_of(history, peak),
                peak_high: expected.high[peak],
            }
        })
        .collect();
    found
}

#[async_trait]
impl ForecastNode for DataNode {
    async fn show_pool_history(&self, pool: &Name, query: SeriesQuery) -> Result<SeriesHistory> {
        self.pool_history(pool, &query)
    }

    async fn show_volume_history(&self, volume: &Name, query: SeriesQuery) -> Result<SeriesHistory> {
        self.volume_history(volume, &query).await
    }

    async fn show_device_history(
        &self,
        pool: &Name,
        device: DeviceId,
        query: SeriesQuery,
    ) -> Result<SeriesHistory> {
        self.device_history(pool, device, &query)
    }

    async fn show_pool_forecast(&self, pool: &Name) -> Result<Forecast> {
        let (entry, _) = self.open_entry(pool)?;
        let pool = self.describe_pool(&entry).await?;
        self.shown_forecast(Asked::of_pool(&pool)).await
    }

    async fn show_volume_forecast(&self, volume: &Name) -> Result<Forecast> {
        match self.locate(volume).await? {
            Located::Pool(found) => self.shown_forecast(Asked::of_volume(volume.clone(), &found)).await,
            Located::Device(_) => Err(NodeError::new(
                ErrorKind::Unsupported,
                format!("volume '{volume}' is in image mode: it takes no space that could become scarce"),
            )
            .with_next_step(format!("`quarry history volume {volume} --series operations` shows its load."))),
        }
    }
}

#[cfg(test)]
mod tests;
