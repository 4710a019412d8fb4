//! The history of the node's figures: a look at everything each minute, and what is shown of what was kept.
//!
//! The looks are at what cores count anyhow, so nothing is added to an I/O. What is kept and judged is done on a thread for blocking work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};
use std::time::Duration;

use quarry_api_types::{
    DeviceId, Name, ObjectKind, Pool, Resolution, SeriesHistory, SeriesPoint, SeriesQuery, Timestamp,
};
use quarry_history::{History, HistoryFile, Opened, Recorded, SERIES_MAX, Sample, SeriesKey, width_s};
use quarry_node_api::{ErrorKind, NodeError, Result};
use quarry_types::{PoolId, VolumeId};
use quarry_volume::FiguresSeen;
use tokio::time::Instant;
use uuid::Uuid;

use super::anomalies::{Anomalies, Finding};
use super::figures::NodeFigures;
use super::history_samples::{Thing, of_device, of_requests, of_space};
use super::{DataNode, now};

/// How often everything is looked at: once for each of the finest points.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// So many volumes have a history, those that are used most. With that of pools and devices it is what
/// [`quarry_history::SERIES_MAX`] holds.
const VOLUMES_MAX: usize = 128;

/// What is known of the past, and of what is unusual.
#[derive(Default)]
pub(super) struct Keeper {
    kept: StdMutex<Kept>,
    /// Absent where the history is not kept over restarts.
    file: Option<HistoryFile>,
}

#[derive(Default)]
struct Kept {
    history: History,
    anomalies: Anomalies,
    /// Whether the last samples were not taken, because of the clock.
    is_behind: bool,
    /// Whether it was said that there are too many series.
    is_full: bool,
}

/// The figures of the last look, and who has a place.
#[derive(Default)]
pub(super) struct LastLook {
    figures: Option<NodeFigures>,
    places: BTreeSet<VolumeId>,
}

/// A thing of which there is a history, as a look has found it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) pool: Option<Name>,
}

/// Everything that a look has found, by its id.
pub(super) type KnownThings = BTreeMap<(ObjectKind, Uuid), Known>;

/// What a look has seen.
struct Looked {
    samples: Vec<(SeriesKey, Sample)>,
    known: KnownThings,
    /// Whether nothing may be missing: every pool is open.
    is_all: bool,
    pools: Vec<Pool>,
}

impl Keeper {
    pub(super) fn new(opened: Opened, standing: &BTreeMap<String, String>) -> Self {
        let kept =
            Kept { history: opened.history, anomalies: Anomalies::standing(standing), ..Kept::default() };
        Self { kept: StdMutex::new(kept), file: Some(opened.file) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics with this lock: a panic ends the process")
    }

    /// Looks at the history.
    pub(super) fn read<T>(&self, work: impl FnOnce(&History) -> T) -> T {
        work(&self.kept().history)
    }

    /// Takes samples, keeps them, and says what has become unusual or usual. Blocks on the disk.
    fn take(&self, time_s: u64, samples: &[(SeriesKey, Sample)]) -> Vec<Finding> {
        let (changes, findings) = {
            let mut kept = self.kept();
            let Kept { history, anomalies, is_behind, is_full } = &mut *kept;
            let (recorded, changes) = history.record(time_s, samples);
            say(recorded, is_behind);
            if history.refused_samples() > 0 && !std::mem::replace(is_full, true) {
                tracing::warn!(
                    "{SERIES_MAX} figures have a history; no more will, until one is silent for a day"
                );
            }
            let is_taken = matches!(recorded, Recorded::Kept | Recorded::WentBack(_));
            let findings = if is_taken { anomalies.judge(history, time_s, samples) } else { Vec::new() };
            (changes, findings)
        };
        // Whoever reads does not wait for the disk.
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.keep(&changes)) {
            tracing::error!(%error, "a minute of the history was not kept");
        }
        findings
    }
}

/// Says once what the clock has done.
fn say(recorded: Recorded, is_behind: &mut bool) {
    let was_behind =
        std::mem::replace(is_behind, matches!(recorded, Recorded::Behind(_) | Recorded::ClockUnset));
    match recorded {
        Recorded::Kept => {}
        Recorded::ClockUnset if !was_behind => {
            tracing::warn!("the clock was never set: no history is kept until it is");
        }
        Recorded::Behind(by_s) if !was_behind => tracing::warn!(
            "the clock is {by_s} s before the newest figures of the history: if that stays so for an hour, what is later goes"
        ),
        Recorded::WentBack(by_s) => {
            tracing::warn!(
                "the clock has gone back by {by_s} s: the history of the time after it was dropped"
            );
        }
        Recorded::ClockUnset | Recorded::Behind(_) => {}
    }
}

impl DataNode {
    /// The node with a history that is kept. Before anything looks at it.
    #[must_use]
    pub fn with_history(self, opened: Opened) -> Self {
        let standing = self.conditions_before(super::anomalies::is_of_anomaly);
        Self { history: Arc::new(Keeper::new(opened, &standing)), ..self }
    }

    /// Looks at everything each minute. Runs until the node ends.
    pub async fn keep_history(&self) {
        let mut last = Instant::now();
        loop {
            let elapsed = last.elapsed();
            last = Instant::now();
            if let Err(error) = self.look_at_figures(now().unix_ms() / 1000, elapsed).await {
                // The next look tells more; while the node stops there is none.
                tracing::debug!(%error, "the figures could not be looked at");
            }
            tokio::time::sleep_until(last + LOOK_EVERY).await;
        }
    }

    /// Looks at everything at a time, so long after the last look, and tells what is new.
    pub(super) async fn look_at_figures(&self, time_s: u64, elapsed: Duration) -> Result<()> {
        let Looked { samples, known, is_all, pools } = self.look_around(elapsed).await?;
        self.take_samples(time_s, samples, &known).await?;
        self.forget_unknown(&known, is_all).await;
        self.look_ahead(time_s, &pools).await
    }

    /// Takes what was seen at a time into the history, and tells what has become unusual.
    pub(super) async fn take_samples(
        &self,
        time_s: u64,
        samples: Vec<(SeriesKey, Sample)>,
        known: &KnownThings,
    ) -> Result<()> {
        let keeper = self.history.clone();
        let taking = tokio::task::spawn_blocking(move || keeper.take(time_s, &samples));
        let findings = taking.await.map_err(|_| stopping())?;
        self.tell_findings(findings, known).await;
        Ok(())
    }

    async fn forget_unknown(&self, known: &KnownThings, is_all: bool) {
        let gone = if is_all { self.history.kept().anomalies.forget(known) } else { Vec::new() };
        if !gone.is_empty() {
            self.record(Vec::new(), gone).await;
        }
    }

    async fn look_around(&self, elapsed: Duration) -> Result<Looked> {
        let pools = self.describe_pools().await?;
        let figures = self.gather_figures().await?;
        let volumes = self.volumes_of(None).await?;
        let names: BTreeMap<PoolId, Name> = pools.iter().map(|pool| (pool.id, pool.name.clone())).collect();
        let (mut samples, mut known) = (Vec::new(), KnownThings::new());
        let mut last = self.last_look.lock().await;
        let nothing = (FiguresSeen::default(), Default::default());
        let before = last.figures.as_ref();
        for pool in &pools {
            known.insert((ObjectKind::Pool, pool.id.0), Known { name: pool.name.to_string(), pool: None });
        }
        let open = |pool: &&Pool| pool.state != quarry_api_types::PoolState::Offline;
        for pool in pools.iter().filter(open) {
            samples.extend(of_space(pool));
            let thing = Thing { kind: ObjectKind::Pool, id: pool.id.0 };
            if let Some(before) = before {
                let (before, now) = (total(before, pool.id), total(&figures, pool.id));
                samples.extend(of_requests(thing, &before, &now, elapsed));
            }
        }
        for ((pool, id), device) in self.device_places() {
            known.insert(
                (ObjectKind::Device, id),
                Known { name: device.path, pool: names.get(&pool).cloned() },
            );
            let place = (pool, device.index);
            if let (Some(before), Some(now)) = (before, figures.devices.get(&place)) {
                let before = before.devices.get(&place).unwrap_or(&nothing.1);
                samples.extend(of_device(id, before, now, elapsed));
            }
        }
        let uses = |id: &VolumeId| figures.volumes.get(id).map_or(0, FiguresSeen::operations);
        let images: Vec<(VolumeId, String)> =
            self.images().iter().map(|(id, image)| (*id, image.record.name.to_string())).collect();
        let all = volumes.iter().map(|found| found.status.id).chain(images.iter().map(|(id, _)| *id));
        super::io_metrics::choose(&mut last.places, all.map(|id| (id, uses(&id))), VOLUMES_MAX);
        let in_pools = volumes.iter().map(|found| {
            let used = Some(found.status.mapped_bytes);
            (found.status.id, found.status.name.clone(), names.get(&found.pool).cloned(), used)
        });
        for (id, name, pool, used) in
            in_pools.chain(images.into_iter().map(|(id, name)| (id, name, None, None)))
        {
            known.insert((ObjectKind::Volume, id.0), Known { name, pool });
            if !last.places.contains(&id) {
                continue;
            }
            let thing = Thing { kind: ObjectKind::Volume, id: id.0 };
            let key =
                SeriesKey { kind: thing.kind, object: thing.id, series: quarry_api_types::Series::Used };
            samples.extend(used.map(|used| (key, Sample::of(used as f64))));
            if let Some(before) = last.figures.as_ref() {
                let before = before.volumes.get(&id).unwrap_or(&nothing.0);
                let now = figures.volumes.get(&id).unwrap_or(&nothing.0);
                samples.extend(of_requests(thing, before, now, elapsed));
            }
        }
        last.figures = Some(figures);
        let is_all = pools.iter().all(|pool| open(&pool));
        Ok(Looked { samples, known, is_all, pools })
    }

    /// Devices of open pools, with the ids by which they have a history.
    fn device_places(&self) -> Vec<((PoolId, Uuid), DevicePlace)> {
        let mut all = Vec::new();
        for entry in self.pools().values() {
            let Ok(open) = &entry.opened else { continue };
            all.extend(open.shared.devices().into_iter().map(|device| {
                let place = DevicePlace { index: device.index, path: device.path.display().to_string() };
                ((entry.record.id, device.id.0), place)
            }));
        }
        all
    }

    pub(super) fn pool_history(&self, pool: &Name, query: &SeriesQuery) -> Result<SeriesHistory> {
        let id = self.pool_entry(pool)?.record.id;
        self.shown_history(ObjectKind::Pool, id.0, pool.to_string(), query)
    }

    pub(super) async fn volume_history(&self, volume: &Name, query: &SeriesQuery) -> Result<SeriesHistory> {
        let id = self.locate(volume).await?.id();
        self.shown_history(ObjectKind::Volume, id.0, volume.to_string(), query)
    }

    pub(super) fn device_history(
        &self,
        pool: &Name,
        device: DeviceId,
        query: &SeriesQuery,
    ) -> Result<SeriesHistory> {
        let member = self.find_member(pool, device)?;
        let path = member.status.path.display().to_string();
        self.shown_history(ObjectKind::Device, device.0, path, query)
    }

    fn shown_history(
        &self,
        object_kind: ObjectKind,
        id: Uuid,
        object: String,
        query: &SeriesQuery,
    ) -> Result<SeriesHistory> {
        let series = query.figure(object_kind)?;
        let key = SeriesKey { kind: object_kind, object: id, series };
        let from_s = query.from.map_or(0, |from| from.unix_ms() / 1000);
        Ok(self.history.read(|history| {
            let finest = || query.from.map_or(Resolution::Hour, |_| history.resolution_since(from_s));
            let resolution = query.resolution.unwrap_or_else(finest);
            let point = |(begin_s, point): (u64, &quarry_history::Point)| SeriesPoint {
                time: Timestamp::from_unix_ms(begin_s.saturating_mul(1000)),
                mean: point.mean(),
                min: point.min(),
                max: point.max(),
                count: point.count(),
            };
            SeriesHistory {
                object_kind,
                object,
                series,
                unit: series.unit(),
                resolution,
                step_s: width_s(resolution),
                points: history.points(&key, resolution, from_s).map(point).collect(),
            }
        }))
    }
}

struct DevicePlace {
    index: u16,
    path: String,
}

fn total(figures: &NodeFigures, pool: PoolId) -> FiguresSeen {
    let mut sum = FiguresSeen::default();
    let engines = figures.engines.iter().filter(|((of, _), _)| *of == pool);
    engines.for_each(|(_, engine)| sum += &engine.total);
    sum
}

pub(super) fn stopping() -> NodeError {
    NodeError::new(ErrorKind::Unavailable, "the node is stopping")
}
