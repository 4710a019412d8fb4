//! Who asks.

use axum::http::{HeaderMap, StatusCode, header};
use quarry_api_types::ProblemCode;
use quarry_auth::{Principal, Unproven};

use super::{Guard, Peer, now};
use crate::problem::ApiError;

const LOG_IN: &str = "Log in with `quarry login`, or send a token: `Authorization: Bearer TOKEN`. On the node itself whoever may \
                      read its data directory needs neither.";

/// Somebody whom nobody knows.
pub(crate) struct Stranger {
    pub(crate) error: ApiError,
    /// Whether it is worth an entry: floods are told once.
    pub(crate) is_told: bool,
}

impl Guard {
    /// Who sends the token in these headers; `None` when there is no token at all.
    pub(super) fn who(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<Option<Principal>, Stranger> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let text = value.to_str().ok().and_then(bearer);
        let why = match text.map(|text| self.store.authenticate(text, now())) {
            Some(Ok(principal)) => return Ok(Some(principal)),
            None => "the header Authorization has no bearer token",
            Some(Err(Unproven::Unknown)) => "the token is none of this node, or was revoked",
            Some(Err(Unproven::Expired)) => "the token has ended",
        };
        Err(self.stranger(why, peer))
    }

    /// Who sends the token in these headers, if somebody does.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> Option<Principal> {
        self.who(headers, None).ok().flatten()
    }

    /// The answer to somebody without a token that is good. Nobody guesses 256 bits, so it is always the same; but a flood of them
    /// from one address is told once.
    pub(super) fn stranger(&self, why: &str, peer: Option<Peer>) -> Stranger {
        let failed = self.attempts.address_failed(peer.map(|peer| peer.address.ip()), now().unix_ms());
        Stranger {
            error: unauthenticated(why),
            is_told: failed.map_or_else(|blocked| blocked.is_first, |()| true),
        }
    }
}

/// The token in `Bearer TOKEN` (RFC 6750 section 2.1); the scheme in any case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(crate) fn unauthenticated(why: &str) -> ApiError {
    ApiError::new(ProblemCode::Unauthenticated, StatusCode::UNAUTHORIZED, why, LOG_IN)
}

pub(crate) fn too_many(retry_after_s: u64) -> ApiError {
    let detail = "there were too many failed attempts";
    let next_step = format!("Try again in {retry_after_s} seconds.");
    ApiError::new(ProblemCode::TooManyRequests, StatusCode::TOO_MANY_REQUESTS, detail, &next_step)
        .with_retry_after(retry_after_s)
}
