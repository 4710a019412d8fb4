//! What is kept, as JSON with the version of its form.

use quarry_api_types::{Name, PoolShare, QualityOfService, Role, Timestamp, Token, User};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::password::PasswordHash;

/// The version of every record.
pub(crate) const VERSION: u32 = 1;

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) name: Name,
    pub(crate) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<Name>,
    /// Absent for one that cannot log in: the one that the first token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<PasswordHash>,
    pub(crate) created: Timestamp,
}

/// A token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) token: Token,
    pub(crate) hash: String,
    /// Whether it was given for a password: a new password ends it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_login: bool,
}

/// A tenant with its bounds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its name.
    pub name: Name,
    /// The pools in which it may make volumes.
    pub pools: Vec<Name>,
    /// The policies of the node that it sees and may attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Name>,
    /// The most that its volumes in one of these pools may be large together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<PoolShare>,
    /// The most that its volumes together may be large, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most volumes that it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// What its volumes together get of the node's performance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// The most I/O operations a second, in records from before there was more to say: see [`Self::qos`].
    #[serde(default, skip_serializing)]
    pub(crate) iops: Option<u64>,
    /// When it was made.
    pub created: Timestamp,
}

impl TenantRecord {
    /// What its volumes together get of the node's performance, if anything was asked for.
    pub fn qos(&self) -> Option<QualityOfService> {
        let before = || Some(QualityOfService { iops_max: Some(self.iops?), ..QualityOfService::default() });
        self.qos.clone().or_else(before).filter(|qos| !qos.is_empty())
    }
}

impl UserRecord {
    /// What is shown of it.
    pub(crate) fn show(&self) -> User {
        User { name: self.name.clone(), role: self.role, tenant: self.tenant.clone(), created: self.created }
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Opened<T> {
    version: u32,
    record: T,
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: VERSION, record }).expect("records hold texts and numbers only")
}

/// The record, or why the bytes are none.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let opened: Opened<T> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match opened.version {
        VERSION => Ok(opened.record),
        other => Err(format!("version {other} is not {VERSION}")),
    }
}
