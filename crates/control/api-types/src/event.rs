//! Events: what has happened on a node that somebody may have to act on.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Timestamp;

words! {
    /// How much an event matters. Ordered.
    pub enum EventSeverity {
        /// Good to know; among others, that something is over.
        Info = "info",
        /// Somebody should act before it becomes worse.
        Warning = "warning",
        /// Somebody must act now: data is lost or in danger, or hosts are refused.
        Critical = "critical",
    }
}

words! {
    /// What has happened. The words are stable: programs decide by them.
    pub enum EventKind {
        /// The daemon serves.
        NodeStarted = "node-started",
        /// The daemon was told to stop and has stopped in order.
        NodeStopped = "node-stopped",
        /// The audit log, the event log or the history of figures was damaged or removed, and a new one begins.
        NodeRecordsLost = "node-records-lost",
        /// A pool does not serve.
        PoolOffline = "pool-offline",
        /// A pool serves, but a device or copies are missing.
        PoolDegraded = "pool-degraded",
        /// A pool is whole again.
        PoolOnline = "pool-online",
        /// A pool is fuller than its warning level.
        PoolSpaceWarning = "pool-space-warning",
        /// A pool is fuller than its critical level.
        PoolSpaceCritical = "pool-space-critical",
        /// A pool is below its warning level again.
        PoolSpaceOk = "pool-space-ok",
        /// Writes to a pool were refused for want of space.
        PoolFull = "pool-full",
        /// A pool takes writes again.
        PoolUsable = "pool-usable",
        /// A pool is expected to be full soon.
        PoolFillsSoon = "pool-fills-soon",
        /// A pool is not expected to be full soon any more.
        PoolFillsLater = "pool-fills-later",
        /// A volume is expected to reach its quota soon.
        QuotaFillsSoon = "quota-fills-soon",
        /// A volume is not expected to reach its quota soon any more.
        QuotaFillsLater = "quota-fills-later",
        /// Requests take far longer than this volume's or device's past lets expect.
        LatencyUnusual = "latency-unusual",
        /// They take as long as they used to.
        LatencyUsual = "latency-usual",
        /// Far more requests to a volume fail than its past lets expect.
        ErrorsUnusual = "errors-unusual",
        /// No more fail than used to.
        ErrorsUsual = "errors-usual",
        /// Encrypted volumes of a pool are not served, because their keys are not open.
        VolumesLocked = "volumes-locked",
        /// The keys of all volumes of a pool are open.
        VolumesUnlocked = "volumes-unlocked",
        /// A device is out of use.
        DeviceFailed = "device-failed",
        /// A device has failed a request, does not answer, or is far slower than its peers; it is still in use.
        DeviceSuspect = "device-suspect",
        /// A device that was taken out of use because it did not answer answers again.
        DeviceReturned = "device-returned",
        /// A device was not found.
        DeviceMissing = "device-missing",
        /// A device takes part again.
        DeviceOnline = "device-online",
        /// A device counts as another tier, or a pool places its data otherwise.
        TierChanged = "tier-changed",
        /// A drive says that it wears out or has lost places.
        DriveWarning = "drive-warning",
        /// A drive says that it is about to fail.
        DriveFailing = "drive-failing",
        /// Nothing speaks against a drive any more.
        DriveOk = "drive-ok",
        /// A scrub has read everything.
        ScrubFinished = "scrub-finished",
        /// Blocks of a volume or snapshot have no good copy.
        BlocksDamaged = "blocks-damaged",
        /// No block of a volume or snapshot is known to be damaged any more.
        BlocksRecovered = "blocks-recovered",
        /// Writes to a volume were refused because of its quota.
        QuotaReached = "quota-reached",
        /// A volume is below its quota again.
        QuotaOk = "quota-ok",
        /// Requests of hosts took longer than the node was told to find good.
        RequestsSlow = "requests-slow",
        /// A volume gets less than was promised, although its host asks for it.
        ReservationMissed = "reservation-missed",
        /// A volume gets what was promised again.
        ReservationKept = "reservation-kept",
        /// A volume in image mode is not served, or takes no writes.
        ImageOffline = "image-offline",
        /// A volume in image mode is served again.
        ImageOnline = "image-online",
        /// A volume begins to move to another place.
        MigrationStarted = "migration-started",
        /// A volume is at its new place.
        MigrationFinished = "migration-finished",
        /// A volume does not move on; it is where it was.
        MigrationStopped = "migration-stopped",
        /// A volume was told to stay where it is.
        MigrationCancelled = "migration-cancelled",
        /// A volume is not as its policy means it to be, and the node cannot make it so.
        PolicyViolated = "policy-violated",
        /// A volume is as its policy means it to be again.
        PolicyKept = "policy-kept",
    }
}

words! {
    /// What sort of thing an event is about.
    pub enum ObjectKind {
        /// The node itself.
        Node = "node",
        /// A pool.
        Pool = "pool",
        /// A device, by its path.
        Device = "device",
        /// A volume, or a snapshot as `VOLUME@SNAPSHOT`.
        Volume = "volume",
    }
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number: later events have higher ones, also after a restart.
    pub id: u64,
    /// When it was noticed.
    pub time: Timestamp,
    /// How much it matters.
    pub severity: EventSeverity,
    /// What has happened.
    pub kind: EventKind,
    /// What sort of thing it has happened to.
    pub object_kind: ObjectKind,
    /// The name of that thing at the time; the path of a device.
    pub object: String,
    /// A sentence that names the thing.
    pub message: String,
    /// Why, where more is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

/// Which events, and from where on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events with a higher id: `next` of the answer before, or the last id that was seen.
    #[serde(default)]
    #[param(required = false, default = 0)]
    pub since: u64,
    /// Only events of this severity and above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub severity: Option<EventSeverity>,
    /// Only events about the thing of that name, or the device of that path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// So many events at most, 1 to 1000; a part may have fewer. The header `Link` has the address of the next part as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u16>,
}

impl EventsQuery {
    /// Whether an event is asked for, its id aside.
    pub fn selects(&self, event: &Event) -> bool {
        self.severity.is_none_or(|least| event.severity >= least)
            && self.object.as_ref().is_none_or(|object| event.object == *object)
    }
}

/// A part of the events, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// The events.
    pub events: Vec<Event>,
    /// The `since` with which to ask for more; absent when this was all that there is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_stands_for_itself_and_what_is_worse() {
        let event = |severity| Event {
            id: 1,
            time: Timestamp::from_unix_ms(1),
            severity,
            kind: EventKind::PoolFull,
            object_kind: ObjectKind::Pool,
            object: "tank".to_owned(),
            message: "pool 'tank' is full".to_owned(),
            cause: None,
            next_step: None,
        };
        let query = EventsQuery { severity: Some(EventSeverity::Warning), ..EventsQuery::default() };
        let selected = EventSeverity::ALL.iter().map(|&severity| query.selects(&event(severity)));
        assert_eq!(selected.collect::<Vec<_>>(), [false, true, true]);
        let other = EventsQuery { object: Some("other".to_owned()), ..EventsQuery::default() };
        assert!(!other.selects(&event(EventSeverity::Critical)));
    }
}
