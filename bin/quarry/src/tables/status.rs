//! How the node is.

use quarry_api_types::{CacheDiskStatus, ReadCacheStatus, Status};

use super::pools::freeing_line;
use super::{Bytes, in_words, number, properties, state, table, text};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [(59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (93_784, "1 d 2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
