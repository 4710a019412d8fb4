//! The table of operations: what each needs, and where a request names things.
//!
//! An operation that is not in it is refused to everybody, and a test compares it with the OpenAPI document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use quarry_auth::Permission::{self, *};

use crate::problem::method_not_allowed;

use Growth::*;
use Place::{Body, Path};
use Refers::{Existing, Export, New, Policy, Pool, Tenant};

/// What a name in a request stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refers {
    /// A thing of this sort that is there, and belongs to whom its name says.
    Existing(&'static str),
    /// A thing of this sort that is to be made.
    New(&'static str),
    /// A pool: the node's, and granted to tenants.
    Pool,
    /// A policy that is attached or shown: the asker's own, or the node's and granted to tenants.
    Policy,
    /// Exports: by id, or by what they serve.
    Export,
    /// A tenant itself.
    Tenant,
}

/// Where a request has a name, or several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A part of the path.
    Path(&'static str),
    /// A member of the body: a text, or a list of texts.
    Body(&'static str),
}

/// How an operation can make the volumes of a tenant larger or more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Growth {
    Create,
    Clone,
    Resize,
    Rename,
    Migrate,
    RollBack,
    RollBackGroup,
}

/// One operation of the API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) method: Verb,
    pub(crate) path: &'static str,
    /// What it needs; nothing when absent: anybody may ask.
    pub(crate) permission: Option<Permission>,
    pub(crate) names: &'static [(Refers, Place)],
    /// Its answer is a list of which a tenant sees what belongs to it: by this member of each item.
    pub(crate) lists: Option<&'static str>,
    /// What it shows has a name or a list of names in these members, of which a tenant sees its own.
    pub(crate) own_members: &'static [&'static str],
    pub(crate) growth: Option<Growth>,
}

/// The methods that this API has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

use Verb::{Delete, Get, Patch, Post, Put};

const fn op(method: Verb, path: &'static str, id: &'static str, permission: Permission) -> Operation {
    let permission = Some(permission);
    Operation { id, method, path, permission, names: &[], lists: None, own_members: &[], growth: None }
}

impl Operation {
    const fn names(self, names: &'static [(Refers, Place)]) -> Self {
        Self { names, ..self }
    }

    const fn lists(self, member: &'static str) -> Self {
        Self { lists: Some(member), ..self }
    }

    const fn own_members(self, members: &'static [&'static str]) -> Self {
        Self { own_members: members, ..self }
    }

    const fn grows(self, growth: Growth) -> Self {
        Self { growth: Some(growth), ..self }
    }

    const fn open(self) -> Self {
        Self { permission: None, ..self }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.method == Get
    }
}

const VOLUME: &[(Refers, Place)] = &[(Existing("volume"), Path("name"))];
const GROUP: &[(Refers, Place)] = &[(Existing("group"), Path("name"))];
const HOST: &[(Refers, Place)] = &[(Existing("host"), Path("name"))];
const HOST_GROUP: &[(Refers, Place)] = &[(Existing("host group"), Path("name"))];
const HOST_GROUP_CHANGE: &[(Refers, Place)] = &[
    (Existing("host group"), Path("name")),
    (Existing("host"), Body("add")),
    (Existing("host"), Body("remove")),
];
const POOL: &[(Refers, Place)] = &[(Pool, Path("name"))];
const USER: &[(Refers, Place)] = &[(Existing("user"), Path("name"))];
const TENANT: &[(Refers, Place)] = &[(Tenant, Path("name"))];
const EXPORT: &[(Refers, Place)] = &[(Export, Path("selector"))];
const NEW_EXPORT: &[(Refers, Place)] = &[
    (Existing("volume"), Body("volume")),
    (Existing("host"), Body("host")),
    (Existing("host group"), Body("host_group")),
];
const POLICY: &[(Refers, Place)] = &[(Existing("policy"), Path("name"))];
/// What may name what is not the tenant's: a clone's origin and the group of the node that has a volume.
const VOLUME_MEMBERS: &[&str] = &["origin", "group"];
const GROUP_MEMBERS: &[&str] = &["volumes", "offline_volumes"];
const HOST_MEMBERS: &[&str] = &["groups"];
const HOST_GROUP_MEMBERS: &[&str] = &["hosts"];
const EXPORT_MEMBERS: &[&str] = &["host", "host_group"];
const ATTACHED_MEMBERS: &[&str] = &["policy", "through_group"];
/// To what it is attached.
const POLICY_MEMBERS: &[&str] = &["volumes", "groups"];
const VOLUME_POLICY: &[(Refers, Place)] = &[(Existing("volume"), Path("name")), (Policy, Body("policy"))];
const GROUP_POLICY: &[(Refers, Place)] = &[(Existing("group"), Path("name")), (Policy, Body("policy"))];
const MIGRATION: &[(Refers, Place)] = &[(Existing("volume"), Path("name")), (Pool, Body("to_pool"))];
const CHANGE_GROUP: &[(Refers, Place)] = &[
    (Existing("group"), Path("name")),
    (New("group"), Body("name")),
    (Existing("volume"), Body("add")),
    (Existing("volume"), Body("remove")),
];

/// Every operation.
pub(crate) const OPERATIONS: &[Operation] = &[
    op(Get, "/v1/devices", "list_devices", ReadDevices),
    op(Post, "/v1/devices/scan", "scan_devices", ChangeDevices),
    op(Get, "/v1/pools", "list_pools", ReadPools),
    op(Post, "/v1/pools", "create_pool", ChangePools).names(&[(Pool, Body("name"))]),
    op(Get, "/v1/pools/{name}", "show_pool", ReadPools).names(POOL),
    op(Patch, "/v1/pools/{name}", "change_pool", ChangePools).names(POOL),
    op(Delete, "/v1/pools/{name}", "delete_pool", ChangePools).names(POOL),
    op(Post, "/v1/pools/{name}/scrub", "start_scrub", ChangePools).names(POOL),
    op(Delete, "/v1/pools/{name}/scrub", "stop_scrub", ChangePools).names(POOL),
    op(Get, "/v1/pools/{name}/tiers", "show_tiers", ReadPools).names(POOL),
    op(Put, "/v1/pools/{name}/tiers", "place_pool", ChangePools).names(POOL),
    op(Put, "/v1/pools/{name}/devices/{device}/tier", "set_device_tier", ChangeDevices).names(POOL),
    op(Get, "/v1/pools/{name}/history", "show_pool_history", ReadPools).names(POOL),
    op(Get, "/v1/pools/{name}/devices/{device}/history", "show_device_history", ReadPools).names(POOL),
    op(Get, "/v1/pools/{name}/forecast", "show_pool_forecast", ReadPools).names(POOL),
    op(Get, "/v1/volumes/{name}/history", "show_volume_history", ReadVolumes).names(VOLUME),
    op(Get, "/v1/volumes/{name}/forecast", "show_volume_forecast", ReadVolumes).names(VOLUME),
    op(Get, "/v1/volumes/{name}/placement", "show_placement", ReadVolumes).names(VOLUME),
    op(Post, "/v1/pools/{name}/devices", "add_device", ChangeDevices).names(POOL),
    op(Delete, "/v1/pools/{name}/devices/{device}", "remove_device", ChangeDevices).names(POOL),
    op(Post, "/v1/pools/{name}/devices/{device}/drain", "drain_device", ChangeDevices).names(POOL),
    op(Delete, "/v1/pools/{name}/devices/{device}/drain", "keep_device", ChangeDevices).names(POOL),
    op(Post, "/v1/pools/{name}/devices/{device}/replace", "replace_device", ChangeDevices).names(POOL),
    op(Post, "/v1/pools/{name}/devices/{device}/grow", "grow_device", ChangeDevices).names(POOL),
    op(Post, "/v1/pools/{name}/devices/{device}/return", "return_device", ChangeDevices).names(POOL),
    op(Get, "/v1/volumes", "list_volumes", ReadVolumes).lists("name").own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes", "create_volume", ChangeVolumes)
        .names(&[(New("volume"), Body("name")), (Pool, Body("pool")), (Policy, Body("policy"))])
        .grows(Create)
        .own_members(VOLUME_MEMBERS),
    op(Get, "/v1/volumes/{name}", "show_volume", ReadVolumes).names(VOLUME).own_members(VOLUME_MEMBERS),
    op(Patch, "/v1/volumes/{name}", "change_volume", ChangeVolumes).names(VOLUME).own_members(VOLUME_MEMBERS),
    op(Delete, "/v1/volumes/{name}", "delete_volume", ChangeVolumes).names(VOLUME),
    op(Post, "/v1/volumes/{name}/resize", "resize_volume", ChangeVolumes)
        .names(VOLUME)
        .grows(Resize)
        .own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes/{name}/rename", "rename_volume", ChangeVolumes)
        .names(&[(Existing("volume"), Path("name")), (New("volume"), Body("name"))])
        .grows(Rename)
        .own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes/{name}/clone", "clone_volume", ChangeVolumes)
        .names(&[(Existing("volume"), Path("name")), (New("volume"), Body("name"))])
        .grows(Clone)
        .own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes/{name}/rollback", "roll_back_volume", ChangeVolumes)
        .names(VOLUME)
        .grows(RollBack)
        .own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes/{name}/promote", "promote_volume", ChangeVolumes)
        .names(VOLUME)
        .own_members(VOLUME_MEMBERS),
    op(Post, "/v1/volumes/{name}/rotate-key", "rotate_volume_key", ChangeVolumes)
        .names(VOLUME)
        .own_members(VOLUME_MEMBERS),
    // What names a device of the node is nobody's but the node's.
    op(Post, "/v1/image-volumes", "adopt_volume", ChangeDevices).names(&[(New("volume"), Body("name"))]),
    op(Post, "/v1/volumes/{name}/release", "release_volume", ChangeDevices).names(VOLUME),
    op(Post, "/v1/volumes/{name}/migration", "migrate_volume", ChangeDevices).names(MIGRATION).grows(Migrate),
    op(Delete, "/v1/volumes/{name}/migration", "cancel_migration", ChangeDevices).names(VOLUME),
    op(Get, "/v1/volumes/{name}/policy", "show_volume_policy", ReadVolumes)
        .names(VOLUME)
        .own_members(ATTACHED_MEMBERS),
    op(Put, "/v1/volumes/{name}/policy", "attach_volume_policy", ChangeVolumes)
        .names(VOLUME_POLICY)
        .own_members(ATTACHED_MEMBERS),
    op(Delete, "/v1/volumes/{name}/policy", "detach_volume_policy", ChangeVolumes)
        .names(VOLUME)
        .own_members(ATTACHED_MEMBERS),
    op(Get, "/v1/volumes/{name}/changes", "list_changes", ReadVolumes).names(VOLUME),
    op(Get, "/v1/volumes/{name}/stats", "show_volume_stats", ReadVolumes).names(VOLUME),
    op(Get, "/v1/volumes/{name}/snapshots", "list_snapshots", ReadSnapshots).names(VOLUME),
    op(Post, "/v1/volumes/{name}/snapshots", "create_snapshot", ChangeSnapshots).names(VOLUME),
    op(Get, "/v1/volumes/{name}/snapshots/{snapshot}", "show_snapshot", ReadSnapshots).names(VOLUME),
    op(Patch, "/v1/volumes/{name}/snapshots/{snapshot}", "change_snapshot", ChangeSnapshots).names(VOLUME),
    op(Delete, "/v1/volumes/{name}/snapshots/{snapshot}", "delete_snapshot", ChangeSnapshots).names(VOLUME),
    op(Get, "/v1/snapshots", "list_all_snapshots", ReadSnapshots).lists("volume"),
    op(Post, "/v1/snapshot-sets", "create_snapshot_set", ChangeSnapshots)
        .names(&[(Existing("volume"), Body("volumes"))]),
    op(Get, "/v1/groups", "list_groups", ReadGroups).lists("name").own_members(GROUP_MEMBERS),
    op(Post, "/v1/groups", "create_group", ChangeGroups)
        .names(&[(New("group"), Body("name")), (Existing("volume"), Body("volumes"))])
        .own_members(GROUP_MEMBERS),
    op(Get, "/v1/groups/{name}", "show_group", ReadGroups).names(GROUP).own_members(GROUP_MEMBERS),
    op(Patch, "/v1/groups/{name}", "change_group", ChangeGroups)
        .names(CHANGE_GROUP)
        .own_members(GROUP_MEMBERS),
    op(Delete, "/v1/groups/{name}", "delete_group", ChangeGroups).names(GROUP),
    op(Get, "/v1/groups/{name}/snapshots", "list_group_snapshots", ReadGroups).names(GROUP),
    op(Post, "/v1/groups/{name}/snapshots", "create_group_snapshot", ChangeGroups).names(GROUP),
    op(Delete, "/v1/groups/{name}/snapshots/{snapshot}", "delete_group_snapshot", ChangeGroups).names(GROUP),
    op(Post, "/v1/groups/{name}/rollback", "roll_back_group", ChangeGroups).names(GROUP).grows(RollBackGroup),
    op(Get, "/v1/groups/{name}/policy", "show_group_policy", ReadGroups)
        .names(GROUP)
        .own_members(ATTACHED_MEMBERS),
    op(Put, "/v1/groups/{name}/policy", "attach_group_policy", ChangeGroups)
        .names(GROUP_POLICY)
        .own_members(ATTACHED_MEMBERS),
    op(Delete, "/v1/groups/{name}/policy", "detach_group_policy", ChangeGroups).names(GROUP),
    op(Get, "/v1/policies", "list_policies", ReadPolicies).lists("name").own_members(POLICY_MEMBERS),
    op(Post, "/v1/policies", "create_policy", ChangePolicies).names(&[(New("policy"), Body("name"))]),
    op(Get, "/v1/policies/{name}", "show_policy", ReadPolicies)
        .names(&[(Policy, Path("name"))])
        .own_members(POLICY_MEMBERS),
    op(Put, "/v1/policies/{name}", "change_policy", ChangePolicies).names(POLICY).own_members(POLICY_MEMBERS),
    op(Delete, "/v1/policies/{name}", "delete_policy", ChangePolicies).names(POLICY),
    op(Get, "/v1/exports", "list_exports", ReadExports).lists("volume").own_members(EXPORT_MEMBERS),
    op(Post, "/v1/exports", "create_export", ChangeExports).names(NEW_EXPORT).own_members(EXPORT_MEMBERS),
    op(Get, "/v1/exports/{selector}", "show_exports", ReadExports).names(EXPORT).own_members(EXPORT_MEMBERS),
    op(Delete, "/v1/exports/{selector}", "delete_export", ChangeExports).names(EXPORT),
    op(Get, "/v1/hosts", "list_hosts", ReadHosts).lists("name").own_members(HOST_MEMBERS),
    op(Post, "/v1/hosts", "create_host", ChangeHosts).names(&[(New("host"), Body("name"))]),
    op(Get, "/v1/hosts/{name}", "show_host", ReadHosts).names(HOST).own_members(HOST_MEMBERS),
    op(Patch, "/v1/hosts/{name}", "change_host", ChangeHosts).names(HOST),
    op(Delete, "/v1/hosts/{name}", "delete_host", ChangeHosts).names(HOST),
    op(Get, "/v1/host-groups", "list_host_groups", ReadHosts).lists("name").own_members(HOST_GROUP_MEMBERS),
    op(Post, "/v1/host-groups", "create_host_group", ChangeHosts)
        .names(&[(New("host group"), Body("name")), (Existing("host"), Body("hosts"))]),
    op(Get, "/v1/host-groups/{name}", "show_host_group", ReadHosts)
        .names(HOST_GROUP)
        .own_members(HOST_GROUP_MEMBERS),
    op(Patch, "/v1/host-groups/{name}", "change_host_group", ChangeHosts).names(HOST_GROUP_CHANGE),
    op(Delete, "/v1/host-groups/{name}", "delete_host_group", ChangeHosts).names(HOST_GROUP),
    // Documents and jobs are of all of a node.
    op(Get, "/v1/state", "show_state", ReadNode),
    op(Post, "/v1/state", "apply_state", ChangePools),
    op(Post, "/v1/state/plan", "plan_state", ChangePools),
    op(Get, "/v1/jobs", "list_jobs", ReadNode),
    op(Get, "/v1/jobs/{id}", "show_job", ReadNode),
    op(Post, "/v1/jobs/{id}/cancel", "cancel_job", ChangePools),
    op(Get, "/v1/keyring", "show_keyring", ReadKeyring),
    op(Post, "/v1/keyring/unlock", "unlock_keyring", ChangeKeyring),
    op(Get, "/v1/events", "list_events", ReadNode),
    op(Get, "/v1/stats", "show_stats", ReadNode),
    op(Get, "/v1/slow-requests", "list_slow_requests", ReadNode),
    op(Get, "/v1/log", "show_log", ReadNode),
    op(Get, "/v1/configuration", "show_configuration", ReadNode),
    op(Get, "/v1/status", "status", ReadNode),
    op(Get, "/v1/health", "health", ReadNode).open(),
    op(Post, "/v1/login", "log_in", UseSession).open().names(&[(Existing("user"), Body("user"))]),
    op(Get, "/v1/session", "show_session", UseSession),
    op(Delete, "/v1/session", "log_out", UseSession),
    op(Get, "/v1/users", "list_users", ReadUsers).lists("name"),
    op(Post, "/v1/users", "create_user", ChangeUsers).names(&[(New("user"), Body("name"))]),
    op(Get, "/v1/users/{name}", "show_user", ReadUsers).names(USER),
    op(Delete, "/v1/users/{name}", "delete_user", ChangeUsers).names(USER),
    op(Put, "/v1/users/{name}/password", "set_password", UseSession).names(USER),
    op(Get, "/v1/tokens", "list_tokens", UseSession),
    op(Post, "/v1/tokens", "create_token", UseSession),
    op(Delete, "/v1/tokens/{id}", "revoke_token", UseSession),
    op(Get, "/v1/tenants", "list_tenants", ReadTenants),
    op(Post, "/v1/tenants", "create_tenant", ChangeTenants).names(&[(Tenant, Body("name"))]),
    op(Get, "/v1/tenants/{name}", "show_tenant", ReadTenants).names(TENANT),
    op(Patch, "/v1/tenants/{name}", "change_tenant", ChangeTenants).names(TENANT),
    op(Delete, "/v1/tenants/{name}", "delete_tenant", ChangeTenants).names(TENANT),
    op(Get, "/v1/audit", "list_audit", ReadAudit),
    op(Get, "/v1/audit/verification", "verify_audit", ReadAudit),
    op(Get, "/v1/watch", "watch", UseSession),
    // These two are not in the OpenAPI document: one is the document, and the other has a form of its own.
    op(Get, "/v1/openapi.json", "openapi", UseSession),
    op(Get, "/metrics", "metrics", ReadMetrics),
];

/// The operation of a method on a path as it was matched.
pub(crate) fn find(method: &Method, path: &str) -> Option<&'static Operation> {
    static BY_ROUTE: LazyLock<BTreeMap<(Verb, &'static str), &'static Operation>> = LazyLock::new(|| {
        OPERATIONS.iter().map(|operation| ((operation.method, operation.path), operation)).collect()
    });
    BY_ROUTE.get(&(known(method)?, path)).copied()
}

/// The operation with this id.
pub(crate) fn by_id(id: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.id == id)
}

/// What shows the object that a change is about, and the path of that: of the change's own path as much as can be shown.
pub(crate) fn shown<'a>(change: &Operation, path: &'a str) -> Option<(&'static Operation, &'a str)> {
    let (mut template, mut path) = (change.path, path);
    loop {
        if let Some(show) = find(&Method::GET, template) {
            return Some((show, path));
        }
        template = template.rsplit_once('/')?.0;
        path = path.rsplit_once('/')?.0;
    }
}

/// The answer to a method that a path does not have.
pub(crate) fn not_allowed(request: &Request, path: &str) -> Response {
    let of_path = OPERATIONS.iter().filter(|operation| operation.path == path);
    let allowed: Vec<_> = of_path.map(|operation| operation.method.as_str()).collect();
    let mut response = method_not_allowed(request.method(), request.uri()).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed.join(",")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Get => "GET,HEAD",
            Post => "POST",
            Put => "PUT",
            Patch => "PATCH",
            Delete => "DELETE",
        }
    }
}

fn known(method: &Method) -> Option<Verb> {
    match method.as_str() {
        // Whoever serves GET serves HEAD.
        "GET" | "HEAD" => Some(Get),
        "POST" => Some(Post),
        "PUT" => Some(Put),
        "PATCH" => Some(Patch),
        "DELETE" => Some(Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const UNDOCUMENTED: [&str; 2] = ["openapi", "metrics"];
    /// Parts of paths that name something inside what another part names, or what the handler looks at itself.
    const INNER: [&str; 3] = ["snapshot", "device", "id"];

    #[test]
    fn every_operation_of_the_document_is_in_the_table_and_the_other_way_round() {
        let document: Value = serde_json::from_str(&crate::openapi_json()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = known(&method.to_uppercase().parse().unwrap()).unwrap();
                documented.insert((
                    path.clone(),
                    method,
                    operation["operationId"].as_str().unwrap().to_owned(),
                ));
            }
        }
        let of_table = OPERATIONS.iter().filter(|operation| !UNDOCUMENTED.contains(&operation.id));
        let table: Vec<_> = of_table.map(|op| (op.path.to_owned(), op.method, op.id.to_owned())).collect();
        assert_eq!(table.len(), table.iter().collect::<BTreeSet<_>>().len(), "an operation stands twice");
        assert_eq!(table.into_iter().collect::<BTreeSet<_>>(), documented);
    }

    #[test]
    fn no_part_of_a_path_is_overlooked() {
        for operation in OPERATIONS {
            for part in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            {
                let is_named = operation.names.iter().any(|&(_, place)| place == Place::Path(part));
                assert!(is_named || INNER.contains(&part), "{}: {part}", operation.id);
            }
        }
    }

    /// Names in bodies that are no names of things that belong to somebody.
    const PLAIN: [(&str, &str); 10] = [
        ("create_snapshot", "name"),
        ("create_snapshot_set", "name"),
        ("change_snapshot", "name"),
        ("create_group_snapshot", "name"),
        ("create_token", "tenant"),
        ("create_user", "tenant"),
        ("create_tenant", "pools"),
        ("change_tenant", "pools"),
        ("create_tenant", "policies"),
        ("change_tenant", "policies"),
    ];

    #[test]
    fn no_name_in_a_body_is_overlooked() {
        let document: Value = serde_json::from_str(&crate::openapi_json()).unwrap();
        let target = |schema: &Value| -> Value {
            let reference = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
            reference.map_or_else(|| schema.clone(), |pointer| document.pointer(pointer).unwrap().clone())
        };
        for operation in OPERATIONS.iter().filter(|operation| !UNDOCUMENTED.contains(&operation.id)) {
            let method = format!("{:?}", operation.method).to_lowercase();
            let body = &document["paths"][operation.path][method]["requestBody"];
            let schema = target(&body["content"]["application/json"]["schema"]);
            for (member, schema) in schema["properties"].as_object().into_iter().flatten() {
                let is_name = schema.to_string().contains("#/components/schemas/Name\"");
                let is_inner = member == "snapshot";
                let is_known = operation
                    .names
                    .iter()
                    .any(|&(_, place)| place == Place::Body(member_of(operation, member)));
                let is_plain = PLAIN.contains(&(operation.id, member));
                assert!(!is_name || is_inner || is_known || is_plain, "{}: {member}", operation.id);
            }
        }
    }

    fn member_of(operation: &Operation, member: &str) -> &'static str {
        let bodies = operation.names.iter().filter_map(|&(_, place)| match place {
            Place::Body(name) => Some(name),
            Place::Path(_) => None,
        });
        bodies.into_iter().find(|name| *name == member).unwrap_or("")
    }
}
