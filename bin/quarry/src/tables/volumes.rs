//! Volumes and their snapshots.

use quarry_api_types::{Changes, MissedSeconds, Snapshot, Volume};

use super::{
    Bytes, Columns, Value, number, optional, optional_size, places, properties, size, style, table, text,
    yes_or_no,
};
use crate::values::Window;

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

fn exact_size(bytes: u64) -> Value {
    text(if style::style().is_exact {
        format!("{bytes} bytes")
    } else {
        format!("{} ({bytes} bytes)", Bytes(bytes))
    })
}
