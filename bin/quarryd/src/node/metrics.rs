//! Figures for Prometheus of pools, logs, devices behind networks and the node. Those of what hosts and devices do are in `io_metrics`, how
//! devices are in `device_metrics`, those of volumes that lie elsewhere or move in `place_metrics`. `docs/manual/metrics.md` has all of them, which a test compares.

use std::collections::BTreeMap;

use quarry_api_types::{JobKind, JobState, ScrubState};
use quarry_network_disk::RemoteStats;
use quarry_node_api::Result;

use super::DataNode;
use super::exposition::{Family, labels, put, put_one};
use super::{bucket_metrics, device_metrics};

const POOL_TOTAL: Family =
    ("quarry_pool_total_bytes", "gauge", "Bytes of a pool's devices, every copy counted.");
const POOL_USED: Family = ("quarry_pool_used_bytes", "gauge", "Bytes that live, every copy counted.");
const POOL_FREE: Family =
    ("quarry_pool_free_bytes", "gauge", "Bytes that hosts can still take, every copy counted.");
const POOL_ONLINE: Family = ("quarry_pool_online", "gauge", "1 when every device of the pool is in use.");
const POOL_FULL: Family =
    ("quarry_pool_full", "gauge", "1 when writes that need space are refused for want of it.");
const POOL_FILL: Family =
    ("quarry_pool_fill_ratio", "gauge", "Share of what hosts can use that is used: 1 when it is full.");
const POOL_WARNING: Family =
    ("quarry_pool_warning_ratio", "gauge", "Fill level from which on somebody should act.");
const POOL_CRITICAL: Family =
    ("quarry_pool_critical_ratio", "gauge", "Fill level from which on somebody must act now.");
const POOL_KEPT: Family = (
    "quarry_pool_kept_bytes",
    "gauge",
    "Free bytes that are kept for volumes with a reservation, every copy counted.",
);
const POOL_COMMITTED: Family =
    ("quarry_pool_committed_ratio", "gauge", "Sizes of all volumes as a share of what the pool holds.");
const POOL_COMMIT_LIMIT: Family =
    ("quarry_pool_committed_limit_ratio", "gauge", "The most that this may be; 0 for no limit.");
const POOL_RESERVED: Family =
    ("quarry_pool_volumes_reserved_bytes", "gauge", "Sum of the reservations of all volumes.");
const POOL_FREEING: Family = (
    "quarry_pool_freeing_bytes",
    "gauge",
    "Bytes of data of deleted volumes and snapshots that are still to be looked at.",
);
const POOL_FREEING_SNAPSHOTS: Family =
    ("quarry_pool_freeing_snapshots", "gauge", "Deleted snapshots that are being given up, or wait for it.");
const POOL_SHARED_SNAPSHOTS: Family = (
    "quarry_pool_shared_deleted_snapshots",
    "gauge",
    "Deleted snapshots that stay because several things stand on them.",
);
const POOL_GROUPS: Family = ("quarry_pool_groups", "gauge", "Groups of segments that an erasure code keeps.");
const POOL_GROUPED: Family = ("quarry_pool_grouped_segments", "gauge", "Segments with data in groups.");
const POOL_UNGROUPED: Family =
    ("quarry_pool_ungrouped_segments", "gauge", "Segments in no group, which have copies.");
const POOL_REBUILD_LEFT: Family = (
    "quarry_pool_rebuild_left_bytes",
    "gauge",
    "What is left to be copied because it lies on the wrong devices, at most.",
);
const POOL_REBUILD_COPIED: Family = (
    "quarry_pool_rebuild_copied_bytes_total",
    "counter",
    "Bytes that were copied because devices failed, joined or left.",
);
const POOL_REBUILD_EXPOSED: Family = (
    "quarry_pool_rebuild_exposed_segments",
    "gauge",
    "Segments with fewer good copies than they should have.",
);
const POOL_REBUILD_LOST: Family =
    ("quarry_pool_rebuild_lost_segments", "gauge", "Segments of which no copy can be read.");
const POOL_REBUILD_STUCK: Family =
    ("quarry_pool_rebuild_stuck", "gauge", "1 when there is something to copy and no space for it.");
const LOG_REFUSED: Family =
    ("quarry_log_refused_writes_total", "counter", "Writes that were refused because the pool was full.");
const EVENTS: Family = ("quarry_events_total", "counter", "Events that were recorded, by severity.");
const LOG_WRITTEN: Family =
    ("quarry_log_host_written_bytes_total", "counter", "Bytes that hosts have written.");
const LOG_READ: Family = ("quarry_log_host_read_bytes_total", "counter", "Bytes that hosts have read.");
const LOG_APPENDED: Family = (
    "quarry_log_appended_bytes_total",
    "counter",
    "Bytes appended, headers and map nodes included, once for all copies.",
);
const LOG_NODES: Family =
    ("quarry_log_map_bytes_total", "counter", "Bytes of map nodes appended, once for all copies.");
const READ_CACHE_HITS: Family =
    ("quarry_read_cache_hits_total", "counter", "Reads of hosts that were answered from memory.");
const READ_CACHE_MISSES: Family = (
    "quarry_read_cache_misses_total",
    "counter",
    "Reads of hosts that had to ask a device, those of more than 16 blocks left out.",
);
const READ_CACHE_USED: Family =
    ("quarry_read_cache_used_bytes", "gauge", "Memory that data takes that is read again.");
const READ_CACHE_BUDGET: Family =
    ("quarry_read_cache_budget_bytes", "gauge", "The most that data may take that is read again.");
const LOG_MOVED: Family = ("quarry_cleaner_moved_bytes_total", "counter", "Bytes moved by the cleaner.");
const LOG_REDUCED_FROM: Family = (
    "quarry_log_reduced_from_bytes_total",
    "counter",
    "Bytes that hosts have written to volumes that compress or deduplicate.",
);
const LOG_REDUCED_ZERO: Family = (
    "quarry_log_reduced_zero_bytes_total",
    "counter",
    "Of these, bytes of blocks of zeroes, which became holes.",
);
const LOG_REDUCED_TO: Family =
    ("quarry_log_reduced_to_bytes_total", "counter", "What the others of these became.");
const LOG_DEDUPLICATED: Family =
    ("quarry_log_deduplicated_bytes_total", "counter", "Of these, bytes of blocks that the log had already.");
const LOG_SHARED_RECORDS: Family =
    ("quarry_log_shared_records", "gauge", "Stored blocks that more than one block refers to.");
const LOG_CLEANED: Family = ("quarry_cleaner_chunks_total", "counter", "Chunks cleaned.");
const LOG_CHECKPOINTS: Family = ("quarry_checkpoints_total", "counter", "Checkpoints written.");
const MEMORY: Family = ("quarry_memory_used_bytes", "gauge", "Memory in maps, tables and buffers.");
const KEYRING: Family =
    ("quarry_keyring_open", "gauge", "1 when the node has the keys of encrypted volumes.");
const LOCKED: Family =
    ("quarry_volumes_locked", "gauge", "Encrypted volumes that are closed because their key is not there.");
const GROUPS: Family = ("quarry_groups", "gauge", "Consistency groups.");
const SESSIONS: Family = ("quarry_nbd_sessions", "gauge", "Connected NBD clients.");
const ISCSI_SESSIONS: Family =
    ("quarry_iscsi_sessions", "gauge", "Initiators that are logged in over iSCSI.");
const NVME_TCP_SESSIONS: Family =
    ("quarry_nvme_tcp_sessions", "gauge", "Hosts that are connected over NVMe/TCP.");
const VHOST_USER_SESSIONS: Family =
    ("quarry_vhost_user_sessions", "gauge", "Virtual machines that are connected over vhost-user.");
const POLICIES: Family = ("quarry_policies", "gauge", "Policies.");
const POLICY_VOLUMES: Family = (
    "quarry_policy_volumes",
    "gauge",
    "Volumes with a policy or an override, by whether they are as they are meant to be.",
);
const SCHEDULE_LAG: Family = (
    "quarry_snapshot_schedule_lag_seconds",
    "gauge",
    "For how long the snapshot has been due that is due for longest.",
);
const SCHEDULE_TAKEN: Family =
    ("quarry_snapshot_schedule_taken_total", "counter", "Snapshots that were taken by the calendar.");
const SCHEDULE_EXPIRED: Family = (
    "quarry_snapshot_schedule_expired_total",
    "counter",
    "Snapshots that were deleted because no rule keeps them any more.",
);
const POLICY_CHANGES: Family =
    ("quarry_policy_changes_total", "counter", "Volumes whose settings were changed as their policy means.");
const POLICY_FAILURES: Family =
    ("quarry_policy_failures_total", "counter", "Steps towards what policies mean that did not work.");
const HOSTS: Family = ("quarry_hosts", "gauge", "Hosts that may use exports over iSCSI and NVMe/TCP.");
const REMOTE_CONNECTIONS: Family =
    ("quarry_network_device_connections", "gauge", "Open connections to the server of a device.");
const REMOTE_RECONNECTS: Family =
    ("quarry_network_device_reconnects_total", "counter", "Connections made again after one was lost.");
const REMOTE_REPEATED: Family = (
    "quarry_network_device_repeated_requests_total",
    "counter",
    "Requests sent again over another connection, for want of an answer.",
);
const REMOTE_RESTORED: Family = (
    "quarry_network_device_restored_writes_total",
    "counter",
    "Writes that were answered and not flushed, written again over another connection.",
);
const REMOTE_HELD_BACK: Family = (
    "quarry_network_device_held_back_total",
    "counter",
    "Writes and discards that waited, because another one may still have been on its way to their range.",
);
const REMOTE_REPLIES: Family =
    ("quarry_network_device_replies_total", "counter", "Requests that the server has answered.");
const REMOTE_REPLY_TIME: Family = (
    "quarry_network_device_reply_seconds_total",
    "counter",
    "Time from sending to answer, of all answered requests together.",
);
const REMOTE_LOSSES: Family =
    ("quarry_network_device_losses_total", "counter", "Times that the server was given up by a core.");
const EXPORTS: Family = ("quarry_exports", "gauge", "Exports that are served now.");
const NODE: Family =
    ("quarry_node_info", "gauge", "1; the labels tell the version of the daemon and the id of the node.");
const UPTIME: Family = ("quarry_uptime_seconds", "gauge", "Seconds since the daemon began to serve.");
const CORES: Family = ("quarry_cores", "gauge", "Cores of the data plane.");
const MEMORY_BUDGET: Family =
    ("quarry_memory_budget_bytes", "gauge", "The most that maps, buffers and caches may take.");
const SNAPSHOTS: Family = ("quarry_snapshots", "gauge", "Snapshots of all volumes.");
const JOBS: Family = ("quarry_jobs_running", "gauge", "Jobs that are under way, by what they do.");
const SLOW: Family = (
    "quarry_slow_requests_total",
    "counter",
    "Requests of hosts that took longer than the node was told to find good.",
);
const SCRUB_RUNNING: Family = ("quarry_pool_scrub_running", "gauge", "1 while everything in a pool is read.");
const SCRUB_REPAIRED: Family = (
    "quarry_pool_scrub_repaired",
    "gauge",
    "Bad copies that the last scrub of a pool, or the one that runs, has mended.",
);
const SCRUB_LOST: Family = (
    "quarry_pool_scrub_lost",
    "gauge",
    "Blocks without a good copy that the last scrub of a pool, or the one that runs, has found.",
);

impl DataNode {
    pub(super) async fn describe_metrics(&self) -> Result<String> {
        let mut text = String::new();
        let pools = self.describe_pools().await?;
        let mut by_pool = |family: Family, value: fn(&quarry_api_types::Pool) -> u64| {
            let samples = pools.iter().map(|pool| (format!("{{pool=\"{}\"}}", pool.name), value(pool)));
            put(&mut text, family, samples);
        };
        by_pool(POOL_TOTAL, |pool| pool.capacity.total_bytes);
        by_pool(POOL_USED, |pool| pool.capacity.used_bytes);
        by_pool(POOL_FREE, |pool| pool.capacity.free_bytes);
        by_pool(POOL_ONLINE, |pool| u64::from(pool.state == quarry_api_types::PoolState::Online));
        by_pool(POOL_FULL, |pool| u64::from(pool.full));
        by_pool(POOL_KEPT, |pool| pool.capacity.kept_bytes);
        by_pool(POOL_RESERVED, |pool| pool.commitment.reserved_bytes);
        let mut by_pool_ratio = |family: Family, percent: fn(&quarry_api_types::Pool) -> u64| {
            let ratio = |pool: &quarry_api_types::Pool| percent(pool) as f64 / 100.0;
            put(&mut text, family, pools.iter().map(|pool| (labels(&[("pool", &pool.name)]), ratio(pool))));
        };
        by_pool_ratio(POOL_FILL, |pool| u64::from(pool.fill_percent));
        by_pool_ratio(POOL_WARNING, |pool| u64::from(pool.levels.warning_percent));
        by_pool_ratio(POOL_CRITICAL, |pool| u64::from(pool.levels.critical_percent));
        by_pool_ratio(POOL_COMMITTED, |pool| pool.commitment.percent);
        by_pool_ratio(POOL_COMMIT_LIMIT, |pool| u64::from(pool.commitment.limit_percent.unwrap_or(0)));
        let mut by_pool = |family: Family, value: fn(&quarry_api_types::Pool) -> u64| {
            let samples = pools.iter().map(|pool| (format!("{{pool=\"{}\"}}", pool.name), value(pool)));
            put(&mut text, family, samples);
        };
        by_pool(POOL_FREEING, |pool| pool.freeing.left_bytes());
        by_pool(POOL_FREEING_SNAPSHOTS, |pool| pool.freeing.snapshots);
        by_pool(POOL_SHARED_SNAPSHOTS, |pool| pool.freeing.shared_snapshots);
        by_pool(POOL_GROUPS, |pool| pool.groups.groups);
        by_pool(POOL_GROUPED, |pool| pool.groups.grouped_segments);
        by_pool(POOL_UNGROUPED, |pool| pool.groups.ungrouped_segments);
        by_pool(POOL_REBUILD_LEFT, |pool| pool.rebuild.left_bytes);
        by_pool(POOL_REBUILD_COPIED, |pool| pool.rebuild.copied_bytes);
        by_pool(POOL_REBUILD_EXPOSED, |pool| pool.rebuild.exposed_chunks);
        by_pool(POOL_REBUILD_LOST, |pool| pool.rebuild.lost_chunks);
        by_pool(POOL_REBUILD_STUCK, |pool| u64::from(pool.rebuild.stuck));
        by_pool(SCRUB_RUNNING, |pool| {
            pool.scrub.as_ref().map_or(0, |scrub| u64::from(scrub.state == ScrubState::Running))
        });
        by_pool(SCRUB_REPAIRED, |pool| pool.scrub.as_ref().map_or(0, |scrub| scrub.repaired));
        by_pool(SCRUB_LOST, |pool| pool.scrub.as_ref().map_or(0, |scrub| scrub.lost));
        let events = self.event_counts.all();
        put(&mut text, EVENTS, events.map(|(name, count)| (format!("{{severity=\"{name}\"}}"), count)));
        let mut engines = Vec::new();
        for pool in &pools {
            for engine in self.engine_statuses(Some(pool.id)).await? {
                engines.push((format!("{{pool=\"{}\",log=\"{}\"}}", pool.name, engine.log), engine));
            }
        }
        let mut by_log = |family: Family, value: fn(&quarry_engine::EngineStatus) -> u64| {
            put(&mut text, family, engines.iter().map(|(labels, engine)| (labels.clone(), value(engine))));
        };
        by_log(LOG_WRITTEN, |engine| engine.written_bytes);
        by_log(LOG_REFUSED, |engine| engine.refused_writes);
        by_log(LOG_READ, |engine| engine.read_bytes);
        by_log(LOG_APPENDED, |engine| engine.appended_bytes);
        by_log(LOG_NODES, |engine| engine.node_bytes);
        by_log(LOG_MOVED, |engine| engine.moved_bytes);
        by_log(LOG_REDUCED_FROM, |engine| engine.reduced_from_bytes);
        by_log(LOG_REDUCED_ZERO, |engine| engine.reduced_zero_bytes);
        by_log(LOG_REDUCED_TO, |engine| engine.reduced_to_bytes);
        by_log(LOG_DEDUPLICATED, |engine| engine.deduplicated_bytes);
        by_log(LOG_SHARED_RECORDS, |engine| engine.shared_records as u64);
        by_log(LOG_CLEANED, |engine| engine.cleaned_chunks);
        by_log(READ_CACHE_HITS, |engine| engine.read_cache.hits);
        by_log(READ_CACHE_MISSES, |engine| engine.read_cache.misses);
        by_log(READ_CACHE_USED, |engine| engine.read_cache.used_bytes as u64);
        by_log(READ_CACHE_BUDGET, |engine| engine.read_cache.budget_bytes as u64);
        by_log(LOG_CHECKPOINTS, |engine| engine.checkpoints);
        let buffers: u64 = self.buffer_bytes().await?.iter().sum();
        let memory = engines.iter().map(|(_, engine)| engine.memory_bytes as u64).sum::<u64>() + buffers;
        let volumes = self.volumes_of(None).await?;
        let locked = volumes.iter().filter(|volume| volume.status.locked).count() as u64;
        let snapshots = volumes.iter().map(|volume| volume.status.snapshots as u64).sum();
        for (family, value) in [
            (MEMORY, memory),
            (MEMORY_BUDGET, self.settings.memory.bytes),
            (UPTIME, self.began.elapsed().as_secs()),
            (CORES, self.cores.count() as u64),
            (KEYRING, u64::from(self.keys().is_ok())),
            (LOCKED, locked),
            (SNAPSHOTS, snapshots),
            (GROUPS, self.group_records().len() as u64),
            (SLOW, self.slow.count()),
        ] {
            put_one(&mut text, family, value);
        }
        let version = env!("CARGO_PKG_VERSION");
        put(&mut text, NODE, std::iter::once((labels(&[("version", &version), ("node", &self.id)]), 1)));
        self.put_jobs(&mut text);
        self.put_io(&mut text, &volumes).await?;
        let sessions = self.session_counts();
        let hosts = self.hosts().hosts.len() as u64;
        for (family, value) in [
            (SESSIONS, sessions.nbd),
            (ISCSI_SESSIONS, sessions.iscsi),
            (NVME_TCP_SESSIONS, sessions.nvme_tcp),
            (VHOST_USER_SESSIONS, sessions.vhost_user),
            (HOSTS, hosts),
            (EXPORTS, self.offer_count() as u64),
        ] {
            put_one(&mut text, family, value);
        }
        device_metrics::put(&mut text, &pools);
        self.put_policies(&mut text);
        self.put_network_devices(&mut text);
        bucket_metrics::put_buckets(&mut text, self.cores.buckets());
        self.put_cache_disk(&mut text);
        self.put_places(&mut text).await?;
        self.put_qos_figures(&mut text).await?;
        self.put_tiers(&mut text).await?;
        Ok(text)
    }
}

impl DataNode {
    fn put_policies(&self, text: &mut String) {
        let volumes = self.compliance_counts().into_iter();
        put(text, POLICY_VOLUMES, volumes.map(|(state, count)| (format!("{{state=\"{state}\"}}"), count)));
        let figures = self.reconciler.figures();
        for (family, value) in [
            (POLICIES, self.policy_table().policies.len() as u64),
            (SCHEDULE_LAG, figures.lag_s),
            (SCHEDULE_TAKEN, figures.taken),
            (SCHEDULE_EXPIRED, figures.expired),
            (POLICY_CHANGES, figures.changed),
            (POLICY_FAILURES, figures.failed),
        ] {
            put_one(text, family, value);
        }
    }

    fn put_jobs(&self, text: &mut String) {
        let mut running: BTreeMap<JobKind, u64> = JobKind::ALL.iter().map(|kind| (*kind, 0)).collect();
        for kind in self.running_jobs(JobState::Running) {
            *running.entry(kind).or_default() += 1;
        }
        put(text, JOBS, running.iter().map(|(kind, count)| (labels(&[("kind", kind)]), *count)));
    }

    fn put_network_devices(&self, text: &mut String) {
        let devices = self.cores.network_disks().stats();
        let mut by_device = |family: Family, value: fn(&RemoteStats) -> u64| {
            let label = |address: &str| {
                format!("{{device=\"{}\"}}", address.replace('\\', "\\\\").replace('"', "\\\""))
            };
            put(text, family, devices.iter().map(|(address, stats)| (label(address), value(stats))));
        };
        by_device(REMOTE_CONNECTIONS, |stats| stats.connections);
        by_device(REMOTE_RECONNECTS, |stats| stats.reconnects);
        by_device(REMOTE_REPEATED, |stats| stats.repeated_requests);
        by_device(REMOTE_RESTORED, |stats| stats.restored_writes);
        by_device(REMOTE_HELD_BACK, |stats| stats.held_back);
        by_device(REMOTE_REPLIES, |stats| stats.replies);
        let times = devices
            .iter()
            .map(|(address, stats)| (labels(&[("device", address)]), stats.reply_time.as_secs_f64()));
        put(text, REMOTE_REPLY_TIME, times);
        let mut by_device = |family: Family, value: fn(&RemoteStats) -> u64| {
            let samples =
                devices.iter().map(|(address, stats)| (labels(&[("device", address)]), value(stats)));
            put(text, family, samples);
        };
        by_device(REMOTE_LOSSES, |stats| stats.losses);
    }
}

#[cfg(test)]
mod tests;
