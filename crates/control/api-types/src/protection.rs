//! How a pool keeps what it holds.

use std::fmt;
use std::str::FromStr;

use quarry_types::{Protection as Kept, ProtectionError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a pool keeps what it holds, so that devices may be lost: `copies:N`, N copies of everything on distinct devices (1 to 4); or
/// `ec:K+M`, an erasure code that keeps it when any M of the devices are lost, for (K+M)/K of the space (2+1 to 8+3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^(copies:[1-4]|ec:[2-8]\\+[1-3])$", example = "ec:4+2")]
pub struct Protection(pub Kept);

impl Protection {
    /// Whether what is kept so is protected at least as well as by `wanted`: the same, or more copies.
    pub fn is_at_least(self, wanted: Self) -> bool {
        match (self.0, wanted.0) {
            (Kept::Copies(here), Kept::Copies(wanted)) => here >= wanted,
            (here, wanted) => here == wanted,
        }
    }
}

impl Default for Protection {
    fn default() -> Self {
        Self(Kept::Copies(1))
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Protection {
    type Err = ProtectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Protection {
    type Error = ProtectionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Protection> for String {
    fn from(protection: Protection) -> Self {
        protection.to_string()
    }
}
