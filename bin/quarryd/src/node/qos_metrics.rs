//! Figures of quality of service: of those volumes only for which something is asked, and of so many at most.

use quarry_node_api::Result;
use quarry_qos::{Cause, GateStats};

use super::DataNode;
use super::exposition::{Family, put};

/// Volumes that have figures of their own at most: those that have waited longest.
const VOLUMES_SHOWN_MAX: usize = 1000;

const IOS: Family = (
    "quarry_qos_ios_total",
    "counter",
    "I/Os of a volume with quality of service, counted as its bounds count them.",
);
const BYTES: Family = ("quarry_qos_bytes_total", "counter", "Bytes of these.");
const WAITING: Family = ("quarry_qos_waiting_requests", "gauge", "Requests that wait for their turn now.");
const THROTTLED: Family = (
    "quarry_qos_throttled_seconds_total",
    "counter",
    "Time for which requests have waited, all of them together, by what they waited for.",
);
const MISSED: Family = (
    "quarry_qos_reservation_missed",
    "gauge",
    "1 while a volume with a reservation gets less than that, although its host asks for it.",
);
const WINDOW: Family = (
    "quarry_qos_window_units",
    "gauge",
    "What a core lets be under way at once beside reservations; a request of 4 KiB is 20 units.",
);

impl DataNode {
    pub(super) async fn put_qos_figures(&self, text: &mut String) -> Result<()> {
        let stats = self.qos_stats().await?;
        let mut shown: Vec<(String, bool, GateStats)> = Vec::new();
        if !stats.is_empty() {
            for volume in self.describe_volumes().await? {
                let Some(stats) = stats.get(&volume.id) else { continue };
                let missed = matches!(self.reservation_seen(volume.id), Some(Some(_)));
                shown.push((volume.name.to_string(), missed, *stats));
            }
        }
        shown.sort_by_key(|(_, _, stats)| std::cmp::Reverse(stats.waited_in_all()));
        shown.truncate(VOLUMES_SHOWN_MAX);
        let mut by_volume = |family: Family, value: fn(&GateStats) -> u64| {
            let samples =
                shown.iter().map(|(name, _, stats)| (format!("{{volume=\"{name}\"}}"), value(stats)));
            put(text, family, samples);
        };
        by_volume(IOS, |stats| stats.ios);
        by_volume(BYTES, |stats| stats.bytes);
        by_volume(WAITING, |stats| stats.waiting);
        let waited = shown.iter().flat_map(|(name, _, stats)| {
            Cause::ALL.into_iter().zip(stats.waited).map(move |(cause, waited)| {
                let cause = match cause {
                    Cause::Volume => "volume",
                    Cause::Group => "group",
                    Cause::Tenant => "tenant",
                    Cause::Share => "share",
                };
                (format!("{{volume=\"{name}\",cause=\"{cause}\"}}"), waited.as_secs_f64())
            })
        });
        put(text, THROTTLED, waited);
        let missed =
            shown.iter().map(|(name, missed, _)| (format!("{{volume=\"{name}\"}}"), u64::from(*missed)));
        put(text, MISSED, missed);
        let windows = self.qos_windows().await?.into_iter();
        put(text, WINDOW, windows.map(|(core, units)| (format!("{{core=\"{core}\"}}"), units)));
        Ok(())
    }
}
