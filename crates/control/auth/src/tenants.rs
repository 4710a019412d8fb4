//! Tenants.

use quarry_api_types::{ChangeTenant, CreateTenant, Name, Timestamp, tenant_of};

use crate::record::TenantRecord;
use crate::store::{AccessStore, State, Step};
use crate::{AccessError, Result};

/// Most tenants of a node.
const TENANTS_MAX: usize = 1024;

impl AccessStore {
    /// Every tenant, sorted by name.
    pub fn tenants(&self) -> Vec<TenantRecord> {
        self.state().tenants.values().cloned().collect()
    }

    /// One tenant.
    pub fn tenant(&self, name: &Name) -> Result<TenantRecord> {
        self.state().tenants.get(name).cloned().ok_or_else(|| no_tenant(name))
    }

    /// Makes a tenant. Fails when there is one of this name, or users whose names would make them its users.
    pub fn create_tenant(&self, request: CreateTenant, now: Timestamp) -> Result<TenantRecord> {
        self.change(|state| {
            let CreateTenant { name, pools, policies, shares, capacity_bytes, volumes, qos } = request;
            if state.tenants.contains_key(&name) {
                return Err(AccessError::Taken { sort: "tenant", name });
            }
            if state.tenants.len() >= TENANTS_MAX {
                return Err(AccessError::TooMany { sort: "tenant", most: TENANTS_MAX });
            }
            check_no_users(state, &name)?;
            let record = TenantRecord {
                name,
                pools,
                policies,
                shares,
                capacity_bytes: capacity_bytes.filter(|&bytes| bytes > 0),
                volumes: volumes.filter(|&count| count > 0),
                qos,
                iops: None,
                created: now,
            };
            Ok((vec![Step::PutTenant(record.clone())], record))
        })
    }

    /// Gives a tenant other pools, policies or bounds.
    pub fn change_tenant(&self, name: &Name, request: ChangeTenant) -> Result<TenantRecord> {
        self.change(|state| {
            let mut record = state.tenants.get(name).cloned().ok_or_else(|| no_tenant(name))?;
            let ChangeTenant { pools, policies, shares, capacity_bytes, volumes, qos } = request;
            record.pools = pools.unwrap_or(record.pools);
            record.policies = policies.unwrap_or(record.policies);
            record.shares = shares.unwrap_or(record.shares);
            if let Some(bytes) = capacity_bytes {
                record.capacity_bytes = Some(bytes).filter(|&bytes| bytes > 0);
            }
            if let Some(count) = volumes {
                record.volumes = Some(count).filter(|&count| count > 0);
            }
            if let Some(qos) = qos {
                (record.qos, record.iops) = (Some(qos), None);
            }
            Ok((vec![Step::PutTenant(record.clone())], record))
        })
    }

    /// Ends a tenant that has no users, and the tokens that are confined to it. What else it has is whoever calls to know.
    pub fn delete_tenant(&self, name: &Name) -> Result<()> {
        self.change(|state| {
            if !state.tenants.contains_key(name) {
                return Err(no_tenant(name));
            }
            check_no_users(state, name)?;
            let confined = state.tokens.values().filter(|token| token.token.tenant.as_ref() == Some(name));
            let mut steps: Vec<_> = confined.map(|token| Step::DeleteToken(token.token.id.clone())).collect();
            steps.push(Step::DeleteTenant(name.clone()));
            Ok((steps, ()))
        })
    }
}

fn check_no_users(state: &State, tenant: &Name) -> Result<()> {
    match state.users.keys().find(|user| tenant_of(user.as_str()) == Some(tenant.as_str())) {
        Some(user) => Err(AccessError::HasUsers { tenant: tenant.clone(), user: user.clone() }),
        None => Ok(()),
    }
}

fn no_tenant(name: &Name) -> AccessError {
    AccessError::NotFound { sort: "tenant", name: name.to_string() }
}
