//! `/v1/state`: the whole intended state as one document. Its tenants are the guard's, the rest is the node's.

use std::sync::Arc;

use axum::extract::State as NodeOf;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use quarry_api_types::{Job, ProblemCode, State, StatePlan, StatedKind, StatedPlace, StatedProblem};
use quarry_auth::{Permission, Principal, Scope};
use quarry_node_api::{ErrorKind, Node, NodeError};

use super::tenants::check_empty;
use crate::Guard;
use crate::access::{Asker, GuardState};
use crate::call::{NodeState, complete};
use crate::extract::WholeBody;
use crate::guard::Outcome;
use crate::problem::{ApiError, Problems};
use crate::stated_tenants::{Grantable, TenantStep, plan, stated};

/// Show the whole intended state as one document, with versions. Secrets are not in it, and content of volumes is not.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    responses((status = 200, description = "The document.", body = State), Problems)
)]
pub(crate) async fn show_state(
    NodeOf(node): NodeState,
    Extension(guard): GuardState,
    Extension(asker): Asker,
) -> Result<Json<State>, ApiError> {
    let mut state = complete(async move { node.show_state().await }).await?;
    if guard.may(&asker, Permission::ReadTenants, &Scope::Node) {
        state.tenants = guard.store.tenants().iter().map(stated).collect();
    }
    Ok(Json(state))
}

/// Tell what applying a document would do, and why it cannot be done. Changes nothing.
#[utoipa::path(
    post,
    path = "/v1/state/plan",
    tag = "state",
    request_body = State,
    responses((status = 200, description = "What would be done.", body = StatePlan), Problems)
)]
pub(crate) async fn plan_state(
    NodeOf(node): NodeState,
    Extension(guard): GuardState,
    Extension(asker): Asker,
    WholeBody(mut state): WholeBody<State>,
) -> Result<Json<StatePlan>, ApiError> {
    state.check()?;
    let mut whole = plan_tenants(&node, &guard, &asker, &state).await?;
    state.tenants.clear();
    let rest = complete(async move { node.plan_state(state).await }).await?;
    whole.changes.extend(rest.changes);
    whole.problems.extend(rest.problems);
    Ok(Json(whole))
}

/// Begin to make a document so, in the background, also over the end of the node. What it does not name is left alone, and nothing
/// is deleted. Nothing is begun when it cannot be done, or when a thing has changed since the version that the document names.
#[utoipa::path(
    post,
    path = "/v1/state",
    tag = "state",
    request_body = State,
    responses(
        (status = 202, description = "The job.", body = Job, headers(("Location" = String))),
        Problems,
    )
)]
pub(crate) async fn apply_state(
    NodeOf(node): NodeState,
    Extension(guard): GuardState,
    Extension(asker): Asker,
    WholeBody(state): WholeBody<State>,
) -> Result<impl IntoResponse, ApiError> {
    state.check()?;
    let planned = plan_tenants(&node, &guard, &asker, &state).await?;
    if let Some(problem) = planned.problems.first() {
        return Err(refused(problem));
    }
    let job = complete(async move { node.apply_state(state).await }).await?;
    // The job tells its steps under the same name.
    let outcome = Extension(Outcome(format!("job {}", job.id)));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/v1/jobs/{}", job.id))], outcome, Json(job)))
}

/// What is to be done for the tenants of a document, by somebody who may do it, and what in it would be put where it does not belong.
async fn plan_tenants(
    node: &Arc<dyn Node>,
    guard: &Arc<Guard>,
    asker: &Principal,
    state: &State,
) -> Result<StatePlan, ApiError> {
    let misplaced = guard.misplaced(state);
    if state.tenants.is_empty() {
        return Ok(StatePlan { problems: misplaced, ..StatePlan::default() });
    }
    if !guard.may(asker, Permission::ChangeTenants, &Scope::Node) {
        return Err(ApiError::new(
            ProblemCode::Forbidden,
            StatusCode::FORBIDDEN,
            "the document states tenants, which you may not change",
            "Leave them out, or ask an administrator.",
        ));
    }
    let there = Grantable {
        pools: node.list_pools().await?.into_iter().map(|pool| pool.name).collect(),
        policies: node.list_policies().await?.into_iter().map(|policy| policy.name).collect(),
    };
    let mut planned = plan(state, &guard.store.tenants(), &there);
    for (index, stated) in state.tenants.iter().enumerate() {
        let is_new = planned
            .steps
            .iter()
            .any(|step| matches!(step, TenantStep::Create(new) if new.name == stated.name));
        if is_new && let Err(error) = check_empty(node, &stated.name, ErrorKind::Conflict).await {
            let place =
                StatedPlace { kind: StatedKind::Tenant, index, name: stated.name.to_string(), field: None };
            planned.plan.problems.push(StatedProblem {
                place,
                message: error.detail().to_owned(),
                is_conflict: false,
            });
        }
    }
    planned.plan.problems.extend(misplaced);
    Ok(planned.plan)
}

fn refused(problem: &StatedProblem) -> ApiError {
    let kind = if problem.is_conflict { ErrorKind::Conflict } else { ErrorKind::Contradictory };
    let what = format!("nothing was applied: {}: {}", problem.place, problem.message);
    NodeError::new(kind, what).with_next_step("`quarry diff` shows all that is wrong.").into()
}
