//! Pools.

use quarry_api_types::{Commitment, Freeing, LostBlock, Pool, PoolData, Scrub, ScrubState};

use super::{Bytes, Columns, number, properties, size, state, state_and, table, text};

fn ratio(percent: u64) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
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
pub(super) fn freeing_line(freeing: &Freeing) -> String {
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
}
