//! What belongs to a tenant has nothing of anybody else in it, whoever puts it there: a group of a tenant holds volumes of that tenant, and a
//! policy of a tenant is attached to what is the tenant's. What is the node's may hold, and be attached to, anything.

use std::sync::Arc;

use axum::http::StatusCode;
use quarry_api_types::{Name, ProblemCode, State, StatedKind, StatedPlace, StatedProblem, Volume, tenant_of};
use quarry_auth::{Permission, Principal, Scope, TenantRecord};
use quarry_node_api::{ErrorKind, Node, NodeError};
use serde_json::Value;

use super::Guard;
use super::operations::Operation;
use crate::problem::ApiError;

/// What holds something, and what it holds.
struct Hold {
    holder: (&'static str, String),
    held: (&'static str, String),
}

impl Hold {
    fn of(holder: (&'static str, &str), held: (&'static str, &str)) -> Self {
        Self { holder: (holder.0, holder.1.to_owned()), held: (held.0, held.1.to_owned()) }
    }
}

impl Guard {
    /// Fails when a change would put something into what is a tenant's that is not of the same tenant, or take it out of what holds it.
    pub(super) async fn check_belonging(
        &self,
        node: &Arc<dyn Node>,
        principal: &Principal,
        operation: &Operation,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), ApiError> {
        match operation.id {
            "promote_volume" => return self.check_promotion(node, principal, path).await,
            "delete_pool" => return self.check_ungranted("pool", path, |tenant| &tenant.pools),
            "delete_policy" => return self.check_ungranted("policy", path, |tenant| &tenant.policies),
            _ => {}
        }
        let holds = holds(node, operation, path, body).await;
        match holds.iter().find(|hold| !self.may_hold(&hold.holder.1, &hold.held.1, &[])) {
            None => Ok(()),
            Some(hold) => {
                let next_step =
                    "Take what belongs to the same tenant, or something of the node's that holds it.";
                Err(NodeError::new(ErrorKind::Conflict, said(hold)).with_next_step(next_step).into())
            }
        }
    }

    /// What a document would put where it does not belong.
    pub(crate) fn misplaced(&self, state: &State) -> Vec<StatedProblem> {
        let stated: Vec<&Name> = state.tenants.iter().map(|tenant| &tenant.name).collect();
        let mut problems = Vec::new();
        let mut look = |kind, index, name: &Name, field: &str, hold: Hold| {
            if !self.may_hold(&hold.holder.1, &hold.held.1, &stated) {
                let place =
                    StatedPlace { kind, index, name: name.to_string(), field: Some(field.to_owned()) };
                problems.push(StatedProblem { place, message: said(&hold), is_conflict: false });
            }
        };
        for (index, volume) in state.volumes.iter().enumerate() {
            if let Some(policy) = &volume.policy {
                let hold = Hold::of(("policy", policy.as_str()), ("volume", volume.name.as_str()));
                look(StatedKind::Volume, index, &volume.name, "policy", hold);
            }
        }
        for (index, group) in state.groups.iter().enumerate() {
            let holder = ("group", group.name.as_str());
            for volume in &group.volumes {
                let hold = Hold::of(holder, ("volume", volume.as_str()));
                look(StatedKind::Group, index, &group.name, "volumes", hold);
            }
            if let Some(policy) = &group.policy {
                let hold = Hold::of(("policy", policy.as_str()), holder);
                look(StatedKind::Group, index, &group.name, "policy", hold);
            }
        }
        for (index, group) in state.host_groups.iter().enumerate() {
            for host in &group.hosts {
                let hold = Hold::of(("host group", group.name.as_str()), ("host", host.as_str()));
                look(StatedKind::HostGroup, index, &group.name, "hosts", hold);
            }
        }
        problems
    }

    /// Whether what has one name may hold what has the other one. `more` are tenants that are about to be made.
    fn may_hold(&self, holder: &str, held: &str, more: &[&Name]) -> bool {
        let is_tenant = |name: &&str| {
            let is_there = name.parse().is_ok_and(|name: Name| self.store.tenant(&name).is_ok());
            is_there || more.iter().any(|tenant| tenant.as_str() == *name)
        };
        let owner = tenant_of(holder).filter(is_tenant);
        owner.is_none() || owner == tenant_of(held)
    }

    /// What a tenant was granted stays, so that its name does not become that of something else which nobody granted.
    fn check_ungranted(
        &self,
        sort: &'static str,
        name: &str,
        granted: fn(&TenantRecord) -> &[Name],
    ) -> Result<(), ApiError> {
        let has = |tenant: &TenantRecord| {
            let shares = tenant.shares.iter().map(|share| &share.pool).filter(|_| sort == "pool");
            granted(tenant).iter().chain(shares).any(|one| one.as_str() == name)
        };
        let Some(tenant) = self.store.tenants().into_iter().find(has) else { return Ok(()) };
        let what = format!("{sort} '{name}' is granted to tenant '{}'", tenant.name);
        let next_step =
            format!("`quarry tenant set {} --{sort} ...` says what it is granted instead.", tenant.name);
        Err(NodeError::new(ErrorKind::InUse, what).with_next_step(next_step).into())
    }

    /// A promotion takes the snapshots of the origin away from it.
    async fn check_promotion(
        &self,
        node: &Arc<dyn Node>,
        principal: &Principal,
        name: &str,
    ) -> Result<(), ApiError> {
        let Some(volume) = volume(node, name).await else { return Ok(()) };
        let Some(origin) = volume.origin else { return Ok(()) };
        let scope = Scope::of_name(origin.volume.as_str());
        if self.may(principal, Permission::ChangeVolumes, &scope) {
            return Ok(());
        }
        Err(ApiError::new(
            ProblemCode::Forbidden,
            StatusCode::FORBIDDEN,
            format!("volume '{name}' is a clone of what you may not change, and would take its snapshots"),
            "Ask whoever runs the node to promote it.",
        ))
    }
}

async fn volume(node: &Arc<dyn Node>, name: &str) -> Option<Volume> {
    node.show_volume(&name.parse().ok()?).await.ok()
}

/// What would hold what after a change. What is not there, or wrong, is for the node to refuse.
async fn holds(node: &Arc<dyn Node>, operation: &Operation, path: &str, body: Option<&Value>) -> Vec<Hold> {
    let member = |name: &str| body.and_then(|body| body.get(name));
    let text = |name: &str| member(name).and_then(Value::as_str);
    let texts = |name: &str| -> Vec<&str> {
        member(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let all = |holder: (&'static str, &str), sort: &'static str, names: Vec<&str>| -> Vec<Hold> {
        names.into_iter().map(|name| Hold::of(holder, (sort, name))).collect()
    };
    let attached = |held: (&'static str, &str)| -> Vec<Hold> {
        text("policy").map(|policy| Hold::of(("policy", policy), held)).into_iter().collect()
    };
    match operation.id {
        "create_volume" => attached(("volume", text("name").unwrap_or_default())),
        "attach_volume_policy" => attached(("volume", path)),
        "attach_group_policy" => attached(("group", path)),
        "create_group" => all(("group", text("name").unwrap_or_default()), "volume", texts("volumes")),
        "create_host_group" => all(("host group", text("name").unwrap_or_default()), "host", texts("hosts")),
        "change_host_group" => all(("host group", path), "host", texts("add")),
        "change_group" => {
            let name = text("name").unwrap_or(path);
            let mut holds = all(("group", name), "volume", texts("add"));
            if name != path
                && let Ok(old) = path.parse::<Name>()
            {
                if let Ok(group) = node.show_group(&old).await {
                    let volumes = group.volumes.iter().chain(&group.offline_volumes);
                    holds.extend(all(("group", name), "volume", volumes.map(Name::as_str).collect()));
                }
                if let Ok(policy) = node.show_group_policy(&old).await {
                    let policy = policy.policy.iter();
                    holds.extend(policy.map(|policy| Hold::of(("policy", policy.as_str()), ("group", name))));
                }
            }
            holds
        }
        "rename_volume" => {
            let held = ("volume", text("name").unwrap_or_default());
            let mut holds = Vec::new();
            if let Some(group) = volume(node, path).await.and_then(|volume| volume.group) {
                holds.push(Hold::of(("group", group.as_str()), held));
            }
            if let Ok(old) = path.parse::<Name>()
                && let Ok(attached) = node.show_volume_policy(&old).await
            {
                let policy = attached.policy.iter();
                holds.extend(policy.map(|policy| Hold::of(("policy", policy.as_str()), held)));
            }
            holds
        }
        _ => Vec::new(),
    }
}

fn said(hold: &Hold) -> String {
    let ((holder_sort, holder), (held_sort, held)) = (&hold.holder, &hold.held);
    let tenant = tenant_of(holder).unwrap_or_default();
    let verb = if *holder_sort == "policy" { "is not for" } else { "has no place for" };
    format!("{holder_sort} '{holder}' is of tenant '{tenant}' and {verb} {held_sort} '{held}', which is not")
}
