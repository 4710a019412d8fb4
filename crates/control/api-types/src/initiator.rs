//! How initiators name themselves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest name of an initiator, in bytes: RFC 7143 section 4.2.7.1 and NVMe Base 2.0 section 4.7 agree on it.
pub const INITIATOR_NAME_BYTES_MAX: usize = 223;

/// By this name hosts ask for the list of subsystems; it is nobody's own.
const DISCOVERY_NQN: &str = "nqn.2014-08.org.nvmexpress.discovery";
const UUID_NQN_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";

/// The name of an initiator: an iSCSI name (`iqn.`, `eui.` or `naa.`, RFC 7143 section 4.2.7) or an NVMe qualified name
/// (`nqn.`, NVMe Base 2.0 section 4.7).
///
/// iSCSI names are the same in capitals and are kept in small letters; the bytes of an NVMe qualified name count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(
    value_type = String,
    min_length = 5,
    max_length = 223,
    // What names of NVMe may have beyond ASCII is taken all the same.
    pattern = "^([iI][qQ][nN][.][0-9]{4}-(0[1-9]|1[0-2])([.][A-Za-z0-9-]+)+(:[A-Za-z0-9.:-]+)?|[eE][uU][iI][.][0-9A-Fa-f]{16}|[nN][aA][aA][.]([0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})|nqn[.][0-9]{4}-(0[1-9]|1[0-2])([.][A-Za-z0-9-]+)+:[!-~]+)$",
    example = "iqn.1993-08.org.debian:01:3f5b2a"
)]
pub struct InitiatorName(String);

/// Why a text is no name of an initiator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is no name of an initiator: {problem}")]
pub struct InvalidInitiatorName {
    /// What was given, cut to a printable length.
    pub text: String,
    /// What is wrong with it.
    pub problem: InitiatorNameProblem,
}

/// What is wrong with the name of an initiator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InitiatorNameProblem {
    /// It is none of the forms that there are.
    #[error("it begins with iqn., eui. or naa. for iSCSI, with nqn. for NVMe")]
    Prefix,
    /// It is too long.
    #[error("it has at most {INITIATOR_NAME_BYTES_MAX} bytes")]
    Length,
    /// No month follows.
    #[error("behind the first dot stands a month, for example iqn.1993-08.org.debian:01:3f5b2a")]
    Month,
    /// No domain follows.
    #[error(
        "behind the month stands a dot and a domain, reversed, for example iqn.1993-08.org.debian:01:3f5b2a"
    )]
    Domain,
    /// There is nothing behind the colon, or no colon where there must be one.
    #[error("behind the domain stands a colon and a text, for example nqn.2014-08.org.example:host7")]
    Text,
    /// Characters that an iSCSI name does not have.
    #[error("an iSCSI name has letters, digits, '-', '.' and ':' only")]
    IscsiCharacter,
    /// Characters that nobody can see.
    #[error("an NVMe qualified name has no blanks and no control characters")]
    NvmeCharacter,
    /// `eui.` without its digits.
    #[error("behind eui. stand 16 hexadecimal digits")]
    Eui,
    /// `naa.` without its digits.
    #[error("behind naa. stand 16 or 32 hexadecimal digits")]
    Naa,
    /// `uuid:` without a UUID.
    #[error("behind uuid: stands a UUID, for example {UUID_NQN_PREFIX}9f0c6d3e-3a5b-4c7d-8e9f-001122334455")]
    Uuid,
    /// The name of the discovery subsystem.
    #[error("it is the name of the discovery subsystem, which no host has")]
    Discovery,
}

use InitiatorNameProblem as Problem;

impl InitiatorName {
    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an NVMe qualified name; otherwise it is an iSCSI name.
    pub fn is_nvme(&self) -> bool {
        self.0.starts_with("nqn.")
    }
}

/// What stands behind the month, if there is a month.
fn behind_month(text: &str) -> Option<&str> {
    let (month, rest) = text.split_at_checked("yyyy-mm".len())?;
    let (year, month) = month.split_once('-')?;
    let are_digits = [year, month].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let is_month = matches!(month.parse(), Ok(1..=12u8));
    (are_digits && year.len() == 4 && is_month).then_some(rest)
}

/// The domain and the text behind the colon.
fn check_dated(text: &str, is_text_needed: bool) -> Result<(), Problem> {
    let rest = behind_month(text).ok_or(Problem::Month)?;
    let rest = rest.strip_prefix('.').ok_or(Problem::Domain)?;
    let (domain, own) = match rest.split_once(':') {
        Some((domain, own)) => (domain, Some(own)),
        None => (rest, None),
    };
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !domain.split('.').all(is_label) {
        return Err(Problem::Domain);
    }
    match own {
        Some("") => Err(Problem::Text),
        None if is_text_needed => Err(Problem::Text),
        _ => Ok(()),
    }
}

fn check_digits(digits: &str, counts: &[usize], problem: Problem) -> Result<(), Problem> {
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if are_digits && counts.contains(&digits.len()) { Ok(()) } else { Err(problem) }
}

fn check_iscsi(name: &str) -> Result<(), Problem> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte)) {
        return Err(Problem::IscsiCharacter);
    }
    match name.split_at(4) {
        ("iqn.", rest) => check_dated(rest, false),
        ("eui.", rest) => check_digits(rest, &[16], Problem::Eui),
        (_, rest) => check_digits(rest, &[16, 32], Problem::Naa),
    }
}

fn check_nvme(name: &str) -> Result<(), Problem> {
    if name.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(Problem::NvmeCharacter);
    }
    if name == DISCOVERY_NQN {
        return Err(Problem::Discovery);
    }
    match name.strip_prefix(UUID_NQN_PREFIX) {
        Some(uuid) if uuid.len() != 36 || Uuid::try_parse(uuid).is_err() => Err(Problem::Uuid),
        Some(_) => Ok(()),
        None => check_dated(&name[4..], true),
    }
}

fn parse(text: &str) -> Result<String, Problem> {
    if text.len() > INITIATOR_NAME_BYTES_MAX {
        return Err(Problem::Length);
    }
    if text.starts_with("nqn.") {
        return check_nvme(text).map(|()| text.to_owned());
    }
    let name = text.to_ascii_lowercase();
    if !["iqn.", "eui.", "naa."].iter().any(|prefix| name.starts_with(prefix)) {
        return Err(Problem::Prefix);
    }
    check_iscsi(&name).map(|()| name)
}

impl FromStr for InitiatorName {
    type Err = InvalidInitiatorName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).map_err(|problem| InvalidInitiatorName {
            text: text.chars().take(INITIATOR_NAME_BYTES_MAX).flat_map(char::escape_default).collect(),
            problem,
        })
    }
}

impl TryFrom<String> for InitiatorName {
    type Error = InvalidInitiatorName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<InitiatorName> for String {
    fn from(name: InitiatorName) -> Self {
        name.0
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_standards_are_taken() {
        let longest = format!("iqn.1993-08.org.debian:{}", "x".repeat(INITIATOR_NAME_BYTES_MAX - 23));
        for name in [
            "iqn.1993-08.org.debian:01:3f5b2a",
            "iqn.1991-05.com.microsoft:win-7.example.com",
            "iqn.2001-04.com.example",
            "iqn.1998-01.com.vmware:esx01-5f3c",
            longest.as_str(),
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
            "nqn.2014-08.org.nvmexpress:uuid:9f0c6d3e-3a5b-4c7d-8e9f-001122334455",
            "nqn.2014-08.com.example:Host/7_ä",
        ] {
            let parsed: InitiatorName = name.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (parsed.as_str(), parsed.is_nvme()),
                (name, name.starts_with('n') && name.starts_with("nqn"))
            );
        }
        assert_eq!(
            "IQN.1993-08.ORG.Debian:A".parse::<InitiatorName>().unwrap().as_str(),
            "iqn.1993-08.org.debian:a"
        );
        assert_eq!("EUI.02004567A425678D".parse::<InitiatorName>().unwrap().as_str(), "eui.02004567a425678d");
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        let too_long = format!("iqn.1993-08.org.debian:{}", "x".repeat(INITIATOR_NAME_BYTES_MAX - 22));
        for (text, problem) in [
            ("", Problem::Prefix),
            ("debian", Problem::Prefix),
            ("NQN.2014-08.com.example:a", Problem::Prefix),
            (too_long.as_str(), Problem::Length),
            ("iqn.", Problem::Month),
            ("iqn.org.debian:01", Problem::Month),
            ("iqn.1993-13.org.debian:01", Problem::Month),
            ("iqn.1993-00.org.debian:01", Problem::Month),
            ("iqn.1993-+8.org.debian:01", Problem::IscsiCharacter),
            ("iqn.1993-8.org.debian:01", Problem::Month),
            ("iqn.1993-08", Problem::Domain),
            ("iqn.1993-08:a", Problem::Domain),
            ("iqn.1993-08.org..debian:a", Problem::Domain),
            ("iqn.1993-08.org.debian:", Problem::Text),
            ("iqn.1993-08.org.debian:a_b", Problem::IscsiCharacter),
            ("iqn.1993-08.org.debian:a b", Problem::IscsiCharacter),
            ("iqn.1993-08.org.debian:ä", Problem::IscsiCharacter),
            ("eui.02004567a425678", Problem::Eui),
            ("eui.02004567a425678g", Problem::Eui),
            ("naa.52004567ba64678", Problem::Naa),
            ("naa.52004567ba64678d00", Problem::Naa),
            ("nqn.2014-08.org.nvmexpress.discovery", Problem::Discovery),
            ("nqn.2014-08.org.nvmexpress:uuid:", Problem::Uuid),
            ("nqn.2014-08.org.nvmexpress:uuid:9f0c6d3e3a5b4c7d8e9f001122334455", Problem::Uuid),
            ("nqn.2014-08.com.example", Problem::Text),
            ("nqn.2014-08.com.example:a b", Problem::NvmeCharacter),
            ("nqn.2014-08.com.example:a\u{1}", Problem::NvmeCharacter),
            ("nqn.14-08.com.example:a", Problem::Month),
        ] {
            assert_eq!(text.parse::<InitiatorName>().map_err(|error| error.problem), Err(problem), "{text}");
        }
        let error = "iqn.1993-08.org.debian:\u{1b}[2J".parse::<InitiatorName>().unwrap_err().to_string();
        assert!(
            error.starts_with("'iqn.1993-08.org.debian:\\u{1b}[2J' is no name of an initiator"),
            "{error}"
        );
    }
}
