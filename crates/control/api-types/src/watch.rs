//! Watching: what is there, and every change of it as it happens.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

words! {
    /// What can be watched.
    pub enum WatchSort {
        /// Devices.
        Devices = "devices",
        /// Pools.
        Pools = "pools",
        /// Volumes.
        Volumes = "volumes",
        /// Snapshots of all volumes.
        Snapshots = "snapshots",
        /// Consistency groups.
        Groups = "groups",
        /// Policies.
        Policies = "policies",
        /// Exports.
        Exports = "exports",
        /// Hosts.
        Hosts = "hosts",
        /// Host groups.
        HostGroups = "host-groups",
        /// Tenants.
        Tenants = "tenants",
        /// Users.
        Users = "users",
        /// Jobs.
        Jobs = "jobs",
        /// Events, each once.
        Events = "events",
    }
}

/// What to watch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// Sorts of objects, one at least, separated by commas: `devices`, `pools`, `volumes`, `snapshots`, `groups`, `policies`, `exports`, `hosts`,
    /// `host-groups`, `tenants`, `users`, `jobs`, `events`.
    #[param(example = "volumes,jobs")]
    pub sorts: String,
    /// Of events those with a higher id; absent for those that happen from now on. The header `Last-Event-ID` counts as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

words! {
    /// What a message of a watch says.
    pub enum WatchedKind {
        /// An object is there, or has become what the message says.
        Put = "put",
        /// An object is gone.
        Deleted = "deleted",
        /// Everything that was there when the watch began has been told.
        Synced = "synced",
        /// Something has happened.
        Happened = "happened",
        /// A sort cannot be looked at now; it is tried again.
        Trouble = "trouble",
        /// The watch ends: the token has, or the node.
        Ended = "ended",
    }
}

/// A server-sent event of a watch, by its fields. This is for those who read the document: nothing sends it as JSON.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct WatchEvent {
    /// What it says, as in its data.
    pub event: WatchedKind,
    /// The number of what has happened, with which a client that lost the connection goes on: `Last-Event-ID`.
    #[schema(pattern = "^[0-9]*$")]
    pub id: Option<String>,
    /// A `Watched`, in JSON.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// A message of a watch: the data of a server-sent event whose name is `kind`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Watched {
    /// What it says.
    pub kind: WatchedKind,
    /// Of which sort the object is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<WatchSort>,
    /// The key of the object in the list of its sort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The object as its list shows it, the event, or in words why there is trouble or the watch ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub object: Option<serde_json::Value>,
}
