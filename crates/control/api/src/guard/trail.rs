//! What goes to the audit log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use quarry_api_types::{AuditKind, ProblemCode};
use quarry_audit::NewEntry;
use quarry_auth::Principal;

use super::{Guard, Peer, now, too_many};
use crate::problem::ApiError;

/// Most bytes of what a request names that an entry repeats.
const OBJECT_BYTES_MAX: usize = 512;

/// Who asks for what, as every entry about it says.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) principal: Option<Principal>,
    pub(crate) peer: Option<Peer>,
    /// The id of the request.
    pub(crate) request: String,
    /// The id of the operation, or method and path of what is none.
    pub(crate) operation: String,
    /// The names in the request.
    pub(crate) object: String,
}

/// What a handler has to say of a change that was done: in the extensions of its answer, and from there in the entry of its end.
#[derive(Clone, Debug)]
pub(crate) struct Outcome(pub(crate) String);

impl Asked {
    fn entry(&self, kind: AuditKind, status: Option<u16>, reason: Option<String>) -> NewEntry {
        let principal = self.principal.as_ref();
        NewEntry {
            kind,
            user: principal.map(|principal| principal.user.clone()),
            role: principal.map(|principal| principal.role),
            tenant: principal.and_then(|principal| principal.tenant.clone()),
            token: principal.map(|principal| principal.token.clone()),
            from: self.peer.map(|peer| peer.address.ip().to_canonical().to_string()),
            request: Some(self.request.clone()),
            operation: cut(&self.operation),
            object: cut(&self.object),
            status,
            reason,
        }
    }
}

impl Guard {
    /// Writes that a change is about to begin. Without that it must not.
    pub(crate) async fn begun(self: &Arc<Self>, asked: &Asked) -> Result<(), ApiError> {
        let written = self.write(asked.entry(AuditKind::Begun, None, None)).await;
        written.map_err(|cause| {
            let detail = "the audit log takes no entries, so nothing is changed";
            let next_step = "Look at the data directory's file system and the log of quarryd.";
            ApiError::new(ProblemCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE, detail, next_step)
                .with_cause(cause)
        })
    }

    /// Writes how a change has ended.
    pub(crate) async fn ended(self: &Arc<Self>, asked: &Asked, status: StatusCode, outcome: Option<String>) {
        let entry = asked.entry(AuditKind::Ended, Some(status.as_u16()), outcome.as_deref().map(cut));
        // It is logged and counted; that the change was begun is written.
        let _ = self.write(entry).await;
    }

    /// Writes that somebody was not let.
    pub(crate) async fn refused(self: &Arc<Self>, asked: &Asked, error: &ApiError) {
        let entry = asked.entry(AuditKind::Refused, Some(error.status().as_u16()), Some(cut(error.detail())));
        let _ = self.write(entry).await;
    }

    /// Writes that the node does a step of something that was begun before. Without that it must not.
    pub async fn step(self: &Arc<Self>, operation: &str, object: &str, reason: &str) -> Result<(), String> {
        let entry = NewEntry { object: cut(object), ..NewEntry::of_node(operation, cut(reason)) };
        self.write(entry).await
    }

    /// Whether the asker may go on, or has asked for too much lately that failed. That he has is told now and then.
    pub(super) async fn listen(self: &Arc<Self>, asked: &Asked) -> Result<(), ApiError> {
        let Some(principal) = &asked.principal else { return Ok(()) };
        let turn = self.allowances.turn(principal, now().unix_ms());
        if let Some(count) = turn.untold {
            let reason = format!(
                "{count} requests of this user were turned away since that was told last, or had no entry of \
                 their own: too many have failed or were refused"
            );
            let status = Some(StatusCode::TOO_MANY_REQUESTS.as_u16());
            let _ = self.write(asked.entry(AuditKind::Refused, status, Some(reason))).await;
        }
        turn.wait_s.map_or(Ok(()), |wait_s| Err(too_many(wait_s)))
    }

    /// Takes from the asker's allowance what an answer costs.
    pub(super) fn spend(&self, asked: &Asked, status: StatusCode) {
        if let Some(principal) = &asked.principal {
            self.allowances.spend(principal, status, now().unix_ms());
        }
    }

    pub(super) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    async fn write(self: &Arc<Self>, entry: NewEntry) -> Result<(), String> {
        let guard = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || guard.audit.append(now(), entry)).await;
        let failure = match written {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error = failure, "the audit log cannot be written");
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        Err(failure)
    }
}

fn cut(text: &str) -> String {
    let end = (0..=text.len().min(OBJECT_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}
