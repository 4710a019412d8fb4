//! Names that people give to pools, volumes, snapshots, groups and hosts.

use std::fmt;
use std::str::FromStr;

use quarry_types::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The name of a pool, a volume, a snapshot, a group or a host: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit.
///
/// A name can be a path segment, an NBD export name, a file name and a shell word without any quoting. A UUID is
/// no name, so that a text which may be an id or a name always means one of them only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", example = "vm-17")]
pub struct Name(String);

const _: () = assert!(NAME_BYTES_MAX == 63, "the schema and the messages say 63");

/// Why a text is not a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidName {
    /// Empty, too long, or with a character that names do not have.
    #[error(
        "'{text}' is not a valid name: use 1 to 63 letters, digits, '.', '_' or '-', the first a letter or a digit"
    )]
    Form {
        /// What was given, cut to a printable length.
        text: String,
    },
    /// A UUID, which would be taken for an id.
    #[error("'{text}' is not a valid name: {}", InvalidName::FORM_OF_ID)]
    LooksLikeId {
        /// What was given.
        text: String,
    },
}

impl InvalidName {
    /// How the text of [`InvalidName::LooksLikeId`] ends.
    pub const FORM_OF_ID: &str = "it has the form of an id";
}

impl Name {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn has_form_of_name(text: &str) -> bool {
    let first_is_alphanumeric = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let all_allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    first_is_alphanumeric && all_allowed && text.len() <= NAME_BYTES_MAX
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !has_form_of_name(text) {
            let text = text.chars().take(2 * NAME_BYTES_MAX).flat_map(char::escape_default).collect();
            return Err(InvalidName::Form { text });
        }
        if Uuid::try_parse(text).is_ok() {
            return Err(InvalidName::LooksLikeId { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_without_quoting() {
        let longest = "a".repeat(63);
        for good in
            ["a", "0", "vm-17", "Web.data_2", "pvc-9f0c6d3e-3a5b-4c7d-8e9f-001122334455", longest.as_str()]
        {
            assert_eq!(good.parse::<Name>().map(String::from), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", too_long.as_str()] {
            assert!(matches!(bad.parse::<Name>(), Err(InvalidName::Form { .. })), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_not_a_name() {
        for id in ["9f0c6d3e-3a5b-4c7d-8e9f-001122334455", "9f0c6d3e3a5b4c7d8e9f001122334455"] {
            assert!(matches!(id.parse::<Name>(), Err(InvalidName::LooksLikeId { .. })), "{id}");
        }
    }

    #[test]
    fn json_refuses_what_the_parser_refuses() {
        assert_eq!(serde_json::from_str::<Name>("\"db\"").unwrap().as_str(), "db");
        let error = serde_json::from_str::<Name>("\"a b\"").unwrap_err().to_string();
        assert!(error.contains("'a b' is not a valid name"), "{error}");
    }
}
