//! The decision.
//!
//! Who may do what is written in Cedar (`roles.cedar`, `roles.cedarschema`). The policies see nothing but role, permission, and
//! whether a thing is the node's, the asker's tenant's or another one's: so few questions that all of them are put to Cedar
//! beforehand. A test validates the policies, asks Cedar everything and compares the answers with `roles.permitted`, which is what
//! a node reads. Cedar itself is five minutes of compiling and is in no binary (RFD 0018).

use std::collections::BTreeSet;

use quarry_api_types::Role;

use crate::{Permission, Principal, Scope};

const PERMITTED: &str = include_str!("roles.permitted");

/// Whose a thing is, from where somebody stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Relation {
    Node,
    OwnTenant,
    OtherTenant,
}

impl Relation {
    const ALL: [Self; 3] = [Self::Node, Self::OwnTenant, Self::OtherTenant];

    fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::OwnTenant => "own-tenant",
            Self::OtherTenant => "other-tenant",
        }
    }
}

type Question = (Role, Permission, Relation);

/// What the policies permit.
pub struct Policies {
    permitted: BTreeSet<Question>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new()
    }
}

impl Policies {
    /// What Cedar has answered.
    pub fn new() -> Self {
        Self { permitted: PERMITTED.lines().filter_map(parse).collect() }
    }

    /// Whether somebody may do something with things of `scope`.
    pub fn permit(&self, principal: &Principal, permission: Permission, scope: &Scope) -> bool {
        let relation = match scope {
            Scope::Node => Relation::Node,
            Scope::Tenant(tenant) => match &principal.tenant {
                Some(own) if own.as_str() == tenant => Relation::OwnTenant,
                _ => Relation::OtherTenant,
            },
        };
        self.permitted.contains(&(principal.role, permission, relation))
    }
}

/// A line `ROLE PERMISSION RELATION`. One that is not understood permits nothing.
fn parse(line: &str) -> Option<Question> {
    let mut words = line.split(' ');
    let (role, permission, relation) = (words.next()?, words.next()?, words.next()?);
    let permission = Permission::ALL.iter().copied().find(|known| known.as_str() == permission)?;
    let relation = Relation::ALL.into_iter().find(|known| known.as_str() == relation)?;
    Some((role.parse().ok()?, permission, relation))
}

#[cfg(test)]
mod tests;
