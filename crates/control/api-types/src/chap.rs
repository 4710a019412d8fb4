//! What an initiator and the node prove to each other at an iSCSI login (CHAP, RFC 1994 and RFC 7143 section 12.1.3).

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::InvalidRequest;

/// Bytes of a secret, of printable ASCII as initiators take it everywhere. RFC 7143 section 9.2.1 demands 96 bits at least.
pub const CHAP_SECRET_BYTES: RangeInclusive<usize> = 12..=128;
/// Most bytes of a user: what a text of iSCSI holds (RFC 7143 section 6.1).
pub const CHAP_USER_BYTES_MAX: usize = 255;

/// A secret on its way to the node, which never gives it back. It prints as nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChapSecret(String);

impl ChapSecret {
    /// The secret, white space behind it taken away: files end with a line feed.
    pub fn new(text: &str) -> Self {
        Self(text.trim_end().to_owned())
    }

    /// What is to be kept, and nowhere shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChapSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChapSecret(..)")
    }
}

/// The name and secret of one side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChapProof {
    /// The name by which it proves itself.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub user: String,
    /// Its secret, 12 to 128 characters of printable ASCII.
    #[schema(value_type = String, format = Password, write_only, min_length = 12, max_length = 128, pattern = "^[ -~]+$")]
    pub secret: ChapSecret,
}

/// What an initiator must prove at an iSCSI login. It carries secrets: only over a connection that nobody listens to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Chap {
    /// The name by which the initiator proves itself.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub user: String,
    /// Its secret, 12 to 128 characters of printable ASCII.
    #[schema(value_type = String, format = Password, write_only, min_length = 12, max_length = 128, pattern = "^[ -~]+$")]
    pub secret: ChapSecret,
    /// What the node proves in return to an initiator that asks for it; another secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual: Option<ChapProof>,
}

/// What is shown of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChapUser {
    /// The name by which the initiator proves itself.
    pub user: String,
    /// Whether the node proves itself in return.
    pub mutual: bool,
}

impl Chap {
    /// Checks all of it; no message repeats a secret.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_user("chap.user", &self.user)?;
        check_secret("chap.secret", &self.secret)?;
        let Some(mutual) = &self.mutual else { return Ok(()) };
        check_user("chap.mutual.user", &mutual.user)?;
        check_secret("chap.mutual.secret", &mutual.secret)?;
        if mutual.secret == self.secret {
            // Who has seen one answer could play it back in the other direction.
            let message = "the node's secret must differ from the initiator's (RFC 7143 section 9.2.1)";
            return Err(InvalidRequest::contradiction("chap.mutual.secret", message));
        }
        Ok(())
    }

    /// What is shown of it.
    pub fn shown(&self) -> ChapUser {
        ChapUser { user: self.user.clone(), mutual: self.mutual.is_some() }
    }
}

fn check_user(field: &'static str, user: &str) -> Result<(), InvalidRequest> {
    let is_visible = user.bytes().all(|byte| byte.is_ascii_graphic());
    if (1..=CHAP_USER_BYTES_MAX).contains(&user.len()) && is_visible {
        return Ok(());
    }
    let message = format!("1 to {CHAP_USER_BYTES_MAX} letters, digits or signs of ASCII, without blanks");
    Err(InvalidRequest::new(field, message))
}

fn check_secret(field: &'static str, secret: &ChapSecret) -> Result<(), InvalidRequest> {
    let (bytes, bounds) = (secret.0.len(), CHAP_SECRET_BYTES);
    if !bounds.contains(&bytes) {
        let message = format!("it has {bytes} bytes; {} to {} are needed", bounds.start(), bounds.end());
        return Err(InvalidRequest::new(field, message));
    }
    match secret.0.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(InvalidRequest::new(field, "it has characters other than those of printable ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chap(user: &str, secret: &str, mutual: Option<(&str, &str)>) -> Chap {
        let proof = |(user, secret): (&str, &str)| ChapProof {
            user: user.to_owned(),
            secret: ChapSecret::new(secret),
        };
        let ChapProof { user, secret } = proof((user, secret));
        Chap { user, secret, mutual: mutual.map(proof) }
    }

    #[test]
    fn secrets_are_long_enough_and_differ() {
        assert_eq!(chap("web", "horse-battery", None).check(), Ok(()));
        assert_eq!(chap("web", &"x".repeat(128), Some(("node", "twelve bytes"))).check(), Ok(()));
        let long = "u".repeat(256);
        for (bad, part) in [
            (chap("", "horse-battery", None), "chap.user: 1 to 255"),
            (chap("a b", "horse-battery", None), "chap.user"),
            (chap(&long, "horse-battery", None), "chap.user"),
            (chap("web", "eleven-byte", None), "chap.secret: it has 11 bytes; 12 to 128 are needed"),
            (chap("web", &"x".repeat(129), None), "it has 129 bytes"),
            (chap("web", "horse\nbattery", None), "chap.secret: it has characters other than"),
            (chap("web", "h\u{f6}rse-battery", None), "chap.secret: it has characters other than"),
            (chap("web", "horse-battery", Some(("", "other-battery"))), "chap.mutual.user"),
            (chap("web", "horse-battery", Some(("node", "short"))), "chap.mutual.secret"),
            (chap("web", "horse-battery", Some(("node", "horse-battery"))), "must differ"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("horse") && !error.contains("eleven"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_printed_and_loses_the_line_feed_of_its_file() {
        let chap = chap("web", "horse-battery\n", Some(("node", "other-battery")));
        assert_eq!(chap.secret.reveal(), "horse-battery");
        let printed = format!("{chap:?}");
        assert!(printed.contains("web") && !printed.contains("battery"), "{printed}");
        let shown = serde_json::to_string(&chap.shown()).unwrap();
        assert_eq!(shown, r#"{"user":"web","mutual":true}"#);
    }
}
