//! What of an object somebody has meant to be so, and what is only measured or follows from other objects.
//!
//! A change that depends on how an object was read depends on the first alone, so hosts that write and work that goes on in the
//! background disturb no administrator. A test holds this table against the OpenAPI document: every member of every object on which
//! a change can depend is in exactly one of the two lists.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::OpenApi;

/// The name of a schema, the members that are intended, and those that are not. Objects in intended members have lines of their own;
/// what clients send as well (it takes no members that it does not know) is intended as a whole and has none.
type Line = (&'static str, &'static [&'static str], &'static [&'static str]);

const OBJECTS: &[Line] = &[
    ("ChapUser", &["user", "mutual"], &[]),
    ("Commitment", &["limit_percent"], &["percent", "reserved_bytes", "volumes_bytes"]),
    (
        "Device",
        &["path", "kind", "class", "sector_bytes", "state", "pool", "pool_id", "device_id", "found"],
        &["size_bytes", "health", "drive", "latency"],
    ),
    (
        "Export",
        &[
            "id",
            "volume",
            "volume_id",
            "snapshot",
            "protocol",
            "number",
            "host",
            "host_group",
            "read_only",
            "created",
        ],
        &["sessions", "state", "uris"],
    ),
    ("Group", &["id", "name", "volumes", "qos", "created"], &["offline_volumes"]),
    ("GroupPolicy", &["group", "policy", "version"], &[]),
    (
        "GroupSnapshot",
        &["name", "set_id", "created", "locked_until"],
        // A volume that is offline changes from one list to the other.
        &["volumes", "missing", "exported", "referenced_bytes", "unique_bytes"],
    ),
    (
        "Host",
        &["id", "name", "initiators", "networks", "chap", "groups", "created"],
        &["exports", "sessions"],
    ),
    ("HostGroup", &["id", "name", "hosts", "created"], &["exports"]),
    (
        "Job",
        &["id", "kind", "object", "unit", "began"],
        &["state", "done", "total", "percent", "left_s", "message", "can_be_cancelled", "ended"],
    ),
    ("Keyring", &["state"], &["reason", "locked_volumes"]),
    ("Policy", &["id", "name", "settings", "version", "volumes", "groups", "created", "changed"], &[]),
    (
        "Pool",
        &[
            "id",
            "name",
            "copies",
            "protection",
            "commitment",
            "devices",
            "levels",
            "logs",
            "rebuild_rate_bytes_per_s",
            "segment_bytes",
            "created",
        ],
        &[
            "capacity",
            "data",
            "fill_percent",
            "freeing",
            "full",
            "groups",
            "reasons",
            "rebuild",
            "scrub",
            "state",
            "volumes",
        ],
    ),
    (
        "PoolDevice",
        &["id", "path", "kind", "class", "size_bytes", "removing"],
        // Its state is one of failures as well.
        &["state", "health", "drive", "latency", "in_flight", "late_writes", "used_bytes"],
    ),
    ("PoolShareUse", &["pool", "capacity_bytes"], &["used_bytes"]),
    (
        "PoolTier",
        &["tier", "devices"],
        &["total_bytes", "used_bytes", "free_bytes", "kept_bytes", "hot_bytes"],
    ),
    (
        "PoolTiers",
        &["pool", "placement", "tiers"],
        &["heat_min", "promoted_segments", "demoted_segments", "moved_bytes", "decisions"],
    ),
    ("Session", &["user", "role", "tenant", "token", "expires"], &[]),
    (
        "Snapshot",
        &["id", "volume", "name", "size_bytes", "set_id", "locked_until", "created"],
        &["clones", "exported", "referenced_bytes", "unique_bytes"],
    ),
    ("SpaceLevels", &["warning_percent", "critical_percent"], &[]),
    (
        "Tenant",
        &["name", "pools", "policies", "capacity_bytes", "volumes", "shares", "qos", "created"],
        &["used_bytes", "used_volumes"],
    ),
    ("Token", &["id", "user", "role", "tenant", "purpose", "created", "expires"], &[]),
    ("User", &["name", "role", "tenant", "created"], &[]),
    (
        "Volume",
        &[
            "id",
            "name",
            "pool",
            "size_bytes",
            "block_bytes",
            "durability",
            "compression",
            "deduplication",
            "read_cache",
            "encrypted",
            "history_s",
            "quota_bytes",
            "reserved_bytes",
            "protection",
            "own_protection",
            "tier",
            "own_tier",
            "qos",
            "group",
            "origin",
            "image",
            "migration",
        ],
        &["core", "exported", "history", "locked", "qos_status", "snapshots", "used_bytes"],
    ),
    ("VolumeImage", &["device", "read_only"], &["state", "reason"]),
    (
        "VolumeMigration",
        &["to_pool", "to_device", "rate_bytes_per_s"],
        &["state", "copied_bytes", "verified_bytes", "repaired_bytes", "bytes_per_s", "left_s", "reason"],
    ),
    (
        "VolumePolicy",
        &["volume", "policy", "through_group", "version", "overrides"],
        &["state", "settings", "plan", "schedule", "failure"],
    ),
];

/// What is intended of the answers to operations.
#[derive(Default)]
pub(crate) struct Intended {
    /// By the id of an operation: the schema of its answer, or of the items of it.
    answers: BTreeMap<String, String>,
    /// By schema: its intended members, each with the schema of what is in it.
    objects: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

impl Intended {
    /// What the table says of a document.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let document = serde_json::to_value(document).expect("a document is JSON");
        let paths = document["paths"].as_object().into_iter().flat_map(|paths| paths.values());
        let answers = paths.filter_map(|path| {
            let get = path.get("get")?;
            let schema = get.pointer("/responses/200/content/application~1json/schema")?;
            Some((get["operationId"].as_str()?.to_owned(), named(schema)?.to_owned()))
        });
        let objects = OBJECTS.iter().map(|&(name, intended, _)| {
            let members = &document["components"]["schemas"][name]["properties"];
            let inner = |member: &str| named(&members[member]).map(str::to_owned);
            let members: BTreeMap<_, _> =
                intended.iter().map(|&member| (member.to_owned(), inner(member))).collect();
            (name.to_owned(), members)
        });
        Self { answers: answers.collect(), objects: objects.collect() }
    }

    /// Leaves of the answer to an operation what is intended.
    pub(crate) fn leave(&self, operation: &str, answer: &mut Value) {
        if let Some(schema) = self.answers.get(operation) {
            self.leave_of(schema, answer);
        }
    }

    fn leave_of(&self, schema: &str, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.leave_of(schema, item)),
            Value::Object(members) => {
                let Some(intended) = self.objects.get(schema) else { return };
                members.retain(|name, _| intended.contains_key(name));
                for (name, member) in members {
                    if let Some(schema) = &intended[name] {
                        self.leave_of(schema, member);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The name of the schema of a value, of its items, or of what it is when it is there.
fn named(schema: &Value) -> Option<&str> {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next();
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.chain(schema.get("items")).find_map(named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&crate::openapi_json()).unwrap()
    }

    /// The schemas of what is shown of an object that some change names: of the change's path, or of the nearest one above it.
    fn schemas_that_changes_depend_on(document: &Value) -> BTreeSet<String> {
        let paths = document["paths"].as_object().unwrap();
        let changes =
            paths.iter().filter(|(_, item)| item.as_object().unwrap().keys().any(|verb| verb != "get"));
        let shown = changes.filter_map(|(path, _)| {
            let mut above = std::iter::successors(Some(path.as_str()), |path| Some(path.rsplit_once('/')?.0));
            above.find_map(|path| paths.get(path)?.get("get"))
        });
        let schemas = shown.filter_map(|get| {
            named(get.pointer("/responses/200/content/application~1json/schema")?).map(str::to_owned)
        });
        schemas.collect()
    }

    #[test]
    fn every_member_on_which_a_change_can_depend_is_intended_or_measured() {
        let document = document();
        let mut open: Vec<String> = schemas_that_changes_depend_on(&document).into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            let schema = &document["components"]["schemas"][&name];
            // Words and numbers have no members, and what clients send is intended as a whole.
            let Some(members) = schema["properties"].as_object() else { continue };
            if schema["additionalProperties"] == json!(false) || !seen.insert(name.clone()) {
                continue;
            }
            let line = OBJECTS.iter().find(|line| line.0 == name);
            let &(_, intended, measured) = line.unwrap_or_else(|| panic!("{name} is not in the table"));
            let mut listed: Vec<&str> = intended.iter().chain(measured).copied().collect();
            listed.sort_unstable();
            let wanted: BTreeSet<&str> = members.keys().map(String::as_str).collect();
            assert_eq!(listed, Vec::from_iter(wanted), "{name}: each member stands once");
            open.extend(intended.iter().filter_map(|member| named(&members[*member])).map(str::to_owned));
        }
        let table: Vec<&str> = OBJECTS.iter().map(|line| line.0).collect();
        assert_eq!(table, Vec::from_iter(&seen), "in order, each once, none in vain");
    }

    fn left(operation: &str, answer: Value) -> Value {
        let (_, document) = crate::document::documented_routes().split_for_parts();
        let mut answer = answer;
        Intended::of(&document).leave(operation, &mut answer);
        answer
    }

    #[test]
    fn measured_members_are_left_out_however_deep_they_are() {
        let pool = json!({
            "name": "fast", "groups": {"ungrouped_segments": 3}, "capacity": {"used_bytes": 1},
            "commitment": {"percent": 7, "limit_percent": 200},
            "devices": [{"id": "d", "used_bytes": 1, "in_flight": 2, "state": "online", "removing": false}],
        });
        let intended = json!({
            "name": "fast", "commitment": {"limit_percent": 200}, "devices": [{"id": "d", "removing": false}],
        });
        assert_eq!(left("show_pool", pool), intended);
        let exports =
            json!([{"id": "e", "volume": "v", "sessions": 1}, {"id": "f", "volume": "v", "sessions": 0}]);
        assert_eq!(
            left("show_exports", exports),
            json!([{"id": "e", "volume": "v"}, {"id": "f", "volume": "v"}])
        );
        let tenant = json!({"name": "t", "used_bytes": 1, "shares": [{"pool": "p", "capacity_bytes": 9, "used_bytes": 1}]});
        assert_eq!(
            left("show_tenant", tenant),
            json!({"name": "t", "shares": [{"pool": "p", "capacity_bytes": 9}]})
        );
        let volume =
            json!({"name": "v", "migration": {"to_pool": "q", "copied_bytes": 5, "state": "copying"}});
        assert_eq!(left("show_volume", volume), json!({"name": "v", "migration": {"to_pool": "q"}}));
    }

    #[test]
    fn what_clients_send_and_what_no_change_depends_on_stays_whole() {
        let group = json!({"name": "g", "qos": {"weight": 300}});
        assert_eq!(left("show_group", group.clone()), group);
        let stats = json!({"volumes": [{"in_flight": 1}]});
        assert_eq!(left("show_stats", stats.clone()), stats);
    }
}
