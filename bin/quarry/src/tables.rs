//! Answers of the API for people.

pub mod access;
mod devices;
pub mod exports;
pub mod forecasts;
pub mod groups;
pub mod hosts;
pub mod jobs;
mod layout;
pub mod observe;
mod places;
pub mod policies;
pub mod style;
pub mod tiers;

use quarry_api_types::{
    CacheDiskStatus, Cause, Changes, Commitment, Event, Freeing, Health, Keyring, LostBlock, MissedSeconds,
    Pool, PoolData, ReadCacheStatus, Scrub, ScrubState, Snapshot, Status, Volume, WatchSort, Watched,
};

pub use devices::{devices, member};

pub(crate) use layout::Value;
use layout::{Columns, number, optional, optional_size, properties, size, state, state_and, table, text};
use style::Bytes;

use crate::output::printable;
use crate::values::Window;

fn health(health: &Health) -> Value {
    let causes: Vec<_> = health.causes.iter().map(|cause| cause.message.as_str()).collect();
    match causes.is_empty() {
        true => state(health.level),
        false => state_and(health.level, &format!(": {}", causes.join("; "))),
    }
}

const POOLS: Columns<'_, Pool> = Columns {
    headings: &["NAME", "STATE", "PROTECTION", ">DEVICES", ">TOTAL", ">USED", ">AVAILABLE", ">VOLUMES"],
    row: |pool| {
        vec![
            text(&pool.name),
            state(pool.state),
            text(pool.protection),
            number(pool.devices.len()),
            size(pool.capacity.total_bytes),
            size(pool.capacity.used_bytes),
            size(pool.capacity.available_bytes),
            number(pool.volumes),
        ]
    },
    more_headings: &[
        ">FREE",
        ">RESERVED",
        ">FULL",
        ">PROMISED",
        ">MAPPED",
        ">TO MOVE",
        ">LOGS",
        "CREATED",
        "ID",
    ],
    more: |pool| {
        vec![
            size(pool.capacity.free_bytes),
            size(pool.commitment.reserved_bytes),
            number(format!("{} %", pool.fill_percent)),
            number(ratio(pool.commitment.percent)),
            size(pool.data.mapped_bytes),
            size(pool.rebuild.left_bytes),
            number(pool.logs),
            text(pool.created),
            text(pool.id),
        ]
    },
};

pub fn pools(pools: &[Pool]) -> String {
    POOLS.table(pools)
}

pub fn pool(pool: &Pool) -> String {
    let capacity = &pool.capacity;
    let mut rows = vec![("Name", text(&pool.name)), ("Id", text(pool.id)), ("State", state(pool.state))];
    rows.extend(pool.reasons.iter().map(|reason| ("Reason", text(reason))));
    rows.extend([
        ("Protection", text(protection_line(pool))),
        ("Total", size(capacity.total_bytes)),
        ("Used", size(capacity.used_bytes)),
        ("Full", text(fill_line(pool))),
        ("Free", size(capacity.free_bytes)),
        ("Reserved", size(capacity.reserved_bytes)),
        ("Kept", text(format!("{} for volumes with a reservation", Bytes(capacity.kept_bytes)))),
        ("Available", text(format!("{} of volume data", Bytes(capacity.available_bytes)))),
        ("Promised", text(promised(&pool.commitment))),
        ("Data", text(data_line(&pool.data))),
        ("Reduced", text(reduced_line(&pool.data))),
        ("Freeing", text(freeing_line(&pool.freeing))),
        ("Rebuild", text(rebuild_line(pool))),
        ("Segments", text(format!("{} each", Bytes(pool.segment_bytes)))),
        ("Logs", number(pool.logs)),
        ("Volumes", number(pool.volumes)),
        ("Created", text(pool.created)),
    ]);
    if let Some(scrub) = &pool.scrub {
        rows.push(("Scrub", text(scrub_line(scrub))));
        rows.extend(scrub.lost_blocks.iter().map(|lost| ("Lost", text(lost_line(lost)))));
    }
    let members = pool.devices.iter().map(|device| {
        vec![
            text(&device.path),
            state_and(device.state, if device.removing { ", leaves" } else { "" }),
            text(device.kind),
            text(device.class),
            size(device.size_bytes),
            size(device.used_bytes),
            text(device.id),
        ]
    });
    let headings = ["DEVICE", "STATE", "KIND", "CLASS", ">SIZE", ">USED", "ID"];
    format!("{}\n{}", properties(rows), table(&headings, members))
}

fn protection_line(pool: &Pool) -> String {
    let groups = &pool.groups;
    match pool.protection.0.code() {
        None => pool.protection.to_string(),
        Some(_) => format!(
            "{}; {} segments in {} groups, {} in {} copies",
            pool.protection, groups.grouped_segments, groups.groups, groups.ungrouped_segments, pool.copies
        ),
    }
}

/// What does not lie on the devices on which it should.
fn rebuild_line(pool: &Pool) -> String {
    let rebuild = &pool.rebuild;
    let bound =
        pool.rebuild_rate_bytes_per_s.map_or(String::new(), |rate| format!("; at most {}/s", Bytes(rate)));
    let lost = match rebuild.lost_chunks {
        0 => String::new(),
        lost => format!("; {lost} segments have no copy that can be read"),
    };
    match (rebuild.is_done(), rebuild.exposed_chunks) {
        (false, _) => {}
        (true, 0) => return format!("everything lies where it should{lost}{bound}"),
        (true, exposed) => {
            return format!(
                "{exposed} segments have too few copies, and there is no device for more{lost}{bound}"
            );
        }
    }
    let rate = match (rebuild.stuck, rebuild.left_s) {
        (true, _) => "no space to move them to".to_owned(),
        (false, Some(left_s)) => format!("{}/s, about {left_s} s left", Bytes(rebuild.bytes_per_s)),
        (false, None) => "waiting".to_owned(),
    };
    let exposed = match rebuild.exposed_chunks {
        0 => String::new(),
        exposed => format!(", {exposed} segments have too few copies"),
    };
    format!(
        "{} segments to be moved{exposed}: {} to copy, {rate}{lost}{bound}",
        rebuild.chunks,
        Bytes(rebuild.left_bytes)
    )
}

fn fill_line(pool: &Pool) -> String {
    let levels = &pool.levels;
    let state = if pool.full { "; writes that need space are refused" } else { "" };
    let (warning, critical) = (levels.warning_percent, levels.critical_percent);
    format!("{} %{state} (warning at {warning} %, critical at {critical} %)", pool.fill_percent)
}

fn data_line(data: &PoolData) -> String {
    let (mapped, stored) = (Bytes(data.mapped_bytes), Bytes(data.stored_bytes));
    format!("{mapped} mapped by volumes, {stored} stored for them and their snapshots")
}

/// What compression and deduplication have done.
fn reduced_line(data: &PoolData) -> String {
    let PoolData { reduced_from_bytes, reduced_zero_bytes, deduplicated_bytes, reduced_to_bytes, .. } = *data;
    if reduced_from_bytes == 0 {
        return "nothing since the pool was opened".to_owned();
    }
    let others = reduced_from_bytes - reduced_zero_bytes - deduplicated_bytes;
    format!(
        "since the pool was opened {} of {} written: {} were zeroes, {} there already, {} became {}",
        Bytes(reduced_from_bytes),
        Bytes(data.written_bytes),
        Bytes(reduced_zero_bytes),
        Bytes(deduplicated_bytes),
        Bytes(others),
        Bytes(reduced_to_bytes),
    )
}

fn ratio(percent: u64) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
}

fn promised(commitment: &Commitment) -> String {
    let limit = match commitment.limit_percent {
        Some(limit) => format!("limit {}", ratio(u64::from(limit))),
        None => "no limit".to_owned(),
    };
    format!(
        "{} times ({limit}): {} in volumes, {} reserved",
        ratio(commitment.percent),
        Bytes(commitment.volumes_bytes),
        Bytes(commitment.reserved_bytes)
    )
}

/// What deletions have left.
fn freeing_line(freeing: &Freeing) -> String {
    let mut parts = Vec::new();
    if freeing.snapshots > 0 {
        let (count, bytes) = (freeing.snapshots, Bytes(freeing.snapshot_bytes));
        let done = match freeing.dissolving_bytes {
            0 => String::new(),
            all => format!(
                ", {} % of those under way",
                100 * u128::from(freeing.dissolved_bytes) / u128::from(all)
            ),
        };
        parts.push(format!("{count} deleted snapshots{done}, {bytes} left to look at"));
    }
    if freeing.trees > 0 {
        parts.push(format!("{} of deleted volumes and discards left to look at", Bytes(freeing.tree_bytes)));
    }
    if freeing.is_done() {
        parts.push("nothing".to_owned());
    }
    if freeing.shared_snapshots > 0 {
        parts.push(format!(
            "{} deleted snapshots stay as long as clones share them",
            freeing.shared_snapshots
        ));
    }
    parts.join("; ")
}

fn scrub_line(scrub: &Scrub) -> String {
    let percent = 100 * scrub.chunks_done / scrub.chunks.max(1);
    let when = match (scrub.state, scrub.ended) {
        (ScrubState::Done, Some(ended)) => format!("done {ended}"),
        (state, _) => format!("{state}, {percent} %"),
    };
    let (read, repaired) = (Bytes(scrub.read_bytes), scrub.repaired);
    let bad = scrub.unrepaired;
    format!("{when}; {read} read, {repaired} bad copies repaired, {bad} not, {} blocks lost", scrub.lost)
}

fn lost_line(lost: &LostBlock) -> String {
    match &lost.volume {
        Some(volume) => format!("the block at byte {} of {volume} has no good copy", lost.offset),
        None => "a part of a map has no good copy".to_owned(),
    }
}

const VOLUMES: Columns<'_, Volume> = Columns {
    headings: &["NAME", "POOL", ">SIZE", ">USED", "DURABILITY", ">CORE", "EXPORTED", ">SNAPSHOTS", "ORIGIN"],
    row: |volume| {
        vec![
            text(&volume.name),
            text(places::place(volume)),
            size(volume.size_bytes),
            size(volume.used_bytes),
            text(volume.durability),
            number(volume.core),
            text(yes_or_no(volume.exported)),
            number(volume.snapshots),
            optional(volume.origin.as_ref()),
        ]
    },
    more_headings: &[
        ">QUOTA",
        ">RESERVED",
        "COMPRESSION",
        "DEDUPLICATION",
        "ENCRYPTED",
        "HISTORY",
        "GROUP",
        "QOS",
        "DEVICE",
        "ID",
    ],
    more: |volume| {
        vec![
            optional_size(volume.quota_bytes),
            optional_size(Some(volume.reserved_bytes).filter(|&bytes| bytes > 0)),
            text(volume.compression),
            text(volume.deduplication),
            text(if volume.locked { "locked" } else { yes_or_no(volume.encrypted) }),
            text(Window(volume.history_s)),
            optional(volume.group.as_ref()),
            optional(volume.qos.as_ref()),
            places::device(volume),
            text(volume.id),
        ]
    },
};

pub fn volumes(volumes: &[Volume]) -> String {
    VOLUMES.table(volumes)
}

pub fn volume(volume: &Volume) -> String {
    properties(vec![
        ("Name", text(&volume.name)),
        ("Id", text(volume.id)),
        ("Pool", optional(volume.pool.as_ref())),
        ("Device", places::device(volume)),
        ("Migration", places::migration(volume)),
        ("Protection", places::kept(volume.protection, volume.own_protection)),
        ("Tier", places::kept(volume.tier, volume.own_tier)),
        ("Size", exact_size(volume.size_bytes)),
        ("Used", size(volume.used_bytes)),
        ("Quota", optional(volume.quota_bytes.map(Bytes))),
        ("Reserved", optional(Some(volume.reserved_bytes).filter(|&bytes| bytes > 0).map(Bytes))),
        ("Durability", text(volume.durability)),
        ("Compression", text(volume.compression)),
        ("Deduplication", text(volume.deduplication)),
        ("Read cache", text(volume.read_cache)),
        ("History", history(volume)),
        ("Encrypted", text(encryption(volume))),
        ("Block size", size(u64::from(volume.block_bytes))),
        ("Core", number(volume.core)),
        ("Exported", text(yes_or_no(volume.exported))),
        ("Snapshots", number(volume.snapshots)),
        ("Origin", optional(volume.origin.as_ref())),
        ("Group", optional(volume.group.as_ref())),
        ("QoS", optional(volume.qos.as_ref())),
        ("Requests", requests(volume)),
    ])
}

/// Why a volume is as slow as it is, as far as quality of service goes; nothing where no request is scheduled.
pub fn throttled(volume: &Volume) -> String {
    match &volume.qos_status {
        Some(_) => properties(vec![("QoS", optional(volume.qos.as_ref())), ("Requests", requests(volume))]),
        None => String::new(),
    }
}

/// How they fare, where they are scheduled.
fn requests(volume: &Volume) -> Value {
    let missed = volume.qos_status.as_ref().is_some_and(|status| status.reservation_missed);
    let missed = if missed { "; LESS THAN PROMISED" } else { "" };
    optional(volume.qos_status.as_ref().map(|status| format!("{status}{missed}")))
}

fn history(volume: &Volume) -> Value {
    let kept = Window(volume.history_s);
    match volume.history {
        Some(history) => {
            let seconds = match history.missed {
                None => format!("every second from {} on", history.since),
                Some(missed) => {
                    format!("seconds from {} on, but for those MISSED ({})", history.since, span(missed))
                }
            };
            text(format_args!("{kept}: {seconds}, last changed {}", history.until))
        }
        None => text(kept),
    }
}

fn span(missed: MissedSeconds) -> String {
    match missed.until {
        Some(until) => format!("the last: {} until {until}", missed.from),
        None => format!("{} until now", missed.from),
    }
}

fn encryption(volume: &Volume) -> &'static str {
    match (volume.encrypted, volume.locked) {
        (false, _) => "no",
        (true, false) => "yes",
        (true, true) => "yes, LOCKED: its key is not there",
    }
}

const SNAPSHOTS: Columns<'_, Snapshot> = Columns {
    headings: &[
        "SNAPSHOT",
        "CREATED",
        ">SIZE",
        ">REFERENCED",
        ">UNIQUE",
        ">CLONES",
        "EXPORTED",
        "LOCKED UNTIL",
    ],
    row: |snapshot| {
        vec![
            text(snapshot.path()),
            text(snapshot.created),
            size(snapshot.size_bytes),
            size(snapshot.referenced_bytes),
            optional_size(snapshot.unique_bytes),
            number(snapshot.clones),
            text(yes_or_no(snapshot.exported)),
            optional(snapshot.locked_until),
        ]
    },
    more_headings: &["VOLUME", "NAME", "ID", "SET"],
    more: |snapshot| {
        vec![text(&snapshot.volume), text(&snapshot.name), text(snapshot.id), optional(snapshot.set_id)]
    },
};

pub fn snapshots(snapshots: &[Snapshot]) -> String {
    SNAPSHOTS.table(snapshots)
}

pub fn snapshot(snapshot: &Snapshot) -> String {
    properties(vec![
        ("Name", text(&snapshot.name)),
        ("Volume", text(&snapshot.volume)),
        ("Id", text(snapshot.id)),
        ("Created", text(snapshot.created)),
        ("Size", exact_size(snapshot.size_bytes)),
        ("Referenced", size(snapshot.referenced_bytes)),
        ("Unique", optional_size(snapshot.unique_bytes)),
        ("Clones", number(snapshot.clones)),
        ("Exported", text(yes_or_no(snapshot.exported))),
        ("Locked until", optional(snapshot.locked_until)),
        ("Set", optional(snapshot.set_id)),
    ])
}

pub fn changes(changes: &Changes) -> String {
    let row = |range: &quarry_api_types::ChangedRange| {
        vec![number(range.offset), number(range.length), text(if range.data { "data" } else { "hole" })]
    };
    table(&[">OFFSET", ">LENGTH", "NOW"], changes.ranges.iter().map(row))
}

pub fn keyring(keyring: &Keyring) -> String {
    let mut rows = vec![("Keyring", state(keyring.state))];
    rows.extend(keyring.reason.as_ref().map(|reason| ("Reason", text(reason))));
    rows.push(("Locked volumes", number(keyring.locked_volumes)));
    properties(rows)
}

/// The headings of [`event_line`].
pub const EVENT_HEADING: &str =
    "ID      TIME                      SEVERITY  KIND                 OBJECT            MESSAGE";

pub fn events(events: &[Event]) -> String {
    let row = |event: &Event| {
        vec![
            number(event.id),
            text(event.time),
            state(event.severity),
            text(event.kind),
            text(&event.object),
            text(sentence(event)),
        ]
    };
    table(&[">ID", "TIME", "SEVERITY", "KIND", "OBJECT", "MESSAGE"], events.iter().map(row))
}

/// One event of those that come in one by one: the columns are as wide as most need.
pub fn event_line(event: &Event) -> String {
    let Event { id, time, severity, kind, object, .. } = event;
    let (time, object, sentence) = (time.to_string(), printable(object), printable(&sentence(event)));
    let blanks = " ".repeat(8_usize.saturating_sub(severity.as_str().len()));
    let severity = painted(severity.as_str());
    format!("{id:<6}  {time:<24}  {severity}{blanks}  {kind:<19}  {object:<16}  {sentence}")
}

/// A word that says how well something is, in its colour where there are colours.
fn painted(word: &str) -> String {
    match style::Grade::of(word) {
        Some(grade) if style::style().is_coloured => grade.paint(word),
        _ => word.to_owned(),
    }
}

/// What happened, why, and what to do.
fn sentence(event: &Event) -> String {
    let cause = event.cause.as_ref().map_or_else(String::new, |cause| format!(": {cause}"));
    let next = event.next_step.as_ref().map_or_else(String::new, |next| format!(". {next}"));
    format!("{}{cause}{next}", event.message)
}

fn exact_size(bytes: u64) -> Value {
    text(if style::style().is_exact {
        format!("{bytes} bytes")
    } else {
        format!("{} ({bytes} bytes)", Bytes(bytes))
    })
}

fn yes_or_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn read_cache_line(cache: &ReadCacheStatus) -> String {
    if cache.budget_bytes == 0 {
        return "none".to_owned();
    }
    format!("{}; {}", part(cache.used_bytes, cache.budget_bytes), hit_share(cache.hits, cache.misses))
}

fn hit_share(hits: u64, misses: u64) -> String {
    match hits + misses {
        0 => "nothing read yet".to_owned(),
        asked => format!("{:.1} % of {asked} reads", 100.0 * hits as f64 / asked as f64),
    }
}

fn cache_disk_line(disk: &CacheDiskStatus) -> String {
    match &disk.failure {
        Some(_) => format!("{}: not used", disk.path),
        None => {
            let used = part(disk.used_bytes, disk.size_bytes);
            format!("{}: {used}; {}", disk.path, hit_share(disk.hits, disk.misses))
        }
    }
}

pub fn status(status: &Status) -> String {
    let (memory, pools, volumes) = (&status.memory, &status.pools, &status.volumes);
    let mut rows = vec![("Health", state(status.health.level))];
    rows.extend(status.health.causes.iter().map(|cause| ("Cause", text(in_words(cause)))));
    rows.extend([
        ("Node", text(status.node_id)),
        ("Initiator", text(&status.initiator.iqn)),
        ("", text(&status.initiator.nqn)),
        ("Version", text(&status.version)),
        ("Up", text(duration(status.uptime_s))),
        ("Cores", number(status.cores)),
        ("Memory", text(part(memory.used_bytes, memory.budget_bytes))),
        ("Read cache", text(read_cache_line(&memory.read_cache))),
    ]);
    rows.extend(status.cache_disk.iter().map(|disk| ("Cache disk", text(cache_disk_line(disk)))));
    rows.extend([
        (
            "Pools",
            text(format!(
                "{} online, {} degraded, {} offline; {} used",
                pools.online,
                pools.degraded,
                pools.offline,
                part(pools.used_bytes, pools.total_bytes)
            )),
        ),
        ("Freeing", text(freeing_line(&pools.freeing))),
        (
            "Volumes",
            text(format!("{}; {} mapped", volumes.count, part(volumes.used_bytes, volumes.size_bytes))),
        ),
        ("Exports", number(status.exports)),
    ]);
    let listeners = status
        .listeners
        .iter()
        .map(|listener| vec![text(listener.protocol), text(&listener.address), number(listener.connections)]);
    format!("{}\n{}", properties(rows), table(&["PROTOCOL", "ADDRESS", ">CONNECTIONS"], listeners))
}

fn in_words(cause: &Cause) -> String {
    format!("{}: {}. {}", cause.level, cause.message.trim_end_matches('.'), cause.next_step)
}

fn part(used: u64, whole: u64) -> String {
    format!("{} of {}", Bytes(used), Bytes(whole))
}

/// The two largest units: nobody plans with the seconds of a week.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The headings of [`watch_line`].
pub const WATCH_HEADING: &str = "KIND      SORT         KEY               OBJECT";

/// One message of a watch. Objects are long, so of them as JSON as much as is said in one line.
pub fn watch_line(message: &Watched) -> String {
    let Watched { kind, sort, key, object } = message;
    let sort = sort.map_or("-", WatchSort::as_str);
    let key = printable(key.as_deref().unwrap_or("-"));
    let object = match object {
        Some(serde_json::Value::String(text)) => printable(text),
        Some(object) => printable(&object.to_string()),
        None => String::new(),
    };
    format!("{kind:<8}  {sort:<11}  {key:<16}  {object}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deletions_have_left_is_told() {
        assert_eq!(freeing_line(&Freeing::default()), "nothing");
        let freeing = Freeing {
            snapshots: 2,
            snapshot_bytes: 3 << 30,
            dissolved_bytes: 1 << 30,
            dissolving_bytes: 4 << 30,
            ..Freeing::default()
        };
        let snapshots = "2 deleted snapshots, 25 % of those under way, 3 GiB left to look at";
        assert_eq!(freeing_line(&freeing), snapshots);
        let freeing = Freeing { trees: 9, tree_bytes: 1 << 20, shared_snapshots: 1, ..freeing };
        let rest = "1 MiB of deleted volumes and discards left to look at; 1 deleted snapshots stay as long as clones share them";
        assert_eq!(freeing_line(&freeing), format!("{snapshots}; {rest}"));
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (93_784, "1 d 2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
