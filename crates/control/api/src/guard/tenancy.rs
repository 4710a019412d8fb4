//! Whose things a request is about, and whether the asker may.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use quarry_api_types::{ExportSelector, Name, ProblemCode, tenant_of};
use quarry_auth::{Principal, Scope, TenantRecord};
use quarry_node_api::{Node, NodeError};
use serde_json::Value;

use super::Guard;
use super::operations::{Operation, Place, Refers};
use crate::problem::ApiError;

/// The names in a request, with what they stand for.
pub(crate) type Named = Vec<(Refers, String)>;

/// Finds the names where the operation has them.
pub(super) fn names(operation: &Operation, path: &BTreeMap<String, String>, body: Option<&Value>) -> Named {
    let mut found = Named::new();
    for &(refers, place) in operation.names {
        match place {
            Place::Path(part) => found.extend(path.get(part).map(|name| (refers, name.clone()))),
            Place::Body(member) => match body.and_then(|body| body.get(member)) {
                Some(Value::String(name)) => found.push((refers, name.clone())),
                Some(Value::Array(names)) => {
                    found.extend(names.iter().filter_map(|name| Some((refers, name.as_str()?.to_owned()))));
                }
                _ => {}
            },
        }
    }
    found
}

impl Guard {
    /// Whether the asker may do what the operation does with these things. The role alone can forbid it; of what belongs to another
    /// tenant the answer is that it is not there.
    pub(crate) async fn allow(
        &self,
        node: &Arc<dyn Node>,
        principal: &Principal,
        operation: &Operation,
        names: &Named,
        body: Option<&Value>,
    ) -> Result<(), ApiError> {
        let Some(permission) = operation.permission else { return Ok(()) };
        if !self.may(principal, permission, &principal.scope()) {
            return Err(forbidden(principal, operation));
        }
        for (refers, name) in names {
            let permitted = |scope: &Scope| self.may(principal, permission, scope);
            match *refers {
                Refers::Existing(sort) if !permitted(&Scope::of_name(name)) => {
                    return Err(not_there(sort, name));
                }
                Refers::New(sort) if !permitted(&Scope::of_name(name)) => {
                    return Err(foreign_name(principal, sort, name));
                }
                Refers::Tenant if !permitted(&Scope::Tenant(name.clone())) => {
                    return Err(not_there("tenant", name));
                }
                Refers::Pool if !self.is_granted(principal, name, |tenant| &tenant.pools) => {
                    return Err(pool_not_there(principal, name));
                }
                Refers::Policy
                    if !permitted(&Scope::of_name(name))
                        && !self.is_granted(principal, name, |tenant| &tenant.policies) =>
                {
                    return Err(not_there("policy", name));
                }
                Refers::Export if principal.tenant.is_some() => {
                    let scope = export_scope(node, name).await;
                    if !scope.is_some_and(|scope| permitted(&scope)) {
                        return Err(not_there("export", name));
                    }
                }
                _ => {}
            }
        }
        match operation.id {
            "create_export" => check_audience(principal, body),
            _ => Ok(()),
        }
    }

    /// A tenant uses the pools and policies of the node that were granted to it.
    fn is_granted(&self, principal: &Principal, name: &str, granted: fn(&TenantRecord) -> &[Name]) -> bool {
        let Some(tenant) = &principal.tenant else { return true };
        let tenant = self.store.tenant(tenant);
        tenant.is_ok_and(|tenant| granted(&tenant).iter().any(|granted| granted.as_str() == name))
    }

    /// What of an answer is for a tenant to see: of a list what belongs to it or was granted to it, and of the names in what is shown its own.
    pub(super) fn confine(&self, operation: &Operation, tenant: &Name, shown: Value) -> Value {
        let granted = match operation.id {
            "list_policies" => self.store.tenant(tenant).map(|tenant| tenant.policies).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mut shown = match operation.lists {
            Some(member) => only_own(shown, member, tenant, &granted),
            None => shown,
        };
        let things = match &mut shown {
            Value::Array(things) => things.iter_mut().collect(),
            thing => vec![thing],
        };
        for thing in things {
            for member in operation.own_members {
                // What is attached to its own is for it to know, where it is the node's.
                let is_attached = |name: &str| *member == "policy" && tenant_of(name).is_none();
                match thing.get_mut(member) {
                    Some(Value::Array(names)) => {
                        names.retain(|name| name.as_str().is_some_and(|name| belongs(name, tenant)));
                    }
                    Some(Value::String(name)) if !belongs(name, tenant) && !is_attached(name) => {
                        thing.as_object_mut().map(|members| members.remove(*member));
                    }
                    _ => {}
                }
            }
        }
        shown
    }
}

/// Whose an export is: what it serves says it. An id must be looked up.
async fn export_scope(node: &Arc<dyn Node>, selector: &str) -> Option<Scope> {
    match selector.parse().ok()? {
        ExportSelector::Volume(name) => Some(Scope::of_name(name.as_str())),
        ExportSelector::Snapshot(path) => Some(Scope::of_name(path.volume.as_str())),
        selector @ ExportSelector::Id(_) => {
            let found = node.show_exports(&selector).await.ok()?;
            found.first().map(|export| Scope::of_name(export.volume.as_str()))
        }
    }
}

/// What is exported over iSCSI or NVMe/TCP to nobody in particular is seen by the hosts of every tenant, and what is exported over NBD by
/// whoever reaches the port: that is for somebody to say who answers for all of them.
fn check_audience(principal: &Principal, body: Option<&Value>) -> Result<(), ApiError> {
    let member = |name: &str| body.and_then(|body| body.get(name)).filter(|value| !value.is_null());
    if principal.tenant.is_none() {
        return Ok(());
    }
    let (detail, next_step) = match member("protocol").and_then(Value::as_str) {
        Some("iscsi" | "nvme-tcp") if member("host").is_none() && member("host_group").is_none() => (
            "a tenant exports over iscsi and nvme-tcp to its own hosts only",
            "Name one of your hosts or host groups; whoever runs the node makes them.",
        ),
        Some("nbd") => (
            "NBD clients do not say who they are: an export over nbd is for anybody who reaches the port",
            "Export it over iscsi or nvme-tcp to one of your hosts, or have whoever runs the node export it over nbd.",
        ),
        _ => return Ok(()),
    };
    Err(ApiError::new(ProblemCode::Forbidden, StatusCode::FORBIDDEN, detail, next_step))
}

fn forbidden(principal: &Principal, operation: &Operation) -> ApiError {
    let detail =
        format!("the role {} of '{}' does not permit {}", principal.role, principal.user, operation.id);
    ApiError::new(
        ProblemCode::Forbidden,
        StatusCode::FORBIDDEN,
        detail,
        "Ask somebody whose role permits it; `quarry whoami` shows yours.",
    )
}

/// The same answer as the node's own when it has no such thing.
pub(crate) fn not_there(sort: &str, name: &str) -> ApiError {
    NodeError::not_found(sort, name).into()
}

/// A tenant may not list pools.
fn pool_not_there(principal: &Principal, name: &str) -> ApiError {
    let Some(tenant) = &principal.tenant else { return not_there("pool", name) };
    ApiError::new(
        ProblemCode::NotFound,
        StatusCode::NOT_FOUND,
        format!("pool '{name}' does not exist"),
        &format!("`quarry tenant show {tenant}` names the pools in which it may have volumes."),
    )
}

fn foreign_name(principal: &Principal, sort: &str, name: &str) -> ApiError {
    let tenant = principal.tenant.as_ref().map_or("", Name::as_str);
    ApiError::new(
        ProblemCode::Forbidden,
        StatusCode::FORBIDDEN,
        format!("'{name}' is no name for a {sort} of tenant '{tenant}'"),
        &format!("Choose a name that begins with '{tenant}.'"),
    )
}

fn belongs(name: &str, tenant: &Name) -> bool {
    Scope::of_name(name) == Scope::Tenant(tenant.to_string())
}

/// What of a list belongs to a tenant or was granted to it, by this member of each item.
fn only_own(list: Value, member: &str, tenant: &Name, granted: &[Name]) -> Value {
    let is_own = |item: &Value| {
        let name = item.get(member).and_then(Value::as_str).unwrap_or("");
        belongs(name, tenant) || granted.iter().any(|granted| granted.as_str() == name)
    };
    match list {
        Value::Array(items) => Value::Array(items.into_iter().filter(is_own).collect()),
        _ => Value::Array(Vec::new()),
    }
}
