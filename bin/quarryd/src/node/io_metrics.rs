//! Figures for Prometheus of what hosts do, by volume and by pool, and of what devices do.
//!
//! Volumes are without number, and what watches figures is not: so many of them as the node was told have series of their own. A place
//! goes to the volume that hosts have used most when there is one, and stays with it until the volume is gone, so that no series
//! jumps. Series of pools have every volume, those that are gone included; what volumes without a place do is the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use quarry_device::{DeviceFigures, Operation};
use quarry_histogram::Distribution;
use quarry_node_api::Result;
use quarry_types::{PoolId, VolumeId};
use quarry_volume::{FiguresSeen, Verb, VerbFigures};

use super::DataNode;
use super::exposition::{Family, labels, put, put_latencies, put_one};
use super::figures::NodeFigures;
use super::volumes::FoundVolume;

const VOLUMES: Family = ("quarry_volumes", "gauge", "Volumes, those in image mode included.");
const VOLUMES_SHOWN: Family = (
    "quarry_volumes_with_series",
    "gauge",
    "Volumes that have series of their own; the others are in those of their pool alone.",
);
const VOLUME_LATENCY: Family = (
    "quarry_volume_request_seconds",
    "histogram",
    "How long requests of hosts to a volume took, those that failed included.",
);
const VOLUME_BYTES: Family =
    ("quarry_volume_request_bytes_total", "counter", "Bytes of requests of hosts to a volume.");
const VOLUME_ERRORS: Family =
    ("quarry_volume_request_errors_total", "counter", "Requests of hosts to a volume that failed.");
const VOLUME_IN_FLIGHT: Family =
    ("quarry_volume_requests_in_flight", "gauge", "Requests of hosts to a volume that have not ended.");
const VOLUME_SIZE: Family = ("quarry_volume_size_bytes", "gauge", "Size of a volume as hosts see it.");
const VOLUME_USED: Family = ("quarry_volume_used_bytes", "gauge", "Bytes of a volume that hold data.");
const POOL_LATENCY: Family = (
    "quarry_pool_request_seconds",
    "histogram",
    "How long requests of hosts to all volumes and snapshots of a pool took, those that are gone included.",
);
const POOL_BYTES: Family =
    ("quarry_pool_request_bytes_total", "counter", "Bytes of requests of hosts to all volumes of a pool.");
const POOL_ERRORS: Family =
    ("quarry_pool_request_errors_total", "counter", "Requests of hosts to volumes of a pool that failed.");
const POOL_IN_FLIGHT: Family = (
    "quarry_pool_requests_in_flight",
    "gauge",
    "Requests of hosts to all volumes of a pool that have not ended.",
);
const STAGE: Family = (
    "quarry_log_stage_seconds",
    "histogram",
    "How long requests of hosts were in a stage of their way: queue, log, flush, lookup, device.",
);
const LOOKUPS: Family = ("quarry_map_lookups_total", "counter", "Looks into the maps of a log.");
const LOOKUPS_MISSED: Family = (
    "quarry_map_lookups_missed_total",
    "counter",
    "Of these, those that had to read nodes of the map from devices.",
);
const DEVICE_LATENCY: Family = (
    "quarry_device_operation_seconds",
    "histogram",
    "How long operations of a device took, those that failed included.",
);
const DEVICE_BYTES: Family =
    ("quarry_device_bytes_total", "counter", "Bytes read from a device and written to it.");
const DEVICE_ERRORS: Family =
    ("quarry_device_errors_total", "counter", "Operations of a device that failed.");
const DEVICE_CORRUPTIONS: Family =
    ("quarry_device_corruptions_total", "counter", "Reads of a device that did not match their checksum.");
const DEVICE_IN_FLIGHT: Family =
    ("quarry_device_in_flight", "gauge", "Operations that a device has not answered yet.");
const DEVICE_ONLINE: Family = ("quarry_device_online", "gauge", "1 when a device of a pool is in use.");

/// A volume as its series name it.
struct Shown {
    name: String,
    size_bytes: u64,
    used_bytes: u64,
}

impl DataNode {
    /// `found`: every volume in pools.
    pub(super) async fn put_io(&self, text: &mut String, found: &[FoundVolume]) -> Result<()> {
        let figures = self.gather_figures().await?;
        let shown = |found: &FoundVolume| Shown {
            name: found.status.name.clone(),
            size_bytes: found.status.size_bytes,
            used_bytes: found.status.mapped_bytes,
        };
        let mut volumes: BTreeMap<VolumeId, Shown> =
            found.iter().map(|found| (found.status.id, shown(found))).collect();
        for (id, image) in &*self.images() {
            let size_bytes = image.record.size_bytes;
            let name = image.record.name.to_string();
            volumes.insert(*id, Shown { name, size_bytes, used_bytes: size_bytes });
        }
        put_one(text, VOLUMES, volumes.len());
        let uses = volumes.keys().map(|id| (*id, figures.volumes.get(id).map_or(0, FiguresSeen::operations)));
        let places = {
            let mut places = self.shown_volumes.lock().expect("nobody panics with this lock");
            choose(&mut places, uses, self.settings.metrics_volumes);
            places.clone()
        };
        put_one(text, VOLUMES_SHOWN, places.len());
        volumes.retain(|id, _| places.contains(id));
        put_volumes(text, &volumes, &figures);
        self.put_pools(text, &figures);
        self.put_devices(text, &figures);
        Ok(())
    }

    fn put_pools(&self, text: &mut String, figures: &NodeFigures) {
        let names: BTreeMap<PoolId, String> =
            self.pools().values().map(|entry| (entry.record.id, entry.record.name.to_string())).collect();
        let mut totals: BTreeMap<&str, FiguresSeen> = BTreeMap::new();
        let mut stages: Vec<(String, &Distribution)> = Vec::new();
        let mut lookups = Vec::new();
        for ((pool, log), engine) in &figures.engines {
            let Some(pool) = names.get(pool).map(String::as_str) else { continue };
            *totals.entry(pool).or_default() += &engine.total;
            stages.extend(engine.stages.iter().map(|(stage, latencies)| {
                (labels(&[("pool", &pool), ("log", log), ("stage", &stage.as_str())]), latencies)
            }));
            lookups.push((labels(&[("pool", &pool), ("log", log)]), engine.lookups, engine.lookups_missed));
        }
        put_requests(text, "pool", [POOL_LATENCY, POOL_BYTES, POOL_ERRORS], &totals);
        let in_flight = totals.iter().map(|(pool, seen)| (labels(&[("pool", pool)]), seen.in_flight));
        put(text, POOL_IN_FLIGHT, in_flight);
        put_latencies(text, STAGE, stages.into_iter());
        put(text, LOOKUPS, lookups.iter().map(|(labels, all, _)| (labels.clone(), *all)));
        put(text, LOOKUPS_MISSED, lookups.iter().map(|(labels, _, missed)| (labels.clone(), *missed)));
    }

    fn put_devices(&self, text: &mut String, figures: &NodeFigures) {
        let none = DeviceFigures::default();
        let mut all = Vec::new();
        for entry in self.pools().values() {
            let Ok(opened) = &entry.opened else { continue };
            for device in opened.shared.devices() {
                let seen = figures.devices.get(&(entry.record.id, device.index)).unwrap_or(&none).clone();
                all.push((entry.record.name.to_string(), device.path.display().to_string(), device, seen));
            }
        }
        let of = |pool: &dyn Display, path: &dyn Display| labels(&[("pool", pool), ("device", path)]);
        let latencies = all.iter().flat_map(|(pool, path, _, seen)| {
            let done =
                Operation::ALL.into_iter().filter(|operation| seen.latencies.of(*operation).count() > 0);
            done.map(move |operation| {
                let pairs: [(&str, &dyn Display); 3] =
                    [("pool", pool), ("device", path), ("operation", &operation.as_str())];
                (labels(&pairs), seen.latencies.of(operation))
            })
        });
        put_latencies(text, DEVICE_LATENCY, latencies);
        let bytes = all.iter().flat_map(|(pool, path, _, seen)| {
            let moved = [("read", seen.stats.read_bytes), ("write", seen.stats.written_bytes)];
            moved.map(|(operation, bytes)| {
                (labels(&[("pool", pool), ("device", path), ("operation", &operation)]), bytes)
            })
        });
        put(text, DEVICE_BYTES, bytes);
        let mut by_device = |family: Family, value: &dyn Fn(&DeviceFigures) -> u64| {
            put(text, family, all.iter().map(|(pool, path, _, seen)| (of(pool, path), value(seen))));
        };
        by_device(DEVICE_ERRORS, &|seen| seen.stats.errors);
        by_device(DEVICE_CORRUPTIONS, &|seen| seen.stats.corruptions);
        by_device(DEVICE_IN_FLIGHT, &|seen| u64::from(seen.in_flight));
        let online =
            all.iter().map(|(pool, path, device, _)| (of(pool, path), u8::from(device.failure.is_none())));
        put(text, DEVICE_ONLINE, online);
    }
}

fn put_volumes(text: &mut String, volumes: &BTreeMap<VolumeId, Shown>, figures: &NodeFigures) {
    let named = volumes.iter().filter_map(|(id, shown)| {
        let seen = figures.volumes.get(id)?;
        Some((shown.name.as_str(), seen.clone()))
    });
    let seen: BTreeMap<&str, FiguresSeen> = named.collect();
    put_requests(text, "volume", [VOLUME_LATENCY, VOLUME_BYTES, VOLUME_ERRORS], &seen);
    let in_flight = seen.iter().map(|(name, seen)| (labels(&[("volume", name)]), seen.in_flight));
    put(text, VOLUME_IN_FLIGHT, in_flight);
    let mut by_volume = |family: Family, value: fn(&Shown) -> u64| {
        put(text, family, volumes.values().map(|shown| (labels(&[("volume", &shown.name)]), value(shown))));
    };
    by_volume(VOLUME_SIZE, |shown| shown.size_bytes);
    by_volume(VOLUME_USED, |shown| shown.used_bytes);
}

/// Latencies, bytes and errors of each verb that was used.
fn put_requests(
    text: &mut String,
    label: &str,
    [latency, bytes, errors]: [Family; 3],
    by_name: &BTreeMap<&str, FiguresSeen>,
) {
    let used: Vec<(String, &VerbFigures)> = by_name
        .iter()
        .flat_map(|(name, seen)| {
            let verbs = Verb::ALL.into_iter().filter(|verb| seen.of(*verb).latency.count() > 0);
            verbs.map(move |verb| (labels(&[(label, name), ("operation", &verb.as_str())]), seen.of(verb)))
        })
        .collect();
    put_latencies(text, latency, used.iter().map(|(labels, verb)| (labels.clone(), &verb.latency)));
    put(text, bytes, used.iter().map(|(labels, verb)| (labels.clone(), verb.bytes)));
    put(text, errors, used.iter().map(|(labels, verb)| (labels.clone(), verb.errors)));
}

/// Who has a place: those who had one and are there still, then those who are used most.
pub(super) fn choose(
    places: &mut BTreeSet<VolumeId>,
    uses: impl Iterator<Item = (VolumeId, u64)>,
    places_max: usize,
) {
    let uses: BTreeMap<VolumeId, u64> = uses.collect();
    places.retain(|id| uses.contains_key(id));
    let mut waiting: Vec<(VolumeId, u64)> = uses.into_iter().filter(|(id, _)| !places.contains(id)).collect();
    waiting.sort_by_key(|(id, uses)| (std::cmp::Reverse(*uses), *id));
    let free = places_max.saturating_sub(places.len());
    // A place is for good, so nobody who is not used gets one as long as there are few.
    let is_scarce = waiting.len() > free;
    let entitled = waiting.into_iter().filter(|(_, uses)| *uses > 0 || !is_scarce);
    places.extend(entitled.take(free).map(|(id, _)| id));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> VolumeId {
        VolumeId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn places_go_to_those_who_are_used_and_stay_with_them() {
        let mut places = BTreeSet::new();
        let uses = |all: &[(u128, u64)]| {
            all.iter().map(|(number, uses)| (id(*number), *uses)).collect::<Vec<_>>().into_iter()
        };
        choose(&mut places, uses(&[(1, 0), (2, 5), (3, 9), (4, 7)]), 2);
        assert_eq!(places, [id(3), id(4)].into());
        choose(&mut places, uses(&[(1, 1000), (2, 5), (3, 9), (4, 7)]), 2);
        assert_eq!(places, [id(3), id(4)].into(), "a place is kept");
        choose(&mut places, uses(&[(1, 1000), (2, 5), (4, 7)]), 2);
        assert_eq!(places, [id(1), id(4)].into(), "until the volume is gone");
        choose(&mut places, uses(&[(1, 1000), (2, 0), (4, 7), (5, 0)]), 3);
        assert_eq!(places.len(), 2, "nobody who is not used takes the last place");
        choose(&mut places, uses(&[(1, 1000), (2, 0), (4, 7)]), 3);
        assert_eq!(places.len(), 3, "unless nobody else wants it");
    }
}
