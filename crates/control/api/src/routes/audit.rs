//! `/v1/audit`.

use axum::http::Uri;
use axum::response::Response;
use axum::{Extension, Json};
use quarry_api_types::{AuditEntries, AuditQuery, AuditVerification, VerifyAudit};

use crate::access::{GuardState, blocking};
use crate::conventions::{check_limit, part};
use crate::extract::Query;
use crate::problem::{ApiError, Problems};

/// List entries of the audit log, the oldest first. The answer is a part; ask again with `since` = `next` until there is no `next`,
/// or follow the header `Link`.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "access",
    params(AuditQuery),
    responses((status = 200, description = "A part of the entries.", body = AuditEntries), Problems)
)]
pub(crate) async fn list_audit(
    Extension(guard): GuardState,
    uri: Uri,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit;
    check_limit(limit)?;
    let entries = blocking(&guard, move |guard| guard.audit.list(&query)).await?;
    Ok(part(entries, limit, &uri))
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
