//! Parts of what is longer than memory: events and the audit log, each of which has a number that its successors exceed.

use axum::Json;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quarry_api_types::{AuditEntries, Events, ProblemCode};
use serde::Serialize;

use crate::limits::PAGE_ITEMS_MAX;
use crate::problem::ApiError;

/// A part of something.
pub(crate) trait Part: Serialize {
    /// Leaves the first ones.
    fn cut(&mut self, limit: usize);
    /// The number behind which the next part begins; `None` for the last.
    fn next(&self) -> Option<u64>;
}

impl Part for Events {
    fn cut(&mut self, limit: usize) {
        if self.events.len() > limit {
            self.events.truncate(limit);
            self.next = self.events.last().map(|event| event.id);
        }
    }

    fn next(&self) -> Option<u64> {
        self.next
    }
}

impl Part for AuditEntries {
    fn cut(&mut self, limit: usize) {
        if self.entries.len() > limit {
            self.entries.truncate(limit);
            self.next = self.entries.last().map(|entry| entry.number);
        }
    }

    fn next(&self) -> Option<u64> {
        self.next
    }
}

/// Refuses a length that no page can have.
pub(crate) fn check_limit(limit: Option<u16>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if !(1..=PAGE_ITEMS_MAX).contains(&usize::from(limit)) => {
            let detail = format!("limit '{limit}' is no number from 1 to {PAGE_ITEMS_MAX}");
            let next_step = "Correct it, or leave it out for parts as long as they may be.";
            Err(ApiError::new(ProblemCode::Invalid, StatusCode::BAD_REQUEST, detail, next_step))
        }
        _ => Ok(()),
    }
}

/// The answer with a part of what `uri` asks for, of so many at most.
pub(crate) fn answer(mut part: impl Part, limit: Option<u16>, uri: &Uri) -> Response {
    limit.into_iter().for_each(|limit| part.cut(limit.into()));
    let mut head = HeaderMap::new();
    let link = part.next().and_then(|next| link(uri, next));
    link.into_iter().for_each(|link| _ = head.insert(header::LINK, link));
    (head, Json(part)).into_response()
}

/// The way to the part behind a number (RFC 8288): what was asked for, with another `since`.
fn link(uri: &Uri, next: u64) -> Option<HeaderValue> {
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let others = query.iter().filter(|(name, _)| name != "since");
    let others: String = others
        .map(|(name, value)| format!("{name}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    HeaderValue::from_str(&format!("<{}?{others}since={next}>; rel=\"next\"", uri.path())).ok()
}
