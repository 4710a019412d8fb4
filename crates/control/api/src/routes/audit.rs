//! `/v1/audit`.

use axum::{Extension, Json};
use quarry_api_types::{AuditEntries, AuditQuery, AuditVerification, VerifyAudit};

use crate::access::{GuardState, blocking};
use crate::extract::Query;
use crate::problem::{ApiError, Problems};

/// List entries of the audit log, the oldest first. The answer is a part; ask again with `since` = `next` until there is no `next`.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "access",
    params(AuditQuery),
    responses((status = 200, description = "A part of the entries.", body = AuditEntries), Problems)
)]
pub(crate) async fn list_audit(
    Extension(guard): GuardState,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditEntries>, ApiError> {
    blocking(&guard, move |guard| guard.audit.list(&query)).await.map(Json)
}

/// Look at every entry of the audit log: whether it is what was written, in its place, and whether all are there.
#[utoipa::path(
    get,
    path = "/v1/audit/verification",
    tag = "access",
    params(VerifyAudit),
    responses((status = 200, description = "What was found.", body = AuditVerification), Problems)
)]
pub(crate) async fn verify_audit(
    Extension(guard): GuardState,
    Query(known): Query<VerifyAudit>,
) -> Result<Json<AuditVerification>, ApiError> {
    blocking(&guard, move |guard| guard.audit.verify(&known)).await.map(Json)
}
