//! What the node shows of its work over the API.

use async_trait::async_trait;
use quarry_api_types::{
    Configuration, DeviceStats, Latency, LogLines, Name, NodeStats, OperationStats, PoolStats, SlowRequests,
    StageStats, VolumeStats,
};
use quarry_device::{DeviceFigures, Operation};
use quarry_engine::EngineStatus;
use quarry_histogram::{Distribution, lower_bound_us};
use quarry_node_api::{NodeError, ObserveNode, Result};
use quarry_types::VolumeId;
use quarry_volume::{FiguresSeen, Stage, Verb, VerbFigures};

use super::figures::NodeFigures;
use super::slow::stage_word;
use super::{DataNode, PoolEntry, now};

impl DataNode {
    /// Every volume by name, with its pool.
    async fn volume_places(&self) -> Result<Vec<(Name, VolumeId, Option<Name>)>> {
        let pools: Vec<_> =
            self.pools().values().map(|entry| (entry.record.id, entry.record.name.clone())).collect();
        let mut all = Vec::new();
        for found in self.volumes_of(None).await? {
            let pool = pools.iter().find(|(id, _)| *id == found.pool).map(|(_, name)| name.clone());
            let name = found.status.name.parse();
            all.extend(name.ok().map(|name| (name, found.status.id, pool)));
        }
        all.extend(self.images().iter().map(|(id, image)| (image.record.name.clone(), *id, None)));
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(all)
    }

    async fn pool_stats(&self, entry: &PoolEntry, figures: &NodeFigures) -> Result<PoolStats> {
        let id = entry.record.id;
        let statuses = self.engine_statuses(Some(id)).await?;
        let sum = |value: fn(&EngineStatus) -> u64| statuses.iter().map(value).sum();
        let mut total = FiguresSeen::default();
        let mut stages: [Distribution; Stage::ALL.len()] = Default::default();
        let (mut lookups, mut lookups_missed) = (0, 0);
        for ((_, _), engine) in figures.engines.iter().filter(|((pool, _), _)| *pool == id) {
            total += &engine.total;
            for ((_, latencies), sum) in engine.stages.iter().zip(&mut stages) {
                *sum += latencies;
            }
            lookups += engine.lookups;
            lookups_missed += engine.lookups_missed;
        }
        let stage = |(stage, latencies): (Stage, &Distribution)| StageStats {
            stage: stage_word(stage),
            latency: latency(latencies),
        };
        Ok(PoolStats {
            pool: entry.record.name.clone(),
            pool_id: id,
            read: operations(total.of(Verb::Read)),
            write: operations(total.of(Verb::Write)),
            zero: operations(total.of(Verb::Zero)),
            discard: operations(total.of(Verb::Discard)),
            flush: operations(total.of(Verb::Flush)),
            stages: Stage::ALL.into_iter().zip(&stages).map(stage).collect(),
            written_bytes: sum(|engine| engine.written_bytes),
            appended_bytes: sum(|engine| engine.appended_bytes),
            map_bytes: sum(|engine| engine.node_bytes),
            moved_bytes: sum(|engine| engine.moved_bytes),
            lookups,
            lookups_missed,
        })
    }

    fn device_stats(&self, figures: &NodeFigures) -> Vec<DeviceStats> {
        let none = DeviceFigures::default();
        let mut all = Vec::new();
        for entry in self.pools().values() {
            let Ok(opened) = &entry.opened else { continue };
            for device in opened.shared.devices() {
                let seen = figures.devices.get(&(entry.record.id, device.index)).unwrap_or(&none);
                let (stats, of) = (seen.stats, |operation, bytes| device_operations(seen, operation, bytes));
                all.push(DeviceStats {
                    pool: entry.record.name.clone(),
                    device_id: device.id,
                    path: device.path.display().to_string(),
                    in_flight: seen.in_flight,
                    errors: stats.errors,
                    corruptions: stats.corruptions,
                    read: of(Operation::Read, stats.read_bytes),
                    write: of(Operation::Write, stats.written_bytes),
                    flush: of(Operation::Flush, 0),
                    discard: of(Operation::Discard, 0),
                });
            }
        }
        all
    }
}

fn latency(latencies: &Distribution) -> Latency {
    Latency {
        total_us: latencies.total().as_micros() as u64,
        buckets: latencies.pairs().map(|(bucket, count)| (lower_bound_us(bucket), count)).collect(),
    }
}

fn operations(verb: &VerbFigures) -> OperationStats {
    OperationStats {
        operations: verb.latency.count(),
        errors: verb.errors,
        bytes: verb.bytes,
        latency: latency(&verb.latency),
    }
}

fn device_operations(seen: &DeviceFigures, operation: Operation, bytes: u64) -> OperationStats {
    let latencies = seen.latencies.of(operation);
    OperationStats { operations: latencies.count(), errors: 0, bytes, latency: latency(latencies) }
}

fn volume_stats((volume, id, pool): (Name, VolumeId, Option<Name>), seen: &FiguresSeen) -> VolumeStats {
    VolumeStats {
        volume,
        volume_id: id,
        at: now(),
        pool,
        in_flight: seen.in_flight,
        read: operations(seen.of(Verb::Read)),
        write: operations(seen.of(Verb::Write)),
        zero: operations(seen.of(Verb::Zero)),
        discard: operations(seen.of(Verb::Discard)),
        flush: operations(seen.of(Verb::Flush)),
    }
}

#[async_trait]
impl ObserveNode for DataNode {
    async fn show_volume_stats(&self, name: &Name) -> Result<VolumeStats> {
        let place = self.volume_places().await?.into_iter().find(|(known, ..)| known == name);
        let place = place.ok_or_else(|| NodeError::not_found("volume", name))?;
        let figures = self.gather_figures().await?;
        let seen = figures.volumes.get(&place.1).cloned().unwrap_or_default();
        Ok(volume_stats(place, &seen))
    }

    async fn show_stats(&self) -> Result<NodeStats> {
        let figures = self.gather_figures().await?;
        let used = |id: &VolumeId| {
            figures.volumes.get(id).filter(|seen| seen.operations() > 0 || seen.in_flight > 0)
        };
        let places = self.volume_places().await?.into_iter();
        let volumes = places.filter_map(|place| used(&place.1).map(|seen| volume_stats(place, seen)));
        let volumes = volumes.collect();
        let entries: Vec<PoolEntry> =
            self.pools().values().filter(|entry| entry.opened.is_ok()).cloned().collect();
        let mut pools = Vec::new();
        for entry in &entries {
            pools.push(self.pool_stats(entry, &figures).await?);
        }
        pools.sort_by(|a, b| a.pool.cmp(&b.pool));
        Ok(NodeStats { at: now(), volumes, devices: self.device_stats(&figures), pools })
    }

    async fn list_slow_requests(&self) -> Result<SlowRequests> {
        self.describe_slow().await
    }

    async fn show_log(&self) -> Result<LogLines> {
        Ok(LogLines { lines: crate::log_lines::recent() })
    }

    async fn show_configuration(&self) -> Result<Configuration> {
        Ok(self.settings.describe())
    }
}
