//! Tenants of a document of intended state. They are kept beside the node, by the guard, so they are compared and made here; the job of the
//! document has them made before everything else.

use std::sync::Arc;

use async_trait::async_trait;
use quarry_api_types::{
    ChangeTenant, CreateTenant, InvalidRequest, Name, PoolShare, QualityOfService, State, StatePlan,
    StatedAction, StatedChange, StatedKind, StatedPlace, StatedProblem, StatedTenant,
};
use quarry_auth::TenantRecord;
use quarry_node_api::{ErrorKind, NodeError, TenantKeeper, TenantsMade};
use quarry_types::ByteSize;

use crate::Guard;
use crate::access::blocking;
use crate::guard::now;

/// What is done for one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TenantStep {
    Create(CreateTenant),
    Change(Name, ChangeTenant),
}

/// What is to be done, and what it comes to for people.
#[derive(Default)]
pub(crate) struct TenantSteps {
    pub(crate) steps: Vec<TenantStep>,
    pub(crate) plan: StatePlan,
}

/// The tenants that a guard keeps.
pub struct Tenants(Arc<Guard>);

impl Tenants {
    /// Those of `guard`.
    pub fn of(guard: &Arc<Guard>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(guard)))
    }
}

#[async_trait]
impl TenantKeeper for Tenants {
    async fn make_tenants(
        &self,
        job: u64,
        stated: Vec<StatedTenant>,
    ) -> quarry_node_api::Result<TenantsMade> {
        let Self(guard) = self;
        let what = || NodeError::new(ErrorKind::Internal, "the tenants of the document were not all made");
        // Whether it can be was looked at before the job was begun.
        let wanted = State { tenants: stated, ..State::default() };
        let steps = plan(&wanted, &guard.store.tenants(), &Grantable::default()).steps;
        let count = steps.len();
        for step in steps {
            let (operation, name) = match &step {
                TenantStep::Create(request) => ("create_tenant", request.name.clone()),
                TenantStep::Change(name, _) => ("change_tenant", name.clone()),
            };
            let told = guard.step(operation, name.as_str(), &format!("job {job} of apply_state")).await;
            told.map_err(|cause| what().with_cause(format!("the audit log takes no entries: {cause}")))?;
            let done = blocking(guard, move |guard| match step {
                TenantStep::Create(request) => guard.store.create_tenant(request, now()),
                TenantStep::Change(name, request) => guard.store.change_tenant(&name, request),
            });
            done.await.map_err(|error| what().with_cause(format!("tenant '{name}': {}", error.detail())))?;
        }
        Ok(TenantsMade { steps: count, qos: guard.tenants_qos() })
    }
}

/// A tenant as a document states it.
pub(crate) fn stated(record: &TenantRecord) -> StatedTenant {
    let mut stated = StatedTenant {
        name: record.name.clone(),
        pools: Some(record.pools.clone()),
        policies: Some(record.policies.clone()),
        shares: Some(record.shares.clone()),
        capacity_bytes: Some(record.capacity_bytes.unwrap_or(0)),
        volumes: Some(record.volumes.unwrap_or(0)),
        qos: record.qos(),
        version: None,
    };
    stated.version = version_of(&stated);
    stated
}

/// A short text that is another one whenever the tenant is.
fn version_of(stated: &StatedTenant) -> Option<String> {
    let json = serde_json::to_vec(stated).ok()?;
    Some(blake3::hash(&json).to_hex()[..16].to_owned())
}

/// The names of what there is of the node's and may be granted.
#[derive(Default)]
pub(crate) struct Grantable {
    pub(crate) pools: Vec<Name>,
    pub(crate) policies: Vec<Name>,
}

/// Compares.
pub(crate) fn plan(wanted: &State, present: &[TenantRecord], there: &Grantable) -> TenantSteps {
    let mut out = TenantSteps::default();
    for (index, stated) in wanted.tenants.iter().enumerate() {
        let found = present.iter().find(|record| record.name == stated.name);
        let place = |field: Option<&str>| StatedPlace {
            kind: StatedKind::Tenant,
            index,
            name: stated.name.to_string(),
            field: field.map(str::to_owned),
        };
        let mut refuse = |field: Option<&str>, message: String, is_conflict| {
            out.plan.problems.push(StatedProblem { place: place(field), message, is_conflict });
        };
        let (step, what) = match found {
            None => (Some(create(stated)), Vec::new()),
            Some(record) => change(stated, record),
        };
        if let Some(Err(InvalidRequest { field, message, .. })) = step.as_ref().map(TenantStep::check) {
            refuse(Some(field), message, false);
        }
        // What a tenant has by name stays, also when it is gone by now: what was exported can be applied.
        let has = |granted: fn(&TenantRecord) -> &[Name], name: &Name| {
            found.is_some_and(|record| granted(record).contains(name))
        };
        let is_pool = |name: &Name| {
            there.pools.contains(name)
                || wanted.pools.iter().any(|pool| pool.name == *name)
                || has(|record| &record.pools, name)
        };
        if let Some(missing) = stated.pools.iter().flatten().find(|name| !is_pool(name)) {
            let message = format!("there is no pool '{missing}', and the document states none");
            refuse(Some("pools"), message, false);
        }
        let shared = stated.shares.iter().flatten().map(|share| &share.pool);
        if let Some(missing) = shared.into_iter().find(|name| !is_pool(name)) {
            let message = format!("there is no pool '{missing}', and the document states none");
            refuse(Some("shares"), message, false);
        }
        let is_policy = |name: &Name| {
            there.policies.contains(name)
                || wanted.policies.iter().any(|policy| policy.name == *name)
                || has(|record| &record.policies, name)
        };
        if let Some(missing) = stated.policies.iter().flatten().find(|name| !is_policy(name)) {
            let message = format!("there is no policy '{missing}', and the document states none");
            refuse(Some("policies"), message, false);
        }
        let Some(step) = step else { continue };
        if let Some(version) = &stated.version {
            let is = found.and_then(|record| self::stated(record).version);
            match is {
                Some(is) if is == *version => {}
                Some(is) => refuse(
                    None,
                    format!(
                        "it has changed since the document was made (version {version}, now {is}); it differs in {}",
                        what.join("; ")
                    ),
                    true,
                ),
                None => refuse(
                    None,
                    format!("it was deleted since the document was made (version {version})"),
                    true,
                ),
            }
        }
        let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
        out.plan.changes.push(StatedChange { place: place(None), action, what });
        out.steps.push(step);
    }
    out
}

fn create(stated: &StatedTenant) -> TenantStep {
    TenantStep::Create(CreateTenant {
        name: stated.name.clone(),
        pools: stated.pools.clone().unwrap_or_default(),
        policies: stated.policies.clone().unwrap_or_default(),
        shares: stated.shares.clone().unwrap_or_default(),
        capacity_bytes: stated.capacity_bytes.filter(|&bytes| bytes > 0),
        volumes: stated.volumes.filter(|&count| count > 0),
        qos: stated.qos.clone(),
    })
}

/// What of a tenant is another than is stated.
fn change(stated: &StatedTenant, record: &TenantRecord) -> (Option<TenantStep>, Vec<String>) {
    let mut what = Vec::new();
    let list = |names: &[Name]| match names {
        [] => "none".to_owned(),
        names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
    };
    let pools = stated.pools.clone().filter(|pools| *pools != record.pools);
    if let Some(pools) = &pools {
        what.push(format!("pools: {} -> {}", list(&record.pools), list(pools)));
    }
    let policies = stated.policies.clone().filter(|policies| *policies != record.policies);
    if let Some(policies) = &policies {
        what.push(format!("policies: {} -> {}", list(&record.policies), list(policies)));
    }
    let shares = stated.shares.clone().filter(|shares| *shares != record.shares);
    if let Some(shares) = &shares {
        what.push(format!("shares: {} -> {}", shown_shares(&record.shares), shown_shares(shares)));
    }
    let bound = |most: u64| if most == 0 { "none".to_owned() } else { most.to_string() };
    let capacity_bytes = stated.capacity_bytes.filter(|&bytes| bytes != record.capacity_bytes.unwrap_or(0));
    if let Some(bytes) = capacity_bytes {
        what.push(format!(
            "capacity_bytes: {} -> {}",
            bound(record.capacity_bytes.unwrap_or(0)),
            bound(bytes)
        ));
    }
    let volumes = stated.volumes.filter(|&count| count != record.volumes.unwrap_or(0));
    if let Some(count) = volumes {
        let before = record.volumes.unwrap_or(0);
        what.push(format!("volumes: {} -> {}", bound(before.into()), bound(count.into())));
    }
    let now = record.qos().unwrap_or_default();
    let qos = stated.qos.clone().filter(|qos| *qos != now);
    if let Some(qos) = &qos {
        what.push(format!("qos: {} -> {}", shown(&now), shown(qos)));
    }
    let change = ChangeTenant { pools, policies, shares, capacity_bytes, volumes, qos };
    let is_any = change != ChangeTenant::default();
    (is_any.then(|| TenantStep::Change(stated.name.clone(), change)), what)
}

fn shown_shares(shares: &[PoolShare]) -> String {
    match shares {
        [] => "none".to_owned(),
        shares => {
            let share = |share: &PoolShare| format!("{}={}", share.pool, ByteSize(share.capacity_bytes));
            shares.iter().map(share).collect::<Vec<_>>().join(", ")
        }
    }
}

fn shown(qos: &QualityOfService) -> String {
    if qos.is_empty() { "none".to_owned() } else { serde_json::to_string(qos).unwrap_or_default() }
}

impl TenantStep {
    fn check(&self) -> Result<(), InvalidRequest> {
        match self {
            Self::Create(request) => request.check(),
            Self::Change(_, request) => request.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use quarry_api_types::Timestamp;

    use super::*;

    fn state(json: serde_json::Value) -> State {
        serde_json::from_value(json).unwrap()
    }

    fn record(json: serde_json::Value) -> TenantRecord {
        let mut whole = serde_json::json!({"pools": ["fast"], "created": Timestamp::from_unix_ms(0)});
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn fast() -> Grantable {
        Grantable { pools: names(&["fast"]), ..Grantable::default() }
    }

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let present =
            [record(serde_json::json!({"name": "acme", "capacity_bytes": 4096, "qos": {"iops_max": 9}}))];
        let same = State { tenants: vec![stated(&present[0])], ..State::default() };
        let planned = plan(&same, &present, &fast());
        assert!(planned.steps.is_empty() && planned.plan == StatePlan::default());
        let little = state(serde_json::json!({"tenants": [{"name": "acme"}]}));
        assert!(plan(&little, &present, &fast()).steps.is_empty(), "what is absent stays");
    }

    #[test]
    fn tenants_are_made_and_changed() {
        let wanted = state(serde_json::json!({
            "pools": [{"name": "new", "devices": ["/d"]}],
            "policies": [{"name": "gold"}],
            "tenants": [
                {"name": "acme", "pools": ["fast", "new"], "policies": ["gold"], "capacity_bytes": 0, "volumes": 7,
                 "shares": [{"pool": "new", "capacity_bytes": 2097152}]},
                {"name": "other", "pools": ["new"], "volumes": 3},
            ],
        }));
        let present = [record(serde_json::json!({"name": "acme", "capacity_bytes": 4096}))];
        let TenantSteps { steps, plan } = plan(&wanted, &present, &fast());
        assert!(plan.problems.is_empty(), "{:?}", plan.problems);
        let change = ChangeTenant {
            pools: Some(names(&["fast", "new"])),
            policies: Some(names(&["gold"])),
            shares: Some(vec![PoolShare { pool: "new".parse().unwrap(), capacity_bytes: 2 << 20 }]),
            capacity_bytes: Some(0),
            volumes: Some(7),
            qos: None,
        };
        assert_eq!(steps[0], TenantStep::Change("acme".parse().unwrap(), change));
        let TenantStep::Create(other) = &steps[1] else { panic!("{steps:?}") };
        assert_eq!((other.volumes, other.capacity_bytes), (Some(3), None));
        assert_eq!(
            plan.changes[0].what,
            [
                "pools: fast -> fast, new",
                "policies: none -> gold",
                "shares: none -> new=2 MiB",
                "capacity_bytes: 4096 -> none",
                "volumes: none -> 7"
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_a_problem_with_its_place() {
        let present = [record(serde_json::json!({"name": "acme", "capacity_bytes": 4096}))];
        let wanted = state(serde_json::json!({"tenants": [
            {"name": "with.dot"},
            {"name": "acme", "pools": ["gone"]},
            {"name": "acme2", "version": "0123456789abcdef"},
            {"name": "acme", "volumes": 1, "version": "0123456789abcdef"},
            {"name": "acme", "shares": [{"pool": "gone", "capacity_bytes": 1}]},
        ]}));
        let problems = plan(&wanted, &present, &fast()).plan.problems;
        let told: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect();
        for (text, part) in told.iter().zip([
            "tenant 'with.dot', name: a tenant's name has no dot",
            "tenant 'acme', pools: there is no pool 'gone'",
            "tenant 'acme2': it was deleted",
            "tenant 'acme': it has changed",
            "tenant 'acme', shares: there is no pool 'gone'",
        ]) {
            assert!(text.starts_with(part), "{told:#?}");
        }
        assert_eq!(
            problems.iter().map(|problem| problem.is_conflict).collect::<Vec<_>>(),
            [false, false, true, true, false]
        );
    }
}
