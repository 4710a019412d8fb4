//! History and forecasts of the node in memory: everything grows by a gibibyte a day.

use async_trait::async_trait;
use quarry_api_types::*;
use quarry_node_api::{ForecastNode, Result};

use super::{MemoryNode, NOW_MS};

const HOUR_MS: u64 = 3_600_000;
const DAY_BYTES: u64 = 1 << 30;

fn in_hours(hours: u64) -> Timestamp {
    Timestamp::from_unix_ms(NOW_MS + hours * HOUR_MS)
}

fn history(object_kind: ObjectKind, object: String, query: &SeriesQuery) -> Result<SeriesHistory> {
    let series = query.figure(object_kind)?;
    let point = |back: u64| SeriesPoint {
        time: Timestamp::from_unix_ms(NOW_MS - back * HOUR_MS),
        mean: (100 - back) as f64,
        min: 0.0,
        max: 100.0,
        count: 60,
    };
    let is_asked =
        |point: &SeriesPoint| query.from.is_none_or(|from| point.time.unix_ms() + HOUR_MS > from.unix_ms());
    Ok(SeriesHistory {
        object_kind,
        object,
        series,
        unit: series.unit(),
        resolution: query.resolution.unwrap_or(Resolution::Hour),
        step_s: 3600,
        points: (0..48).rev().map(point).filter(is_asked).collect(),
    })
}

fn forecast(object_kind: ObjectKind, object: &Name, full_bytes: u64) -> Forecast {
    let hours = full_bytes / DAY_BYTES * 24;
    let reach = ForecastReach {
        level: ForecastLevel::Full,
        bytes: full_bytes,
        reached: false,
        earliest: Some(in_hours(hours / 2)),
        expected: Some(in_hours(hours)),
        latest: None,
    };
    let point = |day: u64| {
        let expected = (day * DAY_BYTES) as f64;
        ForecastPoint { time: in_hours(day * 24), low: expected / 2.0, expected, high: expected * 2.0 }
    };
    let span = |hours: u64| LoadSpan { hours, mean: 10.0, peak: 20.0, peak_at: in_hours(5), peak_high: 30.0 };
    let load = |series| LoadForecast {
        series,
        history_hours: 48,
        needed_hours: 24,
        last_day: 9.0,
        spans: vec![span(24)],
    };
    Forecast {
        object_kind,
        object: object.clone(),
        at: Timestamp::from_unix_ms(NOW_MS),
        level_percent: 95,
        capacity: CapacityForecast {
            state: ForecastState::Growing,
            history_hours: 48,
            needed_hours: 24,
            used_bytes: 0,
            growth_bytes_per_day: Some(DAY_BYTES as i64),
            until: Some(in_hours(8 * 24)),
            reaches: vec![reach],
            points: (1..=8).map(point).collect(),
        },
        load: vec![load(Series::Operations), load(Series::Throughput)],
    }
}

#[async_trait]
impl ForecastNode for MemoryNode {
    async fn show_pool_history(&self, pool: &Name, query: SeriesQuery) -> Result<SeriesHistory> {
        self.begin().await?.pool(pool)?;
        history(ObjectKind::Pool, pool.to_string(), &query)
    }

    async fn show_volume_history(&self, volume: &Name, query: SeriesQuery) -> Result<SeriesHistory> {
        self.begin().await?.volume(volume)?;
        history(ObjectKind::Volume, volume.to_string(), &query)
    }

    async fn show_device_history(
        &self,
        pool: &Name,
        device: DeviceId,
        query: SeriesQuery,
    ) -> Result<SeriesHistory> {
        let state = self.begin().await?;
        let found = state.pool(pool)?.devices.iter().find(|member| member.id == device);
        let found = found.ok_or_else(|| quarry_node_api::NodeError::not_found("device", device))?;
        history(ObjectKind::Device, found.path.clone(), &query)
    }

    async fn show_pool_forecast(&self, pool: &Name) -> Result<Forecast> {
        let full_bytes = self.begin().await?.pool(pool)?.capacity.total_bytes;
        Ok(forecast(ObjectKind::Pool, pool, full_bytes))
    }

    async fn show_volume_forecast(&self, volume: &Name) -> Result<Forecast> {
        let full_bytes = self.begin().await?.volume(volume)?.size_bytes;
        Ok(forecast(ObjectKind::Volume, volume, full_bytes))
    }
}
