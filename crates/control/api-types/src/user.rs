//! Users: people and programs that prove who they are by a password.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tenant::check_belongs;
use crate::{InvalidRequest, Name, Secret, Timestamp};

/// Bytes of a password.
pub const PASSWORD_CHARACTERS: RangeInclusive<usize> = 10..=256;

words! {
    /// What somebody may do. Each role is written down as Cedar policies.
    pub enum Role {
        /// Everything.
        Admin = "admin",
        /// Everything that concerns storage; nothing that concerns users, tenants and the audit log.
        Operator = "operator",
        /// Volumes, snapshots, groups and exports of one tenant, and its users and their tokens.
        TenantAdmin = "tenant-admin",
        /// Volumes, snapshots, groups and exports of one tenant.
        TenantUser = "tenant-user",
        /// Sees everything, the audit log included, and changes nothing.
        Auditor = "auditor",
    }
}

impl Role {
    /// Whether whoever has it belongs to a tenant.
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Self::TenantAdmin | Self::TenantUser)
    }
}

/// A user as it is now. Its password is never shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its name, unique on the node; that of a tenant's user begins with the name of the tenant and a dot.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The tenant that it belongs to. Absent for users of the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// When it was made.
    pub created: Timestamp,
}

/// A request for a new user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Its name, unique on the node; that of a tenant's user must begin with the name of the tenant and a dot.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The tenant that it belongs to; for the roles of tenants, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// Its password, 10 to 256 characters.
    #[schema(value_type = String, format = Password, write_only, min_length = 10, max_length = 256)]
    pub password: Secret,
}

impl CreateUser {
    /// Checks all that can be judged without knowing users and tenants.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_tenant(self.role, self.tenant.as_ref())?;
        check_belongs(&self.name, self.tenant.as_ref())?;
        check_password("password", &self.password)
    }
}

/// A request for another password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The new one, 10 to 256 characters. What the user has logged in to is logged out.
    #[schema(value_type = String, format = Password, write_only, min_length = 10, max_length = 256)]
    pub password: Secret,
    /// The present one; somebody who may not manage users can only change the own password, and must know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub old_password: Option<Secret>,
}

impl SetPassword {
    /// Checks all that can be judged without knowing the user.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_password("password", &self.password)
    }
}

/// A user who wants a token for the password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The name of the user.
    pub user: Name,
    /// The password.
    #[schema(value_type = String, format = Password, write_only)]
    pub password: Secret,
}

/// Who somebody is, as the node sees the token that came with the request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The user that the token stands for.
    pub user: Name,
    /// What it may do.
    pub role: Role,
    /// The tenant to which it is confined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// The id of the token.
    pub token: String,
    /// When the token ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Fails unless a role of tenants has a tenant, and no other has one.
pub(crate) fn check_tenant(role: Role, tenant: Option<&Name>) -> Result<(), InvalidRequest> {
    match (role.is_of_tenant(), tenant) {
        (true, None) => {
            Err(InvalidRequest::contradiction("tenant", format!("{role} is a role in a tenant: name it")))
        }
        (false, Some(_)) => Err(InvalidRequest::contradiction(
            "tenant",
            format!("{role} is a role on the node, not in a tenant"),
        )),
        _ => Ok(()),
    }
}

fn check_password(field: &'static str, password: &Secret) -> Result<(), InvalidRequest> {
    let (least, most) = PASSWORD_CHARACTERS.into_inner();
    match password.reveal().chars().count() {
        length if PASSWORD_CHARACTERS.contains(&length) => Ok(()),
        length => Err(InvalidRequest::new(field, format!("{least} to {most} characters, not {length}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, role: Role, tenant: Option<&str>, password: &str) -> CreateUser {
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        CreateUser { name: name.parse().unwrap(), role, tenant, password: Secret::new(password) }
    }

    #[test]
    fn role_tenant_and_name_fit_each_other() {
        assert_eq!(user("ann", Role::Operator, None, "horse-battery").check(), Ok(()));
        assert_eq!(user("acme.ann", Role::TenantUser, Some("acme"), "horse-battery").check(), Ok(()));
        for (bad, part) in [
            (user("acme.ann", Role::TenantUser, None, "horse-battery"), "is a role in a tenant"),
            (user("ann", Role::Admin, Some("acme"), "horse-battery"), "not in a tenant"),
            (user("ann", Role::TenantUser, Some("acme"), "horse-battery"), "begins with 'acme.'"),
            (user("ann", Role::Admin, None, "horse"), "password: 10 to 256 characters, not 5"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
