//! Errors as the API sends them: RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, for programs. A client decides by this word and never by the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// The request can never succeed as it is.
    Invalid,
    /// The thing that it names does not exist.
    NotFound,
    /// It contradicts what exists, for example a name is taken.
    Conflict,
    /// The thing is in use; end the use first.
    InUse,
    /// It was changed since the client has read it.
    Changed,
    /// There is not enough space.
    NoSpace,
    /// The node cannot do it now; try again later.
    Unavailable,
    /// This node never does that.
    Unsupported,
    /// A defect, or a failing device underneath.
    Internal,
    /// The API has no such path: client and node are of different versions.
    UnknownRoute,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The request's body is larger than the node accepts.
    TooLarge,
    /// The request does not prove who it comes from: log in, or send a token.
    Unauthenticated,
    /// Whoever it comes from may not do that.
    Forbidden,
    /// Too many attempts, or too much at once; wait as the header `Retry-After` says.
    TooManyRequests,
    /// A word from a newer node; go by `status`.
    #[serde(other)]
    Unknown,
}

/// An error answer, `application/problem+json` (RFC 9457 section 3) with Quarry's extension members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A name for the kind of problem, `urn:quarry:problem:CODE` (RFC 9457 section 3.1.1).
    #[serde(rename = "type")]
    #[schema(example = "urn:quarry:problem:not-found")]
    pub kind_uri: String,
    /// The kind of problem in a few words, the same for each occurrence.
    pub title: String,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, naming the thing.
    pub detail: String,
    /// What went wrong, for programs.
    pub code: ProblemCode,
    /// Why it happened, where more is known than `detail` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The part of the body that is to blame, as a JSON pointer (RFC 6901), where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "/volumes/0/qos/weight")]
    pub pointer: Option<String>,
    /// What to do next.
    pub next_step: String,
}

impl ProblemCode {
    /// Every code that a node of this version sends.
    pub const SENT: &'static [Self] = &[
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::InUse,
        Self::Changed,
        Self::NoSpace,
        Self::Unavailable,
        Self::Unsupported,
        Self::Internal,
        Self::UnknownRoute,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TooManyRequests,
    ];

    /// The word, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::InUse => "in-use",
            Self::Changed => "changed",
            Self::NoSpace => "no-space",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
            Self::UnknownRoute => "unknown-route",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::TooLarge => "too-large",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TooManyRequests => "too-many-requests",
            Self::Unknown => "unknown",
        }
    }

    /// The `title` of a problem with this code.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request is not valid",
            Self::NotFound => "No such thing",
            Self::Conflict => "The request contradicts what exists",
            Self::InUse => "It is in use",
            Self::Changed => "It was changed since it was read",
            Self::NoSpace => "Not enough space",
            Self::Unavailable => "Not available now",
            Self::Unsupported => "Not supported",
            Self::Internal => "Something failed inside the node",
            Self::UnknownRoute => "The API has no such path",
            Self::MethodNotAllowed => "The path does not take this method",
            Self::TooLarge => "The request is too large",
            Self::Unauthenticated => "Nobody knows who asks",
            Self::Forbidden => "Not allowed",
            Self::TooManyRequests => "Too many requests",
            Self::Unknown => "Unknown problem",
        }
    }
}

impl Problem {
    /// A problem whose `type` and `title` follow from its code.
    pub fn new(
        code: ProblemCode,
        status: u16,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            kind_uri: format!("urn:quarry:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status,
            detail: detail.into(),
            code,
            cause: None,
            pointer: None,
            next_step: next_step.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_same_words_in_json_and_in_print() {
        for &code in ProblemCode::SENT {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_code_from_a_newer_node_does_not_hide_the_problem() {
        let json = r#"{"type":"urn:quarry:problem:too-hot","title":"Too hot","status":503,
            "detail":"device d0 is at 90 C","code":"too-hot","next_step":"cool it"}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        assert_eq!((problem.code, problem.status), (ProblemCode::Unknown, 503));
        assert_eq!(problem.detail, "device d0 is at 90 C");
    }

    #[test]
    fn members_have_the_names_of_rfc_9457() {
        let problem = Problem::new(ProblemCode::InUse, 409, "volume 'a' is exported", "delete its export");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:quarry:problem:in-use");
        assert_eq!(json["title"], "It is in use");
        assert_eq!(json["status"], 409);
        assert_eq!(json["detail"], "volume 'a' is exported");
        assert!(json.get("cause").is_none());
    }
}
