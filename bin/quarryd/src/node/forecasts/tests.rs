//! History, forecasts and warnings of a real node, with time as an argument.

use std::time::Duration;

use quarry_api_types::{Event, EventKind, EventSeverity, EventsQuery};
use quarry_history::Sample;
use quarry_node_api::Node as _;
use tempfile::TempDir;

use super::*;
use crate::node::history::{Known, KnownThings};
use crate::test_node::{TestNode, name, settings};

/// 2026-11-02T00:00:00Z, a Monday.
const START_S: u64 = 1_793_577_600;
const QUARTER_S: u64 = 900;
const DAY_S: u64 = 86400;

async fn put(node: &TestNode, time_s: u64, key: SeriesKey, sample: Sample) {
    let known = KnownThings::from([(
        (key.kind, key.object),
        Known { name: if key.kind == ObjectKind::Pool { "p" } else { "a" }.to_owned(), pool: None },
    )]);
    node.node.take_samples(time_s, vec![(key, sample)], &known).await.expect("the node runs");
}

async fn events(node: &TestNode, kinds: &[EventKind]) -> Vec<Event> {
    let all = node.node.list_events(EventsQuery::default()).await.expect("events").events;
    all.into_iter().filter(|event| kinds.contains(&event.kind)).collect()
}

/// The points of a figure of volume `a`, by the minute.
async fn minutes(node: &TestNode, series: Series) -> Vec<quarry_api_types::SeriesPoint> {
    let query =
        SeriesQuery { series: Some(series), resolution: Some(Resolution::Minute), ..SeriesQuery::default() };
    node.node.show_volume_history(&name("a"), query).await.expect("a history").points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_hosts_do_is_kept_over_the_end_of_the_process() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a", "b"]).await;
    let minute = Duration::from_secs(60);
    node.node.look_at_figures(START_S, minute).await.expect("a look");
    node.write("a", 0, 12).await;
    node.node.look_at_figures(START_S + 60, minute).await.expect("a look");
    node.node.look_at_figures(START_S + 120, minute).await.expect("a look");
    let mean =
        |points: &[quarry_api_types::SeriesPoint]| points.iter().map(|point| point.mean).collect::<Vec<_>>();
    let throughput = minutes(&node, Series::Throughput).await;
    assert_eq!(mean(&throughput), [(12 << 20) as f64 / 60.0, 0.0]);
    let operations = minutes(&node, Series::Operations).await;
    assert_eq!(mean(&operations), [13.0 / 60.0, 0.0], "writes and a flush");
    let latency = minutes(&node, Series::WriteLatency).await;
    assert_eq!((latency.len(), latency[0].count), (1, 12), "a minute without writes has no latency");
    assert!(latency[0].mean > 0.0 && minutes(&node, Series::ReadLatency).await.is_empty());
    assert_eq!(mean(&minutes(&node, Series::Used).await), [0.0, (12 << 20) as f64, (12 << 20) as f64]);
    let pool = node.node.show_pool(&name("p")).await.expect("the pool");
    let device = pool.devices[0].id;
    let query = SeriesQuery {
        series: Some(Series::Throughput),
        resolution: Some(Resolution::Minute),
        ..SeriesQuery::default()
    };
    let of_device =
        node.node.show_device_history(&name("p"), device, query.clone()).await.expect("a history");
    assert!(of_device.points[0].mean >= (12 << 20) as f64 / 60.0, "{of_device:?}");
    assert_eq!(of_device.object, pool.devices[0].path);
    let wrong = SeriesQuery { series: Some(Series::Stored), ..query };
    let error = node.node.show_volume_history(&name("a"), wrong).await.expect_err("volumes have no slots");
    assert_eq!(error.kind, ErrorKind::Contradictory);
    assert!(node.node.show_pool_history(&name("q"), SeriesQuery::default()).await.is_err());
    // Nothing is closed: as when the process is killed.
    node.abandon().await;

    let node = TestNode::start(settings(directory.path())).await;
    assert_eq!(minutes(&node, Series::Throughput).await, throughput);
    assert_eq!(minutes(&node, Series::WriteLatency).await, latency);
    // Counters begin anew with the process, and no rate is made of that.
    node.node.look_at_figures(START_S + 180, minute).await.expect("a look");
    node.node.look_at_figures(START_S + 240, minute).await.expect("a look");
    assert_eq!(mean(&minutes(&node, Series::Throughput).await)[2..], [0.0]);
    node.node.delete_volume(&name("a"), false).await.expect("it goes");
    assert!(node.node.show_volume_history(&name("a"), SeriesQuery::default()).await.is_err());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pool_that_grows_has_a_forecast_and_is_warned_of_until_it_does_not() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a"]).await;
    let pool = node.node.show_pool(&name("p")).await.expect("the pool");
    let usable = usable_bytes(&pool) as f64;
    let early = node.node.show_pool_forecast(&name("p")).await.expect("a forecast").capacity;
    assert_eq!((early.state, early.history_hours, early.needed_hours), (ForecastState::TooEarly, 0, 24));
    let key = SeriesKey { kind: ObjectKind::Pool, object: pool.id.0, series: Series::Used };
    let kinds = [EventKind::PoolFillsSoon, EventKind::PoolFillsLater];
    let mut share = 0.32;
    let mut time_s = START_S;
    // Two days at five percent a day: 80 % in less than eight days, full in twelve.
    while time_s < START_S + 2 * DAY_S {
        put(&node, time_s, key, Sample::of(usable * share)).await;
        share += 0.05 * QUARTER_S as f64 / DAY_S as f64;
        time_s += QUARTER_S;
    }
    put(&node, time_s, key, Sample::of(usable * share)).await;
    node.node.look_ahead(time_s, std::slice::from_ref(&pool)).await.expect("a look");
    let forecast = node.node.show_pool_forecast(&name("p")).await.expect("a forecast").capacity;
    assert_eq!((forecast.state, forecast.history_hours), (ForecastState::Growing, 48));
    let growth = forecast.growth_bytes_per_day.expect("it grows") as f64 / usable;
    assert!((0.049..0.051).contains(&growth), "{growth}");
    let [warning, critical, full] = &forecast.reaches[..] else { panic!("{forecast:?}") };
    let days = |time: Option<Timestamp>| {
        (time.expect("it is in sight").unix_ms() / 1000).saturating_sub(time_s) as f64 / DAY_S as f64
    };
    assert_eq!(
        [warning.level, critical.level, full.level],
        [ForecastLevel::Warning, ForecastLevel::Critical, ForecastLevel::Full]
    );
    assert!((7.3..7.9).contains(&days(warning.expected)), "{}", days(warning.expected));
    assert!(warning.earliest <= warning.expected && critical.expected.is_none(), "{forecast:?}");
    assert!(forecast.points.len() <= POINTS_MAX && forecast.points.len() > 10);
    assert_eq!(events(&node, &kinds).await, []);
    // Faster: full in less than seven days.
    for _ in 0..2 * 96 {
        time_s += QUARTER_S;
        share += 0.10 * QUARTER_S as f64 / DAY_S as f64;
        put(&node, time_s, key, Sample::of(usable * share)).await;
    }
    for _ in 0..3 {
        node.node.look_ahead(time_s, std::slice::from_ref(&pool)).await.expect("a look");
    }
    let told = events(&node, &kinds).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].kind, told[0].severity), (EventKind::PoolFillsSoon, EventSeverity::Warning));
    assert!(
        told[0].cause.as_ref().is_some_and(|cause| cause.contains("a day: full on 2026-11-")),
        "{told:?}"
    );
    // Somebody makes space, and nothing grows any more.
    for _ in 0..12 * 96 {
        time_s += QUARTER_S;
        put(&node, time_s, key, Sample::of(usable * 0.2)).await;
    }
    node.node.look_ahead(time_s, std::slice::from_ref(&pool)).await.expect("a look");
    let told = events(&node, &kinds).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].kind, EventKind::PoolFillsLater);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_latency_far_above_its_past_is_told_and_its_end() {
    let directory = TempDir::new().expect("a directory");
    let node = TestNode::with_volumes(directory.path(), &["a"]).await;
    let volume = node.node.show_volume(&name("a")).await.expect("the volume");
    let key = SeriesKey { kind: ObjectKind::Volume, object: volume.id.0, series: Series::ReadLatency };
    let kinds = [EventKind::LatencyUnusual, EventKind::LatencyUsual];
    let latency = |us: f64, count| Sample { value: us, count };
    let mut time_s = START_S;
    // A new volume is no anomaly, however slow it is.
    for _ in 0..10 {
        time_s += 60;
        put(&node, time_s, key, latency(90_000.0, 100)).await;
    }
    // Two days, and as much of a third that it is not the same time of the day.
    for quarter in 0..2 * 96 + 20 {
        time_s += QUARTER_S;
        put(&node, time_s, key, latency(2000.0 + f64::from(quarter % 7) * 50.0, 100)).await;
    }
    // Nor are few requests, or few minutes.
    for (us, count, minutes) in [(80_000.0, 5, 20), (80_000.0, 100, 4), (2000.0, 100, 3)] {
        for _ in 0..minutes {
            time_s += 60;
            put(&node, time_s, key, latency(us, count)).await;
        }
    }
    assert_eq!(events(&node, &kinds).await, []);
    for _ in 0..20 {
        time_s += 60;
        put(&node, time_s, key, latency(80_000.0, 100)).await;
    }
    let told = events(&node, &kinds).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].kind, told[0].severity, &told[0].object[..]),
        (EventKind::LatencyUnusual, EventSeverity::Warning, "a")
    );
    let cause = told[0].cause.as_deref().unwrap_or_default();
    assert!(cause.contains("80.0 ms") && cause.contains("is usual"), "{cause}");
    assert!(told[0].next_step.as_ref().is_some_and(|step| step.contains("quarry slow-requests")));
    assert_eq!(standing(&node), 1);
    for _ in 0..12 {
        time_s += 60;
        put(&node, time_s, key, latency(2100.0, 100)).await;
    }
    let told = events(&node, &kinds).await;
    assert_eq!(
        (told.len(), told[1].kind, told[1].severity),
        (2, EventKind::LatencyUsual, EventSeverity::Info)
    );
    assert_eq!(standing(&node), 0);
    node.stop().await;
}

/// How many conditions of this sort the event log has.
fn standing(node: &TestNode) -> usize {
    let conditions = node.node.events.conditions().expect("conditions");
    conditions.keys().filter(|key| crate::node::anomalies::is_of_anomaly(key)).count()
}
