//! Who asks, and about whose things.

use quarry_api_types::{Name, Role, Session, Timestamp, tenant_of};

/// Somebody who has proved who he is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The user that the token stands for.
    pub user: Name,
    /// The role that the token has.
    pub role: Role,
    /// The tenant to which it is confined.
    pub tenant: Option<Name>,
    /// The id of the token.
    pub token: String,
    /// When the token ends.
    pub expires: Option<Timestamp>,
}

/// Whose a thing is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// The node's own.
    Node,
    /// This tenant's.
    Tenant(String),
}

impl Scope {
    /// Whose the thing with this name is. A name says it all: one with a dot can belong to a tenant, and to no other than the one
    /// whose name stands in front of the first dot.
    pub fn of_name(name: &str) -> Self {
        tenant_of(name).map_or(Self::Node, |tenant| Self::Tenant(tenant.to_owned()))
    }

    /// A tenant's, or the node's.
    pub fn of_tenant(tenant: Option<&Name>) -> Self {
        tenant.map_or(Self::Node, |tenant| Self::Tenant(tenant.to_string()))
    }
}

impl Principal {
    /// Whose things it deals with when it names none.
    pub fn scope(&self) -> Scope {
        Scope::of_tenant(self.tenant.as_ref())
    }

    /// For whoever asks who he is.
    pub fn session(&self) -> Session {
        let Self { user, role, tenant, token, expires } = self.clone();
        Session { user, role, tenant, token, expires }
    }
}
