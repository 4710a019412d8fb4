//! Tenants: customers or departments that share a node and do not see each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request::check_list;
use crate::{InvalidRequest, Name, QualityOfService, Timestamp};

/// Most bytes of a tenant's name: those of its objects have it in front.
pub const TENANT_NAME_BYTES_MAX: usize = 31;
/// Most pools that a tenant may use.
pub const TENANT_POOLS_MAX: usize = 64;
/// Most policies of the node that a tenant may attach.
pub const TENANT_POLICIES_MAX: usize = 64;

/// The most that a tenant may have of one pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolShare {
    /// The pool.
    pub pool: Name,
    /// The most that the tenant's volumes in it together may be large, in bytes.
    #[schema(minimum = 1)]
    pub capacity_bytes: u64,
}

/// A tenant's share of a pool, and what it has of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolShareUse {
    /// The pool.
    pub pool: Name,
    /// The most that the tenant's volumes in it together may be large, in bytes.
    pub capacity_bytes: u64,
    /// How large they are now; one that moves there counts.
    pub used_bytes: u64,
}

/// A tenant as it is now. To it belong the volumes, groups, hosts, host groups and users whose names begin with its name and a
/// dot, with their snapshots and exports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its name, without a dot.
    pub name: Name,
    /// The pools in which it may make volumes.
    pub pools: Vec<Name>,
    /// The policies of the node that it sees and may attach, beside its own.
    #[serde(default)]
    pub policies: Vec<Name>,
    /// Its shares of pools: bounds of what its volumes in one of them may be large together. Pools that are not named have no such bound.
    #[serde(default)]
    pub shares: Vec<PoolShareUse>,
    /// The most that its volumes together may be large, in bytes. Absent for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most volumes that it may have. Absent for no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// What its volumes together get of the node's performance; absent when nothing was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
    /// How large its volumes together are now, in bytes.
    pub used_bytes: u64,
    /// How many volumes it has now.
    pub used_volumes: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// A request for a new tenant. A bound of 0 is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its name: at most 31 bytes, without a dot.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$")]
    pub name: Name,
    /// The pools in which it may make volumes.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub pools: Vec<Name>,
    /// The policies of the node that it sees and may attach, beside its own: names without a dot.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub policies: Vec<Name>,
    /// The most that its volumes in one of these pools may be large together; no such bound in others.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub shares: Vec<PoolShare>,
    /// The most that its volumes together may be large, in bytes; no bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most volumes that it may have; no bound when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// What its volumes together are to get of the node's performance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
}

impl CreateTenant {
    /// Checks all that can be judged without knowing the node.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if self.name.as_str().contains('.') {
            return Err(InvalidRequest::new(
                "name",
                "a tenant's name has no dot: what follows one is the tenant's",
            ));
        }
        if self.name.as_str().len() > TENANT_NAME_BYTES_MAX {
            return Err(InvalidRequest::new("name", format!("at most {TENANT_NAME_BYTES_MAX} bytes")));
        }
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        check_list("pools", &self.pools, TENANT_POOLS_MAX)?;
        check_shares(&self.shares)?;
        check_policies(&self.policies)
    }
}

fn check_shares(shares: &[PoolShare]) -> Result<(), InvalidRequest> {
    let pools: Vec<&Name> = shares.iter().map(|share| &share.pool).collect();
    check_list("shares", &pools, TENANT_POOLS_MAX)?;
    match shares.iter().find(|share| share.capacity_bytes == 0) {
        None => Ok(()),
        Some(PoolShare { pool, .. }) => {
            let message =
                format!("the share of pool '{pool}' is nothing; leave it out where there is no bound");
            Err(InvalidRequest::new("shares", message))
        }
    }
}

/// Whoever sees a policy sees what it says; one of another tenant is not for this one to see.
fn check_policies(policies: &[Name]) -> Result<(), InvalidRequest> {
    check_list("policies", policies, TENANT_POLICIES_MAX)?;
    match policies.iter().find(|name| tenant_of(name.as_str()).is_some()) {
        None => Ok(()),
        Some(name) => {
            let message = format!("'{name}' is a tenant's; policies of the node have names without a dot");
            Err(InvalidRequest::contradiction("policies", message))
        }
    }
}

/// A request to change a tenant. A bound of 0 takes the bound away.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenant {
    /// All pools in which it may make volumes from now on; those that it has stay where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub pools: Option<Vec<Name>>,
    /// All policies of the node that it sees and may attach from now on; what is attached stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub policies: Option<Vec<Name>>,
    /// All its shares of pools from now on. Less than there is in one stops growth only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    pub shares: Option<Vec<PoolShare>>,
    /// The most that its volumes together may be large, in bytes, or 0. Less than they are stops growth only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The most volumes that it may have, or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u32>,
    /// What its volumes together are to get of the node's performance: all of it, what is absent in it is neither bounded nor promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<QualityOfService>,
}

impl ChangeTenant {
    /// Checks all that can be judged without knowing the tenant.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            return Err(InvalidRequest::contradiction(
                "pools",
                "nothing to change: give pools, policies or a bound",
            ));
        }
        self.qos.as_ref().map_or(Ok(()), QualityOfService::check)?;
        self.pools.as_ref().map_or(Ok(()), |pools| check_list("pools", pools, TENANT_POOLS_MAX))?;
        self.shares.as_deref().map_or(Ok(()), check_shares)?;
        self.policies.as_deref().map_or(Ok(()), check_policies)
    }
}

/// The tenant to which what has this name belongs, if it belongs to one: what stands in front of the first dot. Names of things
/// that belong to nobody may have dots, too, as long as no tenant is called so.
pub fn tenant_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(tenant, _)| tenant)
}

/// Fails when a name does not show the tenant to which its thing is to belong.
pub(crate) fn check_belongs(name: &Name, tenant: Option<&Name>) -> Result<(), InvalidRequest> {
    match tenant {
        Some(tenant) if tenant_of(name.as_str()) != Some(tenant.as_str()) => {
            let message =
                format!("what belongs to tenant '{tenant}' has a name that begins with '{tenant}.'");
            Err(InvalidRequest::contradiction("name", message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_what_stands_before_the_dot() {
        assert_eq!(tenant_of("acme.vm-17"), Some("acme"));
        assert_eq!(tenant_of("acme.vm.17@monday"), Some("acme"));
        assert_eq!(tenant_of("vm-17"), None);
        let tenant = |name: &str| CreateTenant {
            name: name.parse().unwrap(),
            pools: vec![],
            policies: vec![],
            shares: vec![],
            capacity_bytes: None,
            volumes: None,
            qos: None,
        };
        assert_eq!(tenant("acme").check(), Ok(()));
        let granted =
            |policy: &str| CreateTenant { policies: vec![policy.parse().unwrap()], ..tenant("acme") };
        assert_eq!(granted("gold").check(), Ok(()));
        assert!(granted("other.gold").check().unwrap_err().to_string().contains("is a tenant's"));
        let shared = |shares: &[(&str, u64)]| {
            let share = |(pool, capacity_bytes): &(&str, u64)| PoolShare {
                pool: pool.parse().unwrap(),
                capacity_bytes: *capacity_bytes,
            };
            CreateTenant { shares: shares.iter().map(share).collect(), ..tenant("acme") }.check()
        };
        assert_eq!(shared(&[("fast", 1), ("slow", 2)]), Ok(()));
        assert!(
            shared(&[("fast", 1), ("fast", 2)]).unwrap_err().to_string().contains("'fast' is given twice")
        );
        assert!(shared(&[("fast", 0)]).unwrap_err().to_string().contains("is nothing"));
        assert!(tenant("acme.eu").check().unwrap_err().to_string().contains("no dot"));
        assert!(tenant(&"t".repeat(32)).check().unwrap_err().to_string().contains("at most 31 bytes"));
        assert!(ChangeTenant::default().check().is_err());
    }
}
